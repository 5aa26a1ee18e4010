"""Running a finished goal again: what is reused, and what nobody can slip in."""

import asyncio
from typing import Any

import pytest

from goalkeeper.contracts.goal import GoalInput, RerunOf
from goalkeeper.domain.audit import AuditKind
from goalkeeper.domain.goal import GoalResult, TaskStatus
from goalkeeper.domain.plan import GoalState, TaskState
from tests.integration.activities.standing_in import Desk, StandIn, carry_out
from tests.support.engine import plan_of


def steps(name: str) -> GoalInput:
    """A write, one that fails at its first attempt, and one after it."""
    return GoalInput(
        definition=plan_of(
            {"id": f"{name}_a", "uses": "fake.write", "with": {"value": 1}},
            {"id": f"{name}_b", "uses": "fake.write", "with": {"do": "flaky"}},
            {"id": f"{name}_c", "uses": "fake.write", "needs": [f"{name}_b"]},
        )
    )


def again(goal_id: str, task: str) -> GoalInput:
    """Run it again from there."""
    return GoalInput(rerun=RerunOf(goal_id=goal_id, from_task=task))


def effects(desk: Desk, name: str) -> list[str]:
    """Which tasks of a test had an effect, in order."""
    return [task for task, _, _ in desk.done if task.startswith(name)]


async def test_only_what_failed_and_what_follows_runs_again(desk: Desk) -> None:
    """The rest keeps its result, and is marked."""
    first = desk.new()
    assert (await desk.run(steps("one"), first)).startswith("ServiceUnavailable")
    result = GoalResult.model_validate(await desk.run(again(first, "one_b")))
    assert result.state is GoalState.SUCCEEDED
    assert effects(desk, "one") == ["one_a", "one_b", "one_c"]
    assert [t.reused for t in result.tasks] == [True, False, False]
    assert result.outputs("one_a") == {"value": 1}


async def test_a_rerun_can_be_run_again(desk: Desk) -> None:
    """Its results are still those of the first goal, and proved against its record."""
    first, second = desk.new(), desk.new()
    await desk.run(steps("two"), first)
    await desk.run(again(first, "two_b"), second)
    result = GoalResult.model_validate(await desk.run(again(second, "two_c")))
    assert [t.reused for t in result.tasks] == [True, True, False]
    assert effects(desk, "two") == ["two_a", "two_b", "two_c", "two_c"]


async def test_the_new_goal_is_on_record_with_where_it_comes_from(desk: Desk) -> None:
    """And its requester is the person who asked for it, not who asked before."""
    first, second = desk.new(), desk.new()
    await desk.run(steps("three"), first)
    await desk.run(await desk.attested(again(first, "three_b"), second, "olive"), second)
    (planned,) = desk.parts.audit.entries(goal_id=second, kind=AuditKind.GOAL_PLANNED)
    assert planned.event.detail["rerun"] == {"goal_id": first, "from_task": "three_b"}
    assert planned.event.actor == "person:olive"


async def test_an_attestation_for_another_rerun_is_refused(desk: Desk) -> None:
    """What a person signed is this goal from this task on."""
    first, second = desk.new(), desk.new()
    await desk.run(steps("four"), first)
    signed = await desk.attested(again(first, "four_b"), second)
    other = signed.model_copy(update={"rerun": RerunOf(goal_id=first, from_task="four_a")})
    assert (await desk.run(other, second)).startswith("InvalidGoal: the attestation is for")


def altered(task: str, **changes: Any) -> Any:
    """A history that tells something else of a task than what happened."""

    async def script(self: StandIn, goal: GoalInput) -> Any:
        result = GoalResult.model_validate(await carry_out(self, goal))
        tasks = tuple(t.model_copy(update=changes) if t.id == task else t for t in result.tasks)
        return result.model_copy(update={"tasks": tasks}).model_dump(mode="json")

    return script


@pytest.mark.parametrize(
    "lie",
    [
        {"outputs": {"value": 666}},
        {"outputs": None},
        {"outputs": [{"value": 1}]},
        {"outputs": {"value": 666}, "operation": "goalkeeper.wait"},
    ],
    ids=["other", "none", "items", "as a wait"],
)
async def test_a_result_that_is_not_the_one_on_record_is_not_reused(
    desk: Desk, lie: dict[str, Any]
) -> None:
    """Whoever reaches Temporal can write histories, and no record."""
    goal = GoalInput(
        definition=plan_of(
            {"id": "five_a", "uses": "fake.write", "with": {"value": 1}},
            {"id": "five_b", "uses": "fake.write"},
        )
    )
    first = desk.new()
    await desk.run(goal, first, altered("five_a", **lie))
    refused = await desk.run(again(first, "five_b"))
    assert refused.startswith("AuditBroken: the result of task 'five_a'")


async def test_a_goal_that_was_never_planned_is_not_run_again(desk: Desk) -> None:
    """A workflow of somebody's own may answer like one of ours."""

    async def script(_: StandIn, __: GoalInput) -> Any:
        status = TaskStatus(id="six_a", operation="fake.write", state=TaskState.SUCCEEDED)
        return GoalResult(
            goal_id="x", contract="test", state=GoalState.SUCCEEDED, tasks=(status,)
        ).model_dump(mode="json")

    first = desk.new()
    await desk.run(steps("six"), first, script)
    assert "is not on record" in await desk.run(again(first, "six_b"))


async def test_a_task_of_unknown_outcome_is_not_blindly_run_again(desk: Desk) -> None:
    """Neither as the first nor as one of those that follow."""
    goal = GoalInput(
        definition=plan_of(
            {"id": "seven_a", "uses": "fake.write"},
            {"id": "seven_b", "uses": "fake.write"},
        )
    )
    first = desk.new()
    await desk.run(goal, first, altered("seven_b", state=TaskState.UNKNOWN))
    refused = await desk.run(again(first, "seven_a"))
    assert refused.startswith("Conflict: what became of task 'seven_b'")


async def test_what_cannot_be_run_again_says_why(desk: Desk) -> None:
    """A goal that runs, one that is not there, a task that it does not have."""
    first, held = desk.new(), desk.new()
    await desk.run(steps("eight"), first)

    async def hold(_: StandIn, __: GoalInput) -> Any:
        await asyncio.Event().wait()

    handle = await desk.start(steps("nine"), held, hold)
    assert (await desk.run(again(held, "nine_a"))).startswith(f"Conflict: goal '{held}' still runs")
    await handle.terminate()
    assert "ended without a result" in await desk.run(again(held, "nine_a"))
    assert (await desk.run(again("nobody", "nine_a"))).startswith("NotFound: Temporal has no goal")
    assert "has no task 'x'; it has eight_a" in await desk.run(again(first, "x"))
    both = again(first, "eight_b").model_copy(update={"contract": "read-file"})
    assert "exactly one of" in await desk.run(both)
    given = again(first, "eight_b").model_copy(update={"inputs": {"a": 1}})
    assert "takes no inputs" in await desk.run(given)
