"""Replays histories in a process that has never seen them, and prints its seconds of CPU.

A composition root for one side of the benchmark `replay`; importing and reading files come before
the clock starts.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path

from temporalio.client import WorkflowHistory
from temporalio.worker import Plugin, Replayer

from goalkeeper.bench.bare import WORKFLOWS
from goalkeeper.bench.bare_worker import bare_runner
from goalkeeper.settings import load_settings
from goalkeeper.temporal import connect
from workflows.goal import GoalWorkflow


async def _ours(state: Path) -> Replayer:
    """As the worker would: the same converter, codec, runner and interceptors."""
    client = await connect(load_settings(state))
    plugins = [p for p in client.config()["plugins"] if isinstance(p, Plugin)]
    return Replayer(workflows=[GoalWorkflow], plugins=plugins)


def _bare() -> Replayer:
    return Replayer(workflows=WORKFLOWS, workflow_runner=bare_runner())


async def seconds(side: str, state: Path, files: list[Path]) -> float:
    """Seconds of CPU of this process, its threads included, for all the files.

    Raises:
        RuntimeError: a history does not replay.
    """
    replayer = await _ours(state) if side == "ours" else _bare()
    histories = [WorkflowHistory.from_json(f.parent.name, f.read_text()) for f in files]
    began = time.process_time()
    for history in histories:
        await replayer.replay_workflow(history)
    return time.process_time() - began


def main() -> int:
    """Print the seconds; the exit code."""
    parser = argparse.ArgumentParser(prog="goalkeeper.bench.replaying", description=__doc__)
    parser.add_argument("side", choices=("ours", "bare"))
    parser.add_argument("state", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    chosen = parser.parse_args()
    print(asyncio.run(seconds(chosen.side, chosen.state, chosen.files)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
