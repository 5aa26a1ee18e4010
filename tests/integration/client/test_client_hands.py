"""What people do to goals through the client: the real workflow, activities and stores."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from goalkeeper.client import Client, EventKind, Goal
from goalkeeper.contracts.goal import Progress
from goalkeeper.domain.approval import Answer, Question
from goalkeeper.domain.contract import Contract
from goalkeeper.domain.errors import (
    Conflict,
    InvalidGoal,
    NotFound,
    ServiceUnavailable,
    VaultUnavailable,
)
from goalkeeper.domain.goal import GoalResult, Skip
from goalkeeper.domain.plan import GoalState, TaskState
from goalkeeper.embedded.temporal import TemporalServer
from hitl.overview import overview
from tests.support.engine import Engine, plan_of, running_engine

HELD: tuple[dict[str, Any], ...] = (
    {"id": "hold", "uses": "wait", "with": {"signal": "go"}},
    {"id": "write", "uses": "fake.write", "with": {"value": "one"}, "needs": ["hold"]},
)


@pytest.fixture
async def engine(server: TemporalServer, tmp_path: Path) -> AsyncIterator[Engine]:
    """A worker with the real activities, a fake connector and a fake Vault."""
    async with running_engine(server.address, tmp_path) as made:
        yield made


@pytest.fixture
async def hands(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    """A client of that installation, in nobody's name."""
    monkeypatch.delenv("GOALKEEPER_TOKEN", raising=False)
    monkeypatch.delenv("GOALKEEPER_AS", raising=False)
    async with Client.connect(engine.settings) as client:
        yield client


async def ask(engine: Engine, client: Client, contract: Contract) -> Goal:
    """A goal in dana's name that is going."""
    handle = await engine.submit(contract)
    await engine.until(handle, lambda p: p.state is not GoalState.PLANNING)
    return client.goal(handle.id)


async def until(goal: Goal, holds: Callable[[Progress], bool]) -> Progress:
    """Wait for a condition on the goal's progress."""
    async with asyncio.timeout(60):
        async for look in goal.looks():
            if look.progress is not None and holds(look.progress):
                return look.progress
    raise AssertionError("the goal ended first")


def state_of(progress: Progress | GoalResult, task_id: str) -> TaskState:
    """Where a task stands."""
    found = (t.state for t in progress.tasks if t.id == task_id)
    return next(found, TaskState.PENDING)


async def test_an_event_lets_a_waiting_task_go_on_with_its_payload(
    engine: Engine, hands: Client
) -> None:
    """The payload is in the task's outputs; another event's name changes nothing."""
    goal = await ask(engine, hands, plan_of(*HELD))
    await goal.signal("other")
    await goal.signal("go", {"by": "the moon"})
    result = await goal.result(timeout=60)
    assert result.state is GoalState.SUCCEEDED
    assert result.outputs("hold") == {"payload": {"by": "the moon"}}
    with pytest.raises(InvalidGoal, match="cannot be an event's name"):
        await goal.signal("Not a name")


async def test_inputs_are_changed_before_a_task_begins(engine: Engine, hands: Client) -> None:
    """What runs is what was changed; a misspelt input changes nothing."""
    goal = await ask(engine, hands, plan_of(*HELD))
    with pytest.raises(InvalidGoal):
        await goal.change_task("write", {"valeu": "two"})
    with pytest.raises(NotFound):
        await goal.change_task("nothere", {"value": "two"})
    with pytest.raises(InvalidGoal, match="inputs"):
        await goal.change_task("write", {})
    await goal.change_task("write", {"value": "two"}, "better")
    await goal.signal("go")
    assert (await goal.result(timeout=60)).state is GoalState.SUCCEEDED
    assert engine.fake.done == [("write", "fake.write", "two")]
    with pytest.raises(Exception, match="ended"):
        await goal.change_task("write", {"value": "three"})


async def test_a_skipped_task_says_why_for_ever(engine: Engine, hands: Client) -> None:
    """In the result, with the reason; without one nothing is skipped."""
    goal = await ask(engine, hands, plan_of(*HELD))
    with pytest.raises(InvalidGoal, match="needs a reason"):
        await goal.skip_task("hold", " ")
    await goal.skip_task("hold", "the moon is not up today")
    result = await goal.result(timeout=60)
    assert result.state is GoalState.SUCCEEDED
    assert result.tasks[0].skipped is Skip.PERSON
    assert result.tasks[0].reason == "the moon is not up today"


@pytest.mark.parametrize(
    ("compensate", "end", "undone"),
    [(True, GoalState.ROLLED_BACK, True), (False, GoalState.CANCELLED, False)],
)
async def test_cancelling_undoes_what_was_done_or_leaves_it(
    engine: Engine, hands: Client, compensate: bool, end: GoalState, undone: bool
) -> None:
    """As the person says; cancelling what has ended is a conflict."""
    contract = plan_of(
        {"id": "write", "uses": "fake.write", "with": {"value": 1}},
        {"id": "hold", "uses": "wait", "with": {"signal": "go"}, "needs": ["write"]},
    )
    goal = await ask(engine, hands, contract)
    await until(goal, lambda p: state_of(p, "hold") is TaskState.RUNNING)
    await goal.cancel("enough", compensate=compensate)
    assert (await goal.result(timeout=60)).state is end
    assert ("fake.undo" in {operation for _, operation, _ in engine.fake.done}) is undone
    with pytest.raises(Conflict, match="ended already"):
        await goal.cancel()


async def test_a_goal_is_cancelled_although_it_is_not_planned_yet(
    engine: Engine, hands: Client
) -> None:
    """Whenever the command comes: at once after the start, many times."""
    for _ in range(5):
        handle = await engine.submit(plan_of(*HELD))
        goal = hands.goal(handle.id)
        await goal.cancel("too soon")
        assert (await goal.result(timeout=60)).state is GoalState.CANCELLED


async def test_a_finished_goal_runs_again_from_one_task_on(engine: Engine, hands: Client) -> None:
    """Earlier results stay, the call may be repeated, and a misspelt task starts nothing."""
    contract = plan_of(
        {"id": "first", "uses": "fake.write", "with": {"value": 1}},
        {"id": "hold", "uses": "wait", "with": {"signal": "go"}, "needs": ["first"]},
        {"id": "last", "uses": "fake.read", "with": {"value": 3}, "needs": ["hold"]},
    )
    goal = await ask(engine, hands, contract)
    with pytest.raises(Conflict, match="has not ended"):
        await goal.rerun("hold")
    await goal.signal("go")
    await goal.result(timeout=60)
    with pytest.raises(NotFound, match="it has first, hold, last"):
        await goal.rerun("lsat")
    again = await goal.rerun("hold")
    assert again.id == f"{goal.id}--rerun-1"
    await until(again, lambda p: state_of(p, "hold") is TaskState.RUNNING)
    assert (await goal.rerun("hold")).id == again.id
    await again.signal("go")
    result = await again.result(timeout=60)
    assert result.state is GoalState.SUCCEEDED
    assert [t.reused for t in result.tasks] == [True, False, False]
    assert [t for t, _, _ in engine.fake.done].count("first") == 1
    assert (await goal.rerun("last")).id == f"{goal.id}--rerun-2"


async def test_items_are_kept_by_a_goal_that_runs_again(engine: Engine, hands: Client) -> None:
    """With what they gave, and what always runs at the end runs again."""
    contract = Contract.model_validate(
        {
            "name": "test",
            "tasks": [
                {"id": "list", "uses": "fake.read", "with": {"value": [1, 2, 3]}},
                {
                    "id": "each",
                    "uses": "fake.read",
                    "for_each": "${{ tasks.list.value }}",
                    "with": {"value": "${{ each.item }}"},
                },
                {"id": "last", "uses": "fake.read", "needs": ["each"]},
            ],
            "finally": [{"id": "tidy", "uses": "fake.read"}],
        }
    )
    goal = await ask(engine, hands, contract)
    assert (await goal.result(timeout=60)).state is GoalState.SUCCEEDED
    result = await (await goal.rerun("last")).result(timeout=60)
    assert result.state is GoalState.SUCCEEDED
    assert result.outputs("each") == [{"value": 1}, {"value": 2}, {"value": 3}]
    assert engine.fake.tries["each.0"] == 1
    assert (engine.fake.tries["last"], engine.fake.tries["tidy"]) == (2, 2)


async def test_a_finished_goal_is_rolled_back_once(engine: Engine, hands: Client) -> None:
    """The last first; asking again finds the goal that did it."""
    contract = plan_of(
        {"id": "a", "uses": "fake.write", "with": {"value": "a"}},
        {"id": "b", "uses": "fake.write", "with": {"value": "b"}, "needs": ["a"]},
    )
    goal = await ask(engine, hands, contract)
    await goal.result(timeout=60)
    back = await goal.rollback()
    assert back.id == f"{goal.id}--rollback-1"
    assert (await back.result(timeout=60)).state is GoalState.SUCCEEDED
    undone = [value for _, operation, value in engine.fake.done if operation == "fake.undo"]
    assert undone == ["b", "a"]
    assert (await goal.rollback()).id == back.id
    with pytest.raises(NotFound):
        await hands.goal("no-such-goal").rollback()


async def test_a_change_voids_what_was_asked_and_skipping_ends_the_asking(
    engine: Engine, hands: Client
) -> None:
    """The new request takes the old one's place, and is of no use once its gate is left out."""
    contract = plan_of(
        {"id": "ask", "uses": "approval", "covers": ["wipe"]},
        {"id": "wipe", "uses": "fake.destroy", "with": {"value": "one"}},
        environment="production",
    )
    goal = await ask(engine, hands, contract)
    await until(goal, lambda p: len(p.requests) == 1)
    await goal.change_task("wipe", {"value": "two"}, "typo")
    asked = await until(goal, lambda p: len(p.requests) == 2)
    old, new = asked.requests
    assert (old.closed, new.request.replaces) == ("replaced", old.request.id)
    # With nothing left to ask about, the gate asks nobody.
    await goal.skip_task("wipe", "not at all")
    result = await goal.result(timeout=60)
    assert result.state is GoalState.SUCCEEDED
    assert engine.fake.done == []


async def test_a_lost_attempt_is_shown_with_its_question(engine: Engine, hands: Client) -> None:
    """And goes on by the answer of whoever looked."""
    once = {"id": "send", "uses": "fake.once", "with": {"do": "hang"}, "timeout": "PT1S"}
    contract = plan_of(once)
    goal = await ask(engine, hands, contract)
    progress = await until(goal, lambda p: bool(p.requests))
    [asked] = progress.requests
    assert asked.request.question is Question.OUTCOME
    shown = overview(progress, await goal.summary())
    assert shown.rows[0].request == asked.request.id
    assert "did it happen?" in shown.rows[0].note
    handle = engine.client.get_workflow_handle(goal.id)
    await engine.decide(handle, asked.request, answer=Answer.HAPPENED, reason="it is there")
    assert (await goal.result(timeout=60)).state is GoalState.SUCCEEDED


async def test_a_goal_is_watched_by_its_summary(
    engine: Engine, hands: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole progress is fetched when something changed, and not before."""
    goal = await ask(engine, hands, plan_of(*HELD))
    fetched, looked = [], asyncio.Event()
    progress, summary = goal.progress, goal.summary

    async def counted() -> Progress:
        fetched.append(1)
        return await progress()

    async def seen() -> Any:
        if len(briefs) >= 4:
            looked.set()
        briefs.append(1)
        return await summary()

    briefs: list[int] = []
    monkeypatch.setattr(goal, "progress", counted)
    monkeypatch.setattr(goal, "summary", seen)
    watching = asyncio.create_task(_all(goal))
    async with asyncio.timeout(60):
        await looked.wait()
    assert len(fetched) <= 2
    await goal.signal("go")
    kinds = await watching
    assert kinds[-1] is EventKind.GOAL


async def _all(goal: Goal) -> list[EventKind]:
    return [event.kind async for event in goal.events()]


async def test_without_a_worker_commands_say_so_and_a_cancellation_waits_for_one(
    engine: Engine, hands: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the SDK wraps what the time-out does to it."""
    monkeypatch.setattr("goalkeeper.client.steering.ANSWER", timedelta(seconds=1))
    temporal = await hands.temporal()
    handle = await temporal.start_workflow(
        "GoalWorkflow", {"contract": "none"}, id=f"idle-{uuid4().hex[:8]}", task_queue="nobody"
    )
    goal = hands.goal(handle.id)
    with pytest.raises(ServiceUnavailable, match="no worker took the command 'pause'"):
        await goal.pause()
    with pytest.raises(ServiceUnavailable, match="no worker took the command 'cancel'"):
        await goal.cancel(compensate=False)
    await goal.cancel("not needed")
    events = (await handle.fetch_history()).events
    asked = [
        e for e in events if e.HasField("workflow_execution_cancel_requested_event_attributes")
    ]
    assert len(asked) == 1
    await handle.terminate()


async def test_a_goal_is_cancelled_while_vault_is_away(hands: Client, tmp_path: Path) -> None:
    """A new process cannot seal its words then; that the goal is to end needs none."""
    temporal = await hands.temporal()
    handle = await temporal.start_workflow(
        "GoalWorkflow", {"contract": "none"}, id=f"dark-{uuid4().hex[:8]}", task_queue="nobody"
    )
    login = tmp_path / "login.json"
    login.touch(mode=0o600)
    login.write_text('{"role_id": "r", "secret_id": "s"}')
    settings = hands.settings.model_copy(
        update={
            "payload_encryption": True,
            "vault_address": "http://127.0.0.1:9",
            "vault_client_login": login,
        }
    )
    async with Client.connect(settings) as client:
        goal = client.goal(handle.id)
        with pytest.raises(VaultUnavailable):
            await goal.cancel(compensate=False)
        await goal.cancel("it does harm")
    events = (await handle.fetch_history()).events
    assert any(e.HasField("workflow_execution_cancel_requested_event_attributes") for e in events)
    await handle.terminate()
