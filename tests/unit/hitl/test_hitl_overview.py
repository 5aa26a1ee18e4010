"""How a goal is shown: what matters first, and never more than a page can hold."""

from typing import Any

import pytest

from goalkeeper.contracts.goal import OpenRequest, Progress, Summary
from goalkeeper.domain.approval import Requester
from goalkeeper.domain.base import Json
from goalkeeper.domain.goal import Failure, Skip, TaskStatus
from goalkeeper.domain.plan import GOAL, WAIT, ForEach, GoalState, Plan, PlanTask, TaskState
from hitl.overview import ITEMS, ROWS, Overview, TaskRow, counts_text, overview
from tests.unit.hitl.hitl_fakes import ZERO, an_outcome


def a_task(name: str, operation: str = "core.noop", **changes: Any) -> PlanTask:
    """A task of a plan."""
    return PlanTask(id=name, operation=operation, **changes)


def a_goal(plan: list[PlanTask], tasks: list[TaskStatus], **changes: Any) -> Progress:
    """A goal of these tasks."""
    return Progress(
        goal_id="goal-1",
        contract="deploy-branch",
        state=GoalState.RUNNING,
        version=1,
        requester=Requester(id="dev", proven=True),
        plan=Plan(
            contract="deploy-branch",
            contract_digest=ZERO,
            environment="production",
            tasks=tuple(plan),
        ),
        tasks=tuple(tasks),
        **changes,
    )


def stands(name: str, state: TaskState, operation: str = "core.noop", **more: Any) -> TaskStatus:
    """Where a task stands."""
    return TaskStatus(id=name, operation=operation, state=state, **more)


def row(shown: Overview, name: str) -> TaskRow:
    """One row."""
    return next(r for r in shown.rows if r.id == name)


def test_of_ten_thousand_tasks_what_went_wrong_comes_first_and_the_rest_is_counted() -> None:
    """The page stays as long as that of a small goal."""
    plan = [a_task(f"t{i}") for i in range(10_000)]
    tasks = [stands(f"t{i}", TaskState.SUCCEEDED) for i in range(10_000)]
    tasks[9_000] = stands("t9000", TaskState.FAILED)
    tasks[9_999] = stands("t9999", TaskState.UNKNOWN)
    shown = overview(a_goal(plan, tasks))
    assert [r.id for r in shown.rows[:2]] == ["t9999", "t9000"]
    assert (len(shown.rows), shown.hidden) == (ROWS, 10_000 - ROWS)
    assert counts_text(shown.counts) == "1 Unknown, 1 Failed, 9998 Succeeded"


def test_items_are_folded_under_their_task() -> None:
    """With counts, and those that matter most."""
    items = [stands(f"each.{i}", TaskState.SUCCEEDED) for i in range(100)]
    items[70] = stands(
        "each.70", TaskState.FAILED, failure=Failure(code="CheckFailed", message="no")
    )
    plan = [a_task("each", for_each=ForEach(expression="tasks.a")), a_task("after")]
    tasks = [stands("each", TaskState.RUNNING), *items, stands("after", TaskState.PENDING)]
    shown = overview(a_goal(plan, tasks))
    assert [r.id for r in shown.rows] == ["each", "after"]
    folded = row(shown, "each")
    assert counts_text(folded.counts) == "1 Failed, 99 Succeeded"
    assert (len(folded.items), folded.hidden) == (ITEMS, 100 - ITEMS)
    assert (folded.items[0].id, folded.items[0].note) == ("each.70", "CheckFailed: no")
    assert counts_text(shown.counts) == "1 Failed, 1 Pending, 99 Succeeded"


def test_many_tasks_with_many_items_stay_bounded_together() -> None:
    """Not only each for itself."""
    plan = [a_task(f"t{i}", for_each=ForEach(expression="x")) for i in range(100)]
    tasks = [
        status
        for i in range(100)
        for status in (
            stands(f"t{i}", TaskState.RUNNING),
            *(stands(f"t{i}.{k}", TaskState.RUNNING) for k in range(50)),
        )
    ]
    shown = overview(a_goal(plan, tasks))
    assert sum(len(r.items) for r in shown.rows) <= 400
    assert all(len(r.items) + r.hidden == 50 for r in shown.rows)


@pytest.mark.parametrize(
    ("why", "reason", "note"),
    [
        (Skip.CONDITION, "", "its condition is not met"),
        (Skip.PERSON, "host\nis down", "by a person: host\\nis down"),
        (Skip.UPSTREAM, "", "what it needs did not end as it wants"),
        (Skip.STOPPED, "", "the goal stopped first"),
    ],
)
def test_a_skipped_task_says_why(why: Skip, reason: str, note: str) -> None:
    """A person's words among it, made plain."""
    task = stands("a", TaskState.SKIPPED, skipped=why, reason=reason)
    assert row(overview(a_goal([a_task("a")], [task])), "a").note == note


@pytest.mark.parametrize(
    ("inputs", "note"),
    [
        ({"duration": "PT5M"}, "waits for PT5M"),
        ({"until": "2026-03-01T12:00:00Z"}, "waits until 2026-03-01T12:00:00Z"),
        ({"signal": "dawn"}, "waits for the signal 'dawn'"),
        ({"signal": "dawn", "timeout": "PT1H"}, "waits for the signal 'dawn', for PT1H at most"),
        ({"until": None}, "waits"),
    ],
)
def test_a_wait_says_what_it_waits_for(inputs: dict[str, Json], note: str) -> None:
    """As far as the plan knows."""
    goal = a_goal([a_task("w", WAIT, inputs=inputs)], [stands("w", TaskState.RUNNING, WAIT)])
    assert row(overview(goal), "w").note == note


def test_a_child_goal_is_named_once_it_has_begun() -> None:
    """By the id under which it runs, also one for each item."""
    plan = [
        a_task("one", GOAL),
        a_task("many", GOAL, for_each=ForEach(expression="x")),
        a_task("later", GOAL),
    ]
    at = "2026-03-01T12:00:00.000Z"
    tasks = [
        stands("one", TaskState.RUNNING, GOAL, started_at=at, generation=2),
        stands("many", TaskState.RUNNING, GOAL, started_at=at),
        stands("many.3", TaskState.RUNNING, GOAL, started_at=at),
        stands("later", TaskState.PENDING, GOAL),
    ]
    shown = overview(a_goal(plan, tasks))
    assert row(shown, "one").child == "goal-1--one.2"
    assert row(shown, "many").child == ""
    assert row(shown, "many").items[0].child == "goal-1--many.3.0"
    assert row(shown, "later").child == ""


def test_an_unknown_task_leads_to_its_question() -> None:
    """And a task that always runs is marked, as is a result of an earlier goal."""
    asked = an_outcome()
    plan = [a_task("kept"), a_task("merge"), a_task("tidy", always=True)]
    tasks = [
        stands("kept", TaskState.SUCCEEDED, reused=True),
        stands(
            "merge",
            TaskState.UNKNOWN,
            failure=Failure(code="OutcomeUnknown", message="an attempt was lost"),
        ),
        stands("tidy", TaskState.PENDING),
    ]
    request = OpenRequest(request=asked, digest=asked.digest, needed=1)
    shown = overview(a_goal(plan, tasks, requests=(request,)))
    assert row(shown, "merge").request == asked.id
    assert "did it happen?" in row(shown, "merge").note
    assert row(shown, "tidy").always
    assert row(shown, "kept").note == "the earlier goal's result"


def test_locks_that_are_waited_for_are_said_at_the_top() -> None:
    """By name."""
    summary = Summary(
        goal_id="goal-1",
        contract="c",
        state=GoalState.RUNNING,
        version=1,
        waits_for_locks=("prod", "stage"),
    )
    goal = a_goal([a_task("a")], [stands("a", TaskState.PENDING)])
    assert overview(goal, summary).notes == ("Waits for the locks 'prod', 'stage'.",)
