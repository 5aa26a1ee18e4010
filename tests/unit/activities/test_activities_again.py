"""Which tasks of a finished goal run again."""

from typing import Any

import pytest

from activities.rerun import Earlier, _again, reused
from goalkeeper.contracts.goal import GoalInput
from goalkeeper.domain.errors import Conflict
from goalkeeper.domain.goal import GoalResult, Skip, TaskStatus
from goalkeeper.domain.plan import APPROVAL, GoalState, Plan, PlanTask, TaskState


def task(ident: str, *needs: str, **more: Any) -> PlanTask:
    """A task after others."""
    return PlanTask.model_validate({"id": ident, "operation": "core.noop", "needs": needs, **more})


PLAN = Plan(
    contract="test",
    contract_digest="sha256:" + "0" * 64,
    environment="development",
    tasks=(
        task("look"),
        task("ask", "look", operation=APPROVAL, covers=("merge", "deploy")),
        task("merge", "ask"),
        task("deploy", "ask", "merge"),
        task("tell", "look"),
        task("tidy", always=True),
    ),
)


def statuses(**changes: Any) -> dict[str, TaskStatus]:
    """Everything succeeded, unless told otherwise."""
    made = {t.id: TaskStatus(id=t.id, operation=t.operation) for t in PLAN.tasks}
    return {
        i: s.model_copy(update={"state": TaskState.SUCCEEDED, **changes.get(i, {})})
        for i, s in made.items()
    }


@pytest.mark.parametrize(
    ("from_task", "changes", "expected"),
    [
        ("deploy", {}, {"ask", "deploy"}),
        ("merge", {}, {"ask", "merge", "deploy"}),
        ("look", {}, {"look", "ask", "merge", "deploy", "tell"}),
        ("tell", {}, {"tell"}),
        ("tidy", {}, set()),
        ("tell", {"merge": {"state": TaskState.COMPENSATED}}, {"tell", "ask", "merge", "deploy"}),
        ("tell", {"deploy": {"state": TaskState.FAILED}}, {"tell", "ask", "deploy"}),
        (
            "deploy",
            {"merge": {"state": TaskState.SKIPPED, "skipped": Skip.PERSON}},
            {"ask", "deploy"},
        ),
        (
            "deploy",
            {"tell": {"state": TaskState.SKIPPED, "skipped": Skip.STOPPED}},
            {"ask", "deploy", "tell"},
        ),
    ],
)
def test_what_is_asked_for_what_follows_and_what_has_no_result_to_keep(
    from_task: str, changes: Any, expected: set[str]
) -> None:
    """A gate asks again for what runs again, and what always runs always does."""
    assert _again(PLAN, statuses(**changes), from_task) == expected | {"tidy"}


@pytest.mark.parametrize("state", [TaskState.FAILED, TaskState.SUCCEEDED])
async def test_a_task_with_an_unknown_item_is_not_run_again(state: TaskState) -> None:
    """Its items would all run again, that one blindly among them."""
    every = statuses(deploy={"state": state})
    unknown = TaskStatus(id="deploy.1", operation="core.noop", state=TaskState.UNKNOWN)
    result = GoalResult(
        goal_id="first",
        contract="test",
        state=GoalState.FAILED,
        plan_digest=PLAN.digest,
        tasks=(*every.values(), unknown),
    )
    was = Earlier(("first",), GoalInput(contract="test"), result)
    nothing: Any = None
    with pytest.raises(Conflict, match=r"deploy\.1"):
        await reused(nothing, PLAN, was, "deploy")
