"""Worker versions: a new one gets goals only when somebody makes it current."""

import os

import pytest

from goalkeeper.domain.errors import ServiceUnavailable
from goalkeeper.domain.plan import GoalState
from goalkeeper.embedded.process import Process
from goalkeeper.embedded.temporal import TemporalServer, find_binary
from goalkeeper.embedded.versions import current_version
from tests.integration.worker.conftest import Installation
from tests.support.live import until


async def test_goals_wait_for_a_version_until_it_is_made_current(
    installation: Installation, temporal_server: TemporalServer
) -> None:
    """The check says so, with the command that ends it; and the command ends it."""
    versioned = installation.with_settings(deployment_version="1.2.0-test")
    await versioned.start()
    goal = await versioned.submit({"id": "a", "uses": "core.noop"})
    with pytest.raises(ServiceUnavailable, match="all goals wait") as refused:
        await current_version(versioned.settings)
    command = refused.value.message.partition(" runs: ")[2]

    async def made_current() -> bool:
        # Refused until the server has heard of the version from its worker.
        path = f"{find_binary().parent}:{os.environ['PATH']}"
        log = versioned.settings.logs_folder / "cli.log"
        process = Process("temporal", log, environ={"PATH": path})
        await process.spawn(("sh", "-c", command))
        return await process.wait() == 0

    await until(made_current, "the version made current")
    assert "is current" in await current_version(versioned.settings)
    assert (await goal.result())["state"] == GoalState.SUCCEEDED
    older = installation.with_settings(deployment_version="1.1.0-test")
    with pytest.raises(ServiceUnavailable, match=r"goals go to version '1\.2\.0-test'"):
        await current_version(older.settings)
