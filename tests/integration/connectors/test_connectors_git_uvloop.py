import asyncio
from pathlib import Path

import uvloop

from connectors.gitcli import GitCli

_MANY = 40


def test_a_git_that_ends_before_it_is_fed_is_no_fault_on_the_workers_loop(tmp_path: Path) -> None:
    """There it is a RuntimeError, where asyncio says BrokenPipeError; neither fails it."""

    async def ask() -> list[str]:
        git = GitCli()
        repository = "https://git.example/x.git"
        asked = (git.run(tmp_path, "version", repository=repository) for _ in range(_MANY))
        return [finished.text for finished in await asyncio.gather(*asked)]

    assert all(text.startswith("git version") for text in uvloop.run(ask()))
