"""Records the histories that the replay tests hold new code against.

Run ``python -m tests.replay.record`` for those that are missing, and with ``--again`` for all of
them, which is right only where no goal may be running under the code of before.
"""

import argparse
import asyncio
import json
import logging
import re
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowFailureError, WorkflowHandle

from goalkeeper.contracts.goal import ControlInput, DecisionSignal, TaskControlInput
from goalkeeper.domain.approval import Answer
from goalkeeper.domain.plan import TaskState
from goalkeeper.embedded.ports import Ports
from goalkeeper.embedded.temporal import TemporalServer
from tests.support.engine import Engine, plan_of, running_engine

HISTORIES = Path(__file__).parent / "histories"
NAME = "goalkeeper"
"""Stands where a process, machine or task queue would."""

_IMPATIENT_POLICY = """
    permit (principal, action, resource) when { context.risk == "read" };
    @approvals("1 of operators") @expires("1s")
    permit (principal, action, resource) when { context.risk != "read" };
"""
_SHIP: tuple[dict[str, Any], ...] = (
    {"id": "look", "uses": "fake.quick", "with": {"value": "v2"}},
    {"id": "login", "uses": "fake.login", "credentials": {"token": "git-reader"}},
    {"id": "ok", "uses": "approval", "covers": ["merge", "deploy"], "show": ["look"]},
    {"id": "merge", "uses": "fake.write", "with": {"value": "${{ tasks.look.value }}"}},
    {"id": "deploy", "uses": "fake.write", "with": {"value": 2}, "needs": ["merge"]},
)

Handle = WorkflowHandle[Any, Any]


@dataclass(frozen=True)
class Way:
    """One way that a goal can go, and where to record it."""

    go: Callable[[Engine, str], Awaitable[Handle]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the engine."""
    impatient: bool = False
    """The server suggests continue-as-new after 50 events."""


async def _submit(
    engine: Engine, goal_id: str, *tasks: Any, environment: str = "development"
) -> Handle:
    contract = plan_of(*tasks, environment=environment)
    goal = await engine.goal_input(contract, goal_id, requester="dana")
    return await engine.start(goal, goal_id)


async def _ship(engine: Engine, goal_id: str) -> Handle:
    return await _submit(engine, goal_id, *_SHIP, environment="production")


async def _succeeded(engine: Engine, goal_id: str) -> Handle:
    """Look, log in, ask, merge, deploy."""
    handle = await _ship(engine, goal_id)
    await engine.decide(handle, (await engine.asked(handle)).request)
    return handle


async def _denied(engine: Engine, goal_id: str) -> Handle:
    handle = await _ship(engine, goal_id)
    asked = await engine.asked(handle)
    await engine.decide(handle, asked.request, answer=Answer.DENY, reason="not on a Friday")
    return handle


async def _forged(engine: Engine, goal_id: str) -> Handle:
    """Signals that do not count, and then one that does."""
    handle = await _ship(engine, goal_id)
    asked = await engine.asked(handle)
    await engine.signal(handle, DecisionSignal.model_validate({"approved": True}))
    await engine.decide(handle, asked.request, groups=("developers",))
    await engine.until(handle, lambda p: len(p.refused_decisions) == 2)
    await engine.decide(handle, asked.request)
    return handle


async def _failed(engine: Engine, goal_id: str) -> Handle:
    """A test says no before anything was changed."""
    return await _submit(
        engine,
        goal_id,
        {"id": "look", "uses": "fake.read"},
        {"id": "test", "uses": "fake.read", "with": {"do": "fail"}, "needs": ["look"]},
        {"id": "deploy", "uses": "fake.write", "needs": ["test"]},
    )


async def _rolled_back(engine: Engine, goal_id: str) -> Handle:
    return await _submit(
        engine,
        goal_id,
        {"id": "merge", "uses": "fake.write", "with": {"value": 1}},
        {"id": "deploy", "uses": "fake.write", "with": {"value": 2}, "needs": ["merge"]},
        {"id": "monitor", "uses": "fake.read", "with": {"do": "fail"}, "needs": ["deploy"]},
    )


async def _refused(engine: Engine, goal_id: str) -> Handle:
    """Policy says no before anything has run."""
    return await _submit(engine, goal_id, {"id": "a", "uses": "fake.privileged"})


async def _invalid(engine: Engine, goal_id: str) -> Handle:
    return await engine.start({"contrat": "read-file"}, goal_id)


async def _continued(engine: Engine, goal_id: str) -> Handle:
    """A request stays open while the goal continues as new."""
    tasks: list[dict[str, Any]] = [
        {"id": f"t{i}", "uses": "fake.write", "needs": [f"t{i - 1}"] if i else []}
        for i in range(12)
    ]
    tasks.append({"id": "act", "uses": "fake.destroy"})
    handle = await _submit(engine, goal_id, *tasks)
    asked = await engine.asked(handle)
    await engine.until(handle, lambda p: sum(t.state is TaskState.SUCCEEDED for t in p.tasks) == 12)
    await engine.decide(handle, asked.request)
    return handle


async def _controlled(engine: Engine, goal_id: str) -> Handle:
    """Paused, a failed task retried, resumed, a running task cancelled."""
    retry = {"maximum_attempts": 1}
    handle = await _submit(
        engine,
        goal_id,
        {"id": "slow", "uses": "fake.read", "with": {"do": "hang"}},
        {"id": "a", "uses": "fake.read", "with": {"do": "flaky"}, "retry": retry},
    )
    await engine.fake.started.wait()
    await handle.execute_update("pause", ControlInput(reason="look first", actor="olive"))
    await engine.until(handle, lambda p: p.tasks[1].state is TaskState.FAILED)
    await handle.execute_update("retry_task", TaskControlInput(task_id="a", actor="olive"))
    await handle.execute_update("resume", ControlInput(actor="olive"))
    await engine.until(handle, lambda p: p.tasks[1].state is TaskState.SUCCEEDED)
    await handle.execute_update("cancel_task", TaskControlInput(task_id="slow", actor="olive"))
    return handle


async def _cancelled(engine: Engine, goal_id: str) -> Handle:
    """In mid task, after an effect that is then undone."""
    handle = await _submit(
        engine,
        goal_id,
        {"id": "a", "uses": "fake.write", "with": {"value": 1}},
        {"id": "b", "uses": "fake.read", "with": {"do": "hang"}, "needs": ["a"]},
    )
    await engine.fake.started.wait()
    await handle.cancel()
    return handle


WAYS: Mapping[str, Way] = {
    "succeeded": Way(_succeeded),
    "denied": Way(_denied),
    "expired": Way(_ship, {"policy": _IMPATIENT_POLICY}),
    "forged": Way(_forged),
    "failed": Way(_failed),
    "rolled-back": Way(_rolled_back),
    "refused": Way(_refused),
    "invalid": Way(_invalid),
    "continued": Way(_continued, impatient=True),
    "controlled": Way(_controlled),
    "cancelled": Way(_cancelled),
}


def recorded(name: str) -> list[Path]:
    """The files of one way: one for each workflow run, in order."""
    return sorted(HISTORIES.glob(f"{name}.*.json"))


async def record(name: str, address: str, folder: Path) -> None:
    """Take one way and write down what Temporal remembers of it."""
    way = WAYS[name]
    await asyncio.to_thread(folder.mkdir)
    async with running_engine(address, folder, **way.settings) as engine:
        handle = await way.go(engine, f"replay-{name}")
        try:
            await handle.result()
        except WorkflowFailureError:
            pass  # Most ways end so.
        histories = await _runs(engine, handle)
        for number, history in enumerate(histories, 1):
            text = _scrubbed(history, engine.settings.task_queue)
            (HISTORIES / f"{name}.{number}.json").write_text(text)


async def _runs(engine: Engine, handle: Handle) -> list[dict[str, Any]]:
    """The histories of the runs, the first one first."""
    found: list[dict[str, Any]] = []
    run: str | None = handle.first_execution_run_id
    while run:
        history = await engine.client.get_workflow_handle(handle.id, run_id=run).fetch_history()
        found.append(json.loads(history.to_json()))
        end = found[-1]["events"][-1]
        run = end.get("workflowExecutionContinuedAsNewEventAttributes", {}).get("newExecutionRunId")
    return found


def _scrubbed(history: dict[str, Any], task_queue: str) -> str:
    """Without what names this machine, its processes or its folders; replaying needs none of it."""
    text = json.dumps(_without(history), indent=1).replace(task_queue, NAME)
    return re.sub(r'"\d+@[^"]*"', f'"{NAME}"', text) + "\n"


def _without(value: Any) -> Any:
    if isinstance(value, list):
        return [_without(v) for v in value]
    if isinstance(value, dict):
        kept = {k: _without(v) for k, v in value.items() if k != "stackTrace"}
        return {**kept, "identity": NAME} if "identity" in kept else kept
    return value


async def record_all(names: list[str]) -> None:
    """Each on a fresh engine; continue-as-new on an impatient server of its own."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for impatient in (False, True):
            wanted = [n for n in names if WAYS[n].impatient is impatient]
            option = ("--dynamic-config-value", "limit.historyCount.suggestContinueAsNew=50")
            server = TemporalServer(
                folder / f"server-{impatient}", Ports.free(), options=option if impatient else ()
            )
            if not wanted:
                continue
            await server.start()
            try:
                for name in wanted:
                    await record(name, server.address, folder / name)
            finally:
                await server.stop()


def main() -> None:
    """Record what is missing, or all of it again."""
    parser = argparse.ArgumentParser(description="Record histories for the replay tests.")
    parser.add_argument("--again", action="store_true", help="replace those that are there")
    again = parser.parse_args().again
    logging.disable(logging.WARNING)
    names = [n for n in WAYS if again or not recorded(n)]
    if not names:
        parser.exit(1, "every way is recorded; --again replaces them\n")
    for name in names:
        for file in recorded(name):
            file.unlink()
    asyncio.run(record_all(names))
    print("recorded:", ", ".join(names))


if __name__ == "__main__":
    main()
