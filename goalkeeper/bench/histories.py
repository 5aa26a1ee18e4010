"""The benchmarks of a goal's history: how large it is as stored, and what replaying it costs.

It looks at what Temporal keeps, payloads encoded; it decodes none.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHandle, WorkflowHistory

from goalkeeper.bench.bare import BareChain, BareFanOut, BareWindow
from goalkeeper.bench.goals import CHAIN, FAN_OUT
from goalkeeper.bench.measure import (
    Limit,
    Progress,
    Row,
    interleaved,
    judged,
    report,
    rounded,
)
from goalkeeper.bench.stand import Stand, finish
from goalkeeper.bench.work import contract_of, submitted
from goalkeeper.domain.base import Json
from goalkeeper.domain.errors import OperationFailed
from goalkeeper.embedded.own import environment
from goalkeeper.settings import Settings

REPLAYED = 2000
_REPLAYS = 3


async def history(stand: Stand, _: int, progress: Progress) -> Row:
    """Events and bytes a task that Temporal keeps of a chain and of a fan-out.

    Events depend a little on how many tasks end at the same time, which is not much: one goal of
    each kind is looked at.
    """
    shapes: dict[str, Json] = {}
    events, sizes = [], []
    for name, chained, bare, tasks in (
        ("chain", True, BareChain.run, CHAIN),
        ("fan_out", False, BareFanOut.run, FAN_OUT),
    ):
        mine = await _kept(
            stand.client, await submitted(stand, contract_of(tasks, chained=chained))
        )
        theirs = await _kept(stand.bare, await stand.start_bare(bare, tasks))
        event = _compared([_events(h) / tasks for h in (mine, theirs)])
        size = _compared([_bytes(h) / tasks for h in (mine, theirs)])
        shapes[name] = {"events": event, "bytes": size, "runs": len(mine)}
        progress(f"history: {name}: {event['ratio']} x events, {size['ratio']} x bytes")
        events.append(event["ratio"])
        sizes.append(size["ratio"])
    row: Row = {
        **size,
        "unit": "bytes a task of the fan-out",
        "events_ratio": max(events),
        "bytes_ratio": max(sizes),
        **shapes,
    }
    return judged(row, Limit("events_ratio", 1.15), Limit("bytes_ratio", 1.5))


async def replay(stand: Stand, rounds: int, progress: Progress) -> Row:
    """Seconds of CPU to replay a goal of 2,000 tasks in a process that never saw it."""
    contract = contract_of(REPLAYED, chained=False)
    window = stand.settings.window
    mine = await _kept(stand.client, await submitted(stand, contract))
    theirs = await _kept(stand.bare, await stand.start_bare(BareWindow.run, REPLAYED, window))

    def side(name: str, runs: Sequence[WorkflowHistory]) -> Callable[[], Awaitable[float]]:
        files = _written(stand.settings.state / "replay" / name / runs[0].workflow_id, runs)

        async def sample() -> float:
            return await _replay_seconds(stand.settings, name, files)

        return sample

    samples = min(rounds, _REPLAYS)
    ours, bare = side("ours", mine), side("bare", theirs)
    pairs = await interleaved("replay", ours, bare, samples, progress)
    return judged(report(pairs, unit="seconds of CPU"), Limit("ratio", 1.5))


async def _kept(client: Client, handle: WorkflowHandle[Any, Any]) -> list[WorkflowHistory]:
    """The history of each run of an ended workflow, the first first."""
    await finish(handle)
    found: list[WorkflowHistory] = []
    run = handle.first_execution_run_id
    while run:
        one = await client.get_workflow_handle(handle.id, run_id=run).fetch_history()
        found.append(one)
        last = one.events[-1].workflow_execution_continued_as_new_event_attributes
        run = last.new_execution_run_id
    return found


def _events(runs: Sequence[WorkflowHistory]) -> int:
    return sum(len(run.events) for run in runs)


def _bytes(runs: Sequence[WorkflowHistory]) -> int:
    return sum(event.ByteSize() for run in runs for event in run.events)


def _compared(sides: Sequence[float]) -> dict[str, Any]:
    ours, bare = sides
    return {"ours": rounded(ours), "bare": rounded(bare), "ratio": rounded(ours / bare)}


def _written(folder: Path, runs: Sequence[WorkflowHistory]) -> list[str]:
    """The histories as files; the folder is called like the workflow."""
    folder.mkdir(parents=True)
    files = []
    for number, run in enumerate(runs):
        file = folder / f"{number}.json"
        file.write_text(run.to_json())
        files.append(str(file))
    return files


async def _replay_seconds(settings: Settings, side: str, files: Sequence[str]) -> float:
    """What a fresh process says that it took."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "goalkeeper.bench.replaying", side, str(settings.state), *files),
        env={**os.environ, **environment(settings)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complaint = await process.communicate()
    if process.returncode:
        tail = complaint.decode(errors="replace").strip()[-500:]
        raise OperationFailed(f"the histories of '{side}' do not replay: {tail}")
    return float(said)
