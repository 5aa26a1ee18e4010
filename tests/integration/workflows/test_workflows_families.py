"""Goals that have to do with other goals: children, locks, reruns, rollbacks."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from goalkeeper.contracts.goal import SIGNAL_EVENT, EventSignal, GoalInput, RerunOf
from goalkeeper.domain.approval import Answer
from goalkeeper.domain.goal import GoalResult
from goalkeeper.domain.plan import GoalState, TaskState
from goalkeeper.embedded.temporal import TemporalServer
from tests.support.engine import Engine, plan_of, running_engine

Handle = WorkflowHandle[Any, Any]

CHILD = """
name: {name}
environment: ${{{{ inputs.environment }}}}
inputs:
  value: {{type: integer}}
  do: {{default: ok}}
  environment: {{default: development}}
tasks:
  - {{id: make, uses: fake.write, with: {{value: "${{{{ inputs.value }}}}"}}}}
  - id: then
    uses: {uses}
    needs: [make]
    with: {{value: "${{{{ inputs.value }}}}", do: "${{{{ inputs.do }}}}"}}
"""


@pytest.fixture
async def engine(temporal_server: TemporalServer, tmp_path: Path) -> AsyncIterator[Engine]:
    """A worker that knows two contracts for children."""
    folder = tmp_path / "contracts"
    folder.mkdir()
    for name, uses in (("child", "fake.read"), ("risky-child", "fake.destroy")):
        (folder / f"{name}.yaml").write_text(CHILD.format(name=name, uses=uses))
    async with running_engine(
        temporal_server.address, tmp_path / "state", contracts=(folder,)
    ) as made:
        yield made


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Path) -> None:
    """Where the engine keeps its stores."""
    (tmp_path / "state").mkdir()


def child(name: str, contract: str = "child", *needs: str, **inputs: Any) -> dict[str, Any]:
    """A task that is a goal of its own."""
    return {
        "id": name,
        "uses": "goal",
        "needs": list(needs),
        "with": {"contract": contract, "inputs": inputs},
    }


def states(result: GoalResult) -> dict[str, TaskState]:
    """Task id → state."""
    return {t.id: t.state for t in result.tasks}


async def test_a_child_goal_hands_its_outputs_on(engine: Engine) -> None:
    """It is a goal of its own, with its own record, under its parent's requester."""
    handle = await engine.submit(
        plan_of(
            child("sub", value=7),
            {
                "id": "after",
                "uses": "fake.read",
                "with": {"value": "${{ tasks.sub.tasks.then.value }}"},
            },
        )
    )
    result = await engine.result(handle)
    assert result.state is GoalState.SUCCEEDED
    assert result.outputs("after") == {"value": 7}
    below: Handle = engine.client.get_workflow_handle(f"{handle.id}--sub.0")
    progress = await engine.progress(below)
    assert progress.requester.id == "dana"
    assert progress.requester.proven
    assert "goal.ended" in engine.kinds(below.id)


async def test_a_childs_failure_is_its_parents_and_its_siblings_work_is_undone(
    engine: Engine,
) -> None:
    """What the failing child did it undoes itself; the other child is rolled back."""
    handle = await engine.submit(
        plan_of(child("good", value=1), child("bad", "child", "good", value=2, do="fail"))
    )
    result = await engine.result(handle)
    assert result.state is GoalState.ROLLED_BACK
    assert states(result) == {"good": TaskState.COMPENSATED, "bad": TaskState.FAILED}
    undone = [v for _, op, v in engine.fake.done if op == "fake.undo"]
    assert undone == [2, 1]


async def test_a_child_asks_people_itself(engine: Engine) -> None:
    """A denial there is a denial here."""
    handle = await engine.submit(plan_of(child("sub", "risky-child", value=1)))
    below: Handle = engine.client.get_workflow_handle(f"{handle.id}--sub.0")
    await engine.until(handle, lambda p: any(t.state is TaskState.RUNNING for t in p.tasks))
    asked = await engine.asked(below)
    assert asked.needed == 1
    await engine.decide(below, asked.request, answer=Answer.DENY, reason="no")
    result = await engine.result(handle)
    assert result.state is GoalState.DENIED


async def test_cancelling_a_goal_cancels_its_children(engine: Engine) -> None:
    """And waits until they have undone what they did."""
    handle = await engine.submit(plan_of(child("sub", value=1, do="hang")))
    await engine.fake.started.wait()
    await handle.cancel()
    await engine.until(handle, lambda p: p.state is GoalState.CANCELLED)
    assert [op for _, op, _ in engine.fake.done] == ["fake.write", "fake.undo"]


async def test_an_unknown_child_contract_is_refused_before_anything_runs(engine: Engine) -> None:
    """The plan names the task."""
    handle = await engine.submit(
        plan_of({"id": "first", "uses": "fake.write"}, child("sub", "nonsense", "first", value=1))
    )
    with pytest.raises(WorkflowFailureError) as refused:
        await engine.result(handle)
    assert "task 'sub'" in str(refused.value.cause)
    assert engine.fake.done == []


async def test_children_for_each_item_of_a_list(engine: Engine) -> None:
    """Child goals run side by side, and their results come in order."""
    handle = await engine.submit(
        plan_of(
            {
                "id": "all",
                "uses": "goal",
                "for_each": [3, 1, 2],
                "with": {"contract": "child", "inputs": {"value": "${{ each.item }}"}},
            },
            {
                "id": "after",
                "uses": "fake.read",
                "with": {"value": "${{ tasks.all[*].tasks.make.value }}"},
            },
        )
    )
    result = await engine.result(handle)
    assert result.outputs("after") == {"value": [3, 1, 2]}


async def test_one_goal_at_a_time_has_a_lock(engine: Engine) -> None:
    """The second waits, says so, and goes on when the first has ended."""
    lock = f"lock-{uuid.uuid4().hex[:8]}"

    def locked(signal: str) -> Any:
        return plan_of(
            {"id": "in", "uses": "fake.write", "lock": lock, "with": {"value": signal}},
            {"id": "hold", "uses": "wait", "needs": ["in"], "with": {"signal": signal}},
            {"id": "out", "uses": "fake.write", "needs": ["hold"], "lock": lock},
        )

    one = await engine.submit(locked("a"))
    await engine.until(
        one, lambda p: any(t.id == "hold" and t.state is TaskState.RUNNING for t in p.tasks)
    )
    two = await engine.submit(locked("b"))
    while not (await two.query("summary"))["waits_for_locks"]:
        pass
    assert [v for _, _, v in engine.fake.done] == ["a"]
    await one.signal(SIGNAL_EVENT, EventSignal(name="a"))
    assert (await engine.result(one)).state is GoalState.SUCCEEDED
    await two.signal(SIGNAL_EVENT, EventSignal(name="b"))
    assert (await engine.result(two)).state is GoalState.SUCCEEDED
    assert [v for _, _, v in engine.fake.done] == ["a", None, "b", None]


async def test_a_lock_is_released_while_people_are_asked_and_what_was_read_is_read_again(
    engine: Engine,
) -> None:
    """Another goal had it meanwhile, so the preview is made anew, under the lock."""
    lock = f"lock-{uuid.uuid4().hex[:8]}"
    one = await engine.submit(
        plan_of(
            {"id": "preview", "uses": "fake.read", "lock": lock, "with": {"value": 1}},
            {
                "id": "gate",
                "uses": "approval",
                "lock": lock,
                "needs": ["preview"],
                "covers": ["wipe"],
            },
            {
                "id": "wipe",
                "uses": "fake.destroy",
                "lock": lock,
                "with": {"value": "${{ tasks.preview.value }}"},
            },
            environment="production",
        )
    )
    asked = await engine.asked(one)
    two = await engine.submit(
        plan_of({"id": "in", "uses": "fake.write", "lock": lock, "with": {"value": "other"}})
    )
    assert (await engine.result(two)).state is GoalState.SUCCEEDED
    await engine.decide(one, asked.request)
    result = await engine.result(one)
    assert result.state is GoalState.SUCCEEDED
    assert engine.fake.tries["preview"] == 2
    # Nothing of what was approved has changed, so nobody is asked again.
    assert len((await engine.progress(one)).requests) == 1


@pytest.mark.parametrize("gated", [False, True])
async def test_a_list_that_is_read_again_under_a_lock_is_asked_about_anew(
    engine: Engine, gated: bool
) -> None:
    """Another item came in between: people are asked about both, and both run."""
    lock = f"lock-{uuid.uuid4().hex[:8]}"
    gate = {"id": "gate", "uses": "approval", "lock": lock, "needs": ["find"], "covers": ["wipe"]}
    one = await engine.submit(
        plan_of(
            {"id": "find", "uses": "fake.read", "lock": lock, "with": {"do": "count"}},
            *([gate] if gated else []),
            {
                "id": "wipe",
                "uses": "fake.destroy",
                "lock": lock,
                "for_each": "${{ tasks.find.value }}",
                "with": {"value": "${{ each.item }}"},
            },
            environment="production",
        )
    )
    first = await engine.asked(one)
    assert [a.task_id for a in first.request.actions] == ["wipe.0"]
    two = await engine.submit(plan_of({"id": "in", "uses": "fake.write", "lock": lock}))
    await engine.result(two)
    await engine.decide(one, first.request)
    progress = await engine.until(one, lambda p: len(p.requests) == 2)
    second = next(r for r in progress.requests if r.closed is None)
    assert [a.task_id for a in second.request.actions] == ["wipe.0", "wipe.1"]
    assert [v for t, _, v in engine.fake.done if t.startswith("wipe")] == []
    await engine.decide(one, second.request)
    result = await engine.result(one)
    assert result.state is GoalState.SUCCEEDED
    assert {v for t, _, v in engine.fake.done if t.startswith("wipe")} == {0, 1}


async def test_a_lock_that_is_held_keeps_others_out_while_people_are_asked(
    engine: Engine,
) -> None:
    """Nobody comes in between, and nothing is read again."""
    lock = f"lock-{uuid.uuid4().hex[:8]}"
    held = {"name": lock, "while_waiting": "hold"}
    one = await engine.submit(
        plan_of(
            {"id": "preview", "uses": "fake.read", "lock": held},
            {"id": "wipe", "uses": "fake.destroy", "lock": held, "needs": ["preview"]},
            environment="production",
        )
    )
    asked = await engine.asked(one)
    two = await engine.submit(plan_of({"id": "in", "uses": "fake.write", "lock": lock}))
    while not (await two.query("summary"))["waits_for_locks"]:
        pass
    await engine.decide(one, asked.request)
    assert (await engine.result(one)).state is GoalState.SUCCEEDED
    assert (await engine.result(two)).state is GoalState.SUCCEEDED
    assert [t for t, _, _ in engine.fake.done] == ["preview", "wipe", "in"]
    assert engine.fake.tries["preview"] == 1


async def ended(engine: Engine, goal: GoalInput) -> tuple[Handle, GoalResult]:
    """A goal of this input, once it has ended."""
    goal_id = f"test-{uuid.uuid4().hex[:12]}"
    handle = await engine.start(await engine.attested(goal, goal_id), goal_id)
    return handle, await engine.result(handle)


async def test_a_failed_goal_runs_again_from_one_task(engine: Engine) -> None:
    """Earlier results are kept; the task and what comes after it run anew."""
    first = await engine.submit(
        plan_of(
            {"id": "a", "uses": "fake.write", "with": {"value": 1}, "on_failure": "stop"},
            {
                "id": "b",
                "uses": "fake.read",
                "with": {"value": "${{ tasks.a.value }}", "do": "late"},
                "on_failure": "stop",
            },
            {"id": "c", "uses": "fake.read", "with": {"value": "${{ tasks.b.value }}"}},
        )
    )
    engine.fake.let.set()
    assert (await engine.result(first)).state is GoalState.FAILED
    again = GoalInput(rerun=RerunOf(goal_id=first.id, from_task="b"))
    _, result = await ended(engine, again)
    assert result.state is GoalState.SUCCEEDED
    assert result.outputs("c") == {"value": 1}
    assert engine.fake.tries["a"] == 1
    assert next(t for t in result.tasks if t.id == "a").reused


async def test_a_finished_goal_is_rolled_back_once(engine: Engine) -> None:
    """Last in, first out, its children's effects too; a second time nothing is left."""
    first = await engine.submit(
        plan_of(
            {"id": "a", "uses": "fake.write", "with": {"value": "a"}},
            child("sub", "child", "a", value=5),
            {"id": "b", "uses": "fake.write", "with": {"value": "b"}, "needs": ["sub"]},
        )
    )
    assert (await engine.result(first)).state is GoalState.SUCCEEDED
    _, result = await ended(engine, GoalInput(rollback=first.id))
    assert result.state is GoalState.SUCCEEDED
    undone = [v for _, op, v in engine.fake.done if op == "fake.undo"]
    assert undone == ["b", 5, "a"]
    with pytest.raises(WorkflowFailureError) as refused:
        await ended(engine, GoalInput(rollback=first.id))
    assert isinstance(refused.value.cause, ApplicationError)
    assert refused.value.cause.type == "NothingToUndo"
