"""Draining: what a worker does with its work when it is told to end."""

import asyncio
import signal
from collections.abc import AsyncIterator
from typing import Any

import docker
import pytest
from pydantic import SecretStr

from goalkeeper.audit import AuditLog
from goalkeeper.domain.audit import AuditKind
from goalkeeper.domain.plan import GoalState
from goalkeeper.ledger import Ledger
from sandbox.runner import installation as installation_label
from tests.integration.worker.conftest import Installation
from tests.support.live import until

UNTIL_TOLD = ["sh", "-c", "echo begun; while [ ! -e go ]; do sleep 0.05; done; echo ended"]
BOX = {"id": "box", "uses": "sandbox.run", "with": {"command": UNTIL_TOLD}}


class Containers:
    """This installation's, as Docker's own client sees them."""

    def __init__(self, installation: Installation) -> None:
        self._api = docker.APIClient(base_url=installation.settings.docker_host, version="auto")
        self._label = installation_label(installation.settings)

    def running(self) -> list[dict[str, Any]]:
        """Those that run."""
        label = f"goalkeeper.installation={self._label}"
        found: list[dict[str, Any]] = self._api.containers(filters={"label": label})
        return found

    async def first(self) -> str:
        """The id of the one that runs, once one does."""

        async def look() -> list[dict[str, Any]] | None:
            return await asyncio.to_thread(self.running) or None

        (found,) = await until(look, "a container")
        return str(found["Id"])

    def tell(self, container: str) -> None:
        """Let it end."""
        execution = self._api.exec_create(container, ["touch", "/workspace/go"])
        self._api.exec_start(execution["Id"])

    def close(self) -> None:
        """Remove what is left, and let go."""
        for container in self.running():
            self._api.remove_container(container["Id"], force=True)
        self._api.close()


@pytest.fixture
async def containers(installation: Installation) -> AsyncIterator[Containers]:
    """Nothing of them outlives the test."""
    found = Containers(installation)
    yield found
    found.close()


async def test_a_command_that_runs_is_left_running_and_adopted_by_the_next_worker(
    installation: Installation, containers: Containers
) -> None:
    """The attempt's credential ends with the first worker; one container sees the goal end."""
    await installation.vault.put_credential("reader", {"token": SecretStr("canary-token")})
    first = await installation.start()
    goal = await installation.submit({**BOX, "credentials": {"token": "reader"}})
    container = await containers.first()
    ledger = Ledger.open(installation.settings.ledger_file)
    assert len(await ledger.open_leases(goal_id=goal.id)) == 1
    first.process.signal(signal.SIGTERM)
    assert await first.process.wait() == 0
    assert [c["Id"] for c in await asyncio.to_thread(containers.running)] == [container]
    assert await ledger.open_leases(goal_id=goal.id) == []

    await installation.start()
    await asyncio.to_thread(containers.tell, container)
    assert (await goal.result())["state"] == GoalState.SUCCEEDED
    audit = AuditLog.open(installation.settings.audit_file, readonly=True)
    intents = list(audit.entries(goal_id=goal.id, kind=AuditKind.TASK_INTENT))
    assert {e.event.attempt for e in intents} == {1, 2}
    assert await asyncio.to_thread(containers.running) == []
    assert await ledger.open_leases(goal_id=goal.id) == []
    await ledger.aclose()


async def test_what_ends_within_the_grace_ends_in_the_first_worker(
    installation: Installation, containers: Containers
) -> None:
    """The attempt's outcome is reported, and no second attempt is made."""
    patient = installation.with_settings(graceful_shutdown_seconds=120)
    first = await patient.start()
    goal = await patient.submit(BOX)
    container = await containers.first()
    first.process.signal(signal.SIGTERM)

    async def draining() -> bool:
        return "worker draining" in first.process.log.read_text()

    await until(draining, "the drain")
    await asyncio.to_thread(containers.tell, container)
    assert await first.process.wait() == 0
    await patient.start()
    assert (await goal.result())["state"] == GoalState.SUCCEEDED
    audit = AuditLog.open(installation.settings.audit_file, readonly=True)
    assert len(list(audit.entries(goal_id=goal.id, kind=AuditKind.TASK_INTENT))) == 1


async def test_told_twice_a_worker_ends_at_once(
    installation: Installation, containers: Containers
) -> None:
    """For whoever cannot wait; the command goes on without it all the same."""
    patient = installation.with_settings(graceful_shutdown_seconds=600)
    worker = await patient.start()
    await patient.submit(BOX)
    container = await containers.first()
    worker.process.signal(signal.SIGTERM)

    async def draining() -> bool:
        return "worker draining" in worker.process.log.read_text()

    await until(draining, "the drain")
    worker.process.signal(signal.SIGTERM)
    assert await worker.process.wait() == 1
    assert [c["Id"] for c in await asyncio.to_thread(containers.running)] == [container]
