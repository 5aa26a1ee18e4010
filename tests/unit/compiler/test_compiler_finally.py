from typing import Any

import pytest

from goalkeeper.domain.compiler import resolve
from goalkeeper.domain.errors import InvalidContract, InvalidGoal
from goalkeeper.domain.plan import LockUse, OnFailure, WhileWaiting
from tests.unit.compiler.making import gate, made, made_from, note, task


def test_tasks_that_always_run_stand_last() -> None:
    """They need nothing of what ran before, since it is over however it ended."""
    plan = made(
        note("a"),
        note("b", "a"),
        at_last=[note("y", "z"), note("z", text="${{ tasks.b.text }}")],
    )
    assert [t.id for t in plan.tasks] == ["a", "b", "z", "y"]
    assert [t.always for t in plan.tasks] == [False, False, True, True]
    assert task(plan, "z").needs == ()
    assert task(plan, "y").needs == ("z",)


def test_they_see_how_the_goal_ended() -> None:
    """Its state, its failure, and the state of each task."""
    say = "${{ goal.id }} ${{ goal.state }}: ${{ goal.failure.message || 'fine' }}, ${{ states.a }}"
    plan = made(
        note("a"),
        at_last=[
            note("z", text=say) | {"when": "${{ goal.failure && states.a != 'Succeeded' }}"},
            note("y", text="${{ goal.failure.code }}", anything="${{ tasks.z.number }}"),
        ],
    )
    scope = {"goal": {"id": "g", "state": "Failed", "failure": None}, "states": {"a": "Failed"}}
    assert resolve(task(plan, "z"), scope)["text"] == "g Failed: fine, Failed"
    assert task(plan, "y").needs == ("z",)


def test_nothing_is_undone_once_they_fail() -> None:
    """That phase is over by then."""
    plan = made(note("a"), at_last=[note("y"), note("z") | {"on_failure": "continue"}])
    assert task(plan, "a").on_failure is OnFailure.ROLL_BACK
    assert task(plan, "y").on_failure is OnFailure.STOP
    assert task(plan, "z").on_failure is OnFailure.CONTINUE


WRONG: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], str]] = {
    "a task that waits for the end": (
        [note("a", "z")],
        [note("z")],
        "'z' runs in `finally:`, once 'a' is over; nothing before it can wait for it",
    ),
    "an output of the end": (
        [note("a", text="${{ tasks.z.text }}")],
        [note("z")],
        "'z' runs in `finally:`",
    ),
    "a gate that covers the end": ([gate("a", "z")], [note("z")], "'z' runs in `finally:`"),
    "a gate at the end": (
        [note("a")],
        [gate("y", "z"), note("z")],
        "`finally` has no approvals",
    ),
    "a need that is over": (
        [note("a")],
        [note("z", "a")],
        "remove it, or ask for its state: `when: ${{ states.a == 'Failed' }}`",
    ),
    "an id twice": ([note("a")], [note("a")], "the task id 'a' is taken"),
    "a circle": ([note("a")], [note("y", "z"), note("z", "y")], "y → z → y"),
    "undoing at the end": (
        [note("a")],
        [note("z") | {"on_failure": "roll_back"}],
        "write stop or continue",
    ),
    "more of a failure than there is": (
        [note("a")],
        [note("z", text="${{ goal.failure.reason }}")],
        "'goal.failure' (goal) has no field 'reason'; fields: code, message",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_refuses_an_end_that_could_not_come(case: str) -> None:
    """The message says what to write instead."""
    tasks, at_last, words = WRONG[case]
    with pytest.raises(InvalidContract) as refused:
        made(*tasks, at_last=at_last)
    assert words in refused.value.message


def test_what_is_wrong_at_the_end_is_told_at_its_line() -> None:
    """Like everything else in the file."""
    with pytest.raises(InvalidContract, match=r"demo.yaml:7:13: there is no task 'b'"):
        made_from(
            "name: demo\ntasks:\n- {id: a, uses: note.take}\nfinally:\n- id: z\n  uses: note.take\n"
            "  needs: [  b]\n"
        )


def test_what_is_wrong_at_the_end_is_told_by_its_name_without_a_file() -> None:
    """A goal may bring its contract along."""
    with pytest.raises(InvalidContract, match=r"contract 'demo', task 'z', needs\.0"):
        made(note("a"), at_last=[note("z", "b")])


def test_a_lock_has_a_name_and_is_released_while_people_are_asked() -> None:
    """Unless the contract says otherwise."""
    plan = made(
        note("a") | {"lock": "prod"},
        note("b") | {"lock": {"name": "db", "while_waiting": "hold", "hold_for": "PT1H"}},
    )
    assert task(plan, "a").lock == LockUse(name="prod")
    held = task(plan, "b").lock
    assert held is not None
    assert held.while_waiting is WhileWaiting.HOLD
    assert held.hold_for is not None
    assert held.hold_for.total_seconds() == 3600


def test_a_lock_may_be_named_by_inputs() -> None:
    """One lock for each environment."""
    plan = made(
        note("a") | {"lock": "deploy-${{ inputs.to }}"}, goal={"to": "prod"}, inputs={"to": {}}
    )
    assert task(plan, "a").lock == LockUse(name="deploy-prod")
    with pytest.raises(InvalidGoal, match="'deploy-A B' cannot name a lock"):
        made(note("a") | {"lock": "deploy-${{ inputs.to }}"}, goal={"to": "A B"}, inputs={"to": {}})


LOCKS: dict[str, tuple[dict[str, Any], str]] = {
    "a name that is none": ({"lock": "Prod!"}, "'Prod!' cannot name a lock"),
    "a name that a task answers": (
        {"lock": "${{ tasks.a.text }}"},
        "the name of a lock is part of the plan, so it may use inputs and not 'tasks.a.text'",
    ),
    "an input that is not there": ({"lock": "${{ inputs.x }}"}, "declares no input 'x'"),
    "a time for a lock that is let go": (
        {"lock": {"name": "db", "hold_for": 60}},
        "`hold_for` goes with `while_waiting: hold`",
    ),
    "two minds about one lock": (
        {"lock": {"name": "prod", "while_waiting": "hold"}},
        "task 'a' says something else about it",
    ),
}


@pytest.mark.parametrize("case", LOCKS)
def test_refuses_a_lock_that_is_not_clear(case: str) -> None:
    """The message says what to write instead."""
    more, words = LOCKS[case]
    with pytest.raises(InvalidContract) as refused:
        made(note("a") | {"lock": "prod"}, note("b") | more)
    assert words in refused.value.message
