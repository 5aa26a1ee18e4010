"""Rolling a finished goal back: what is undone, in which order, and by whose leave."""

import asyncio
from typing import Any

import pytest

from goalkeeper.contracts.goal import GoalInput
from goalkeeper.domain.audit import AuditKind
from goalkeeper.ledger import EffectState, Undo
from tests.integration.activities.standing_in import Desk, StandIn, carry_out
from tests.support.engine import plan_of


def writes(*tasks: str) -> GoalInput:
    """Writes one after the other, each undone by ``fake.undo`` with its value."""
    return GoalInput(
        definition=plan_of(
            *(
                {
                    "id": task,
                    "uses": "fake.write",
                    "with": {"value": task},
                    "needs": list(tasks[:i][-1:]),
                }
                for i, task in enumerate(tasks)
            )
        )
    )


def back(goal_id: str) -> GoalInput:
    """Roll it back."""
    return GoalInput(rollback=goal_id)


def undone(desk: Desk, name: str) -> list[Any]:
    """What was undone, in order."""
    return [v for _, o, v in desk.done if o == "fake.undo" and str(v).startswith(name)]


async def begun(desk: Desk, goal_id: str) -> None:
    """Return once a goal has done something."""
    while True:
        found = await desk.parts.ledger.effects(goal_id)
        if any(e.state is EffectState.DONE for e in found):
            return
        await asyncio.sleep(0.02)


async def effect(desk: Desk, goal_id: str, key: str, *, value: Any = 1, **changes: Any) -> None:
    """An effect as an attempt in production leaves it in the ledger."""
    ledger = desk.parts.ledger
    await ledger.begin(
        key, goal_id=goal_id, task_id="act", operation="fake.write", action_digest="d", attempt=1
    )
    undo: dict[str, Any] = {
        "operation": "fake.undo",
        "inputs": {"value": value},
        "environment": "production",
        **changes,
    }
    await ledger.finish(key, result=None, compensation=Undo.model_validate(undo))


async def test_what_was_done_is_undone_the_last_first(desk: Desk) -> None:
    """By new tasks of a new goal; another rollback finds nothing left."""
    first, second = desk.new(), desk.new()
    await desk.run(writes("one_a", "one_b", "one_c"), first)
    result = await desk.run(back(first), second)
    assert undone(desk, "one") == ["one_c", "one_b", "one_a"]
    assert [t["id"] for t in result["tasks"]] == ["undo_1_one_c", "undo_2_one_b", "undo_3_one_a"]
    assert {e.state for e in await desk.parts.ledger.effects(first)} == {EffectState.UNDONE}
    (planned,) = desk.parts.audit.entries(goal_id=second, kind=AuditKind.GOAL_PLANNED)
    assert planned.event.detail["rollback"] == first
    refused = await desk.run(back(first))
    assert refused.startswith("NothingToUndo: goal")


async def test_what_cannot_be_undone_is_said(desk: Desk) -> None:
    """In the plan that people look at, and in the refusal where nothing can."""
    goal = GoalInput(
        definition=plan_of(
            {"id": "two_a", "uses": "fake.write", "with": {"value": "two"}},
            {"id": "two_b", "uses": "fake.deploy"},
        )
    )
    first = desk.new()
    await desk.run(goal, first)
    inputs: list[Any] = []

    async def script(self: StandIn, goal: GoalInput) -> Any:
        inputs.append((await self.plan(goal)).plan.inputs)
        return await carry_out(self, goal)

    await desk.run(back(first), desk.new(), script)
    said = f"'fake.deploy' of task 'two_b' in goal '{first}'"
    assert inputs == [{"goal": first, "cannot_undo": [said]}]
    assert f"no way back from {said}" in await desk.run(back(first))


async def test_a_goal_that_still_runs_is_not_rolled_back(desk: Desk) -> None:
    """Cancelling it is what undoes it."""
    first = desk.new()

    async def hold(self: StandIn, goal: GoalInput) -> Any:
        await carry_out(self, goal)
        await asyncio.Event().wait()

    handle = await desk.start(writes("three"), first, hold)
    await asyncio.wait_for(begun(desk, first), 30)
    assert (await desk.run(back(first))).startswith("Conflict: goal")
    await handle.terminate()
    await desk.run(back(first))
    assert undone(desk, "three") == ["three"]


async def test_a_child_s_effects_are_undone_with_its_parent_s(desk: Desk) -> None:
    """In the order in which all of them were done."""
    first = desk.new()
    child = f"{first}--sub.0"
    for number, goal_id in enumerate((first, child, first)):
        await effect(
            desk, goal_id, f"{goal_id}.{number}", value=f"four{number}", environment="development"
        )
    await desk.run(back(first))
    assert undone(desk, "four") == ["four2", "four1", "four0"]


async def test_a_rerun_is_not_undone_with_the_goal_that_it_followed(desk: Desk) -> None:
    """It is a goal of its own, which may run at this moment."""
    first = desk.new()
    for goal_id in (first, f"{first}--rerun-1"):
        await effect(
            desk, goal_id, f"{goal_id}.act", value=f"six {goal_id}", environment="development"
        )
    await desk.run(back(first))
    assert undone(desk, "six") == [f"six {first}"]


async def test_a_child_that_still_runs_is_not_undone(desk: Desk) -> None:
    """Its parent was terminated, and nobody told it."""
    first = desk.new()
    child = f"{first}--sub.0"

    async def hold(self: StandIn, goal: GoalInput) -> Any:
        await asyncio.Event().wait()

    handle = await desk.start(GoalInput(), child, hold)
    await effect(desk, child, f"{child}.act", value="seven", environment="development")
    assert (await desk.run(back(first))).startswith(f"Conflict: goal '{child}' still runs")
    await handle.terminate()
    await desk.run(back(first))
    assert undone(desk, "seven") == ["seven"]


async def test_two_environments_are_two_rollbacks(desk: Desk) -> None:
    """A plan is for one environment, which policy judges."""
    first = desk.new()
    await effect(desk, first, f"{first}.a")
    await effect(desk, f"{first}--sub.0", f"{first}.b", environment="development")
    refused = await desk.run(back(first))
    assert "acted on several environments" in refused
    assert f"{first}--sub.0" in refused


@pytest.mark.parametrize(("proven", "answer"), [(True, "Succeeded"), (False, "ApprovalNeeded")])
async def test_only_a_proven_requester_takes_back_without_asking(
    desk: Desk, proven: bool, answer: str
) -> None:
    """Else whoever reaches Temporal could take back what others approved."""
    first, second = desk.new(), desk.new()
    await effect(desk, first, f"{first}.act")
    goal = await desk.attested(back(first), second) if proven else back(first)
    assert answer in str(await desk.run(goal, second))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"inputs": {"value": 666}}, "is not what undoes"),
        ({"operation": "fake.destroy"}, "is not what undoes"),
        ({"credentials": {"token": "root"}}, "is not what undoes"),
        ({"undoes": "of.nobody"}, "knows nothing to undo"),
    ],
    ids=lambda c: next(iter(c)) if isinstance(c, dict) else "",
)
async def test_a_step_that_is_not_the_ledger_s_is_refused(
    desk: Desk, changes: dict[str, Any], why: str
) -> None:
    """Whatever the workflow says that it undoes."""
    first, second = desk.new(), desk.new()
    await effect(desk, first, f"{first}.act")

    async def script(self: StandIn, goal: GoalInput) -> Any:
        planned = await self.plan(goal)
        (task,) = planned.plan.tasks
        await self.execute(planned, task.model_copy(update=changes))

    refused = await desk.run(await desk.attested(back(first), second), second, script)
    assert refused.startswith("GrantMismatch: ")
    assert why in refused


async def test_another_workflow_cannot_undo_by_the_ledger(desk: Desk) -> None:
    """Only one that was planned as this rollback."""
    first, other, second = desk.new(), desk.new(), desk.new()
    await effect(desk, first, f"{first}.act")
    await effect(desk, other, f"{other}.act")

    async def script(self: StandIn, goal: GoalInput) -> Any:
        planned = await self.plan(goal)
        (task,) = planned.plan.tasks
        await self.execute(planned, task.model_copy(update={"undoes": f"{first}.act"}))

    refused = await desk.run(await desk.attested(back(other), second), second, script)
    assert "was not started to roll back" in refused


async def test_a_step_that_somebody_else_has_taken_is_done(desk: Desk) -> None:
    """Two rollbacks at a time undo once."""
    first = desk.new()
    await effect(desk, first, f"{first}.act", value="five", environment="development")

    async def script(self: StandIn, goal: GoalInput) -> Any:
        planned = await self.plan(goal)
        await self.execute(planned, planned.plan.tasks[0])
        return (await self.execute(planned, planned.plan.tasks[0])).model_dump(mode="json")

    answer = await desk.run(back(first), desk.new(), script)
    assert answer["outputs"] is None
    assert undone(desk, "five") == ["five"]
