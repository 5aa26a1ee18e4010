"""The storm's own parts, without a stack: it must be able to fail, and to be repeated."""

from pathlib import Path
from random import Random

import pytest

from connectors.registry import known_operations
from goalkeeper.domain.compiler import compile_contract
from goalkeeper.domain.goal import GoalResult, TaskStatus
from goalkeeper.domain.plan import GoalState, TaskState
from tests.chaos.killer import VICTIMS, TimeLine, planned
from tests.chaos.shapes import SHAPES
from tests.chaos.verdict import counted
from tests.chaos.witness import BlindConnector, Book, Line, WitnessConnector

GOAL = "chaos-1-000-chain"


def result(state: TaskState, operation: str = "witness.strike") -> GoalResult:
    """A goal of one task."""
    task = TaskStatus(id="t0", operation=operation, state=state)
    return GoalResult(goal_id=GOAL, contract="chaos-chain", state=GoalState.FAILED, tasks=(task,))


def line(task_id: str = "t0", *, undone: str = "") -> Line:
    """A side effect."""
    return Line(f"{GOAL}.{task_id}.0", GOAL, task_id, 0, "witness.strike", 1, undone)


def test_a_seed_gives_the_same_kills_again_and_another_seed_others() -> None:
    """Who dies and how long after the last one is up to the seed, not to the clock."""
    assert planned(7, 50) == planned(7, 50)
    assert planned(7, 50) != planned(8, 50)
    assert {kill.victim for kill in planned(7, 50)} == set(VICTIMS)
    assert all(0.2 <= kill.after <= 3 for kill in planned(7, 50))


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_compiles_and_a_seed_gives_the_same_goal_again(shape: str) -> None:
    """Otherwise a storm could not be repeated."""
    operations = {
        **known_operations(),
        **WitnessConnector.operations,
        **BlindConnector.operations,
    }
    contract, again = (SHAPES[shape](Random("x")) for _ in range(2))  # noqa: S311 - not a secret
    assert contract == again
    assert compile_contract(contract, {}, operations).tasks


@pytest.mark.parametrize(
    ("state", "times"),
    [
        (TaskState.SUCCEEDED, 1),
        (TaskState.UNKNOWN, 0),
        (TaskState.UNKNOWN, 1),
        (TaskState.FAILED, 0),
        (TaskState.SKIPPED, 0),
    ],
)
def test_a_side_effect_may_have_happened_as_often_as_its_tasks_state_says(
    state: TaskState, times: int
) -> None:
    """Once for a success, never for what did not run, either way for what nobody knows."""
    assert counted({GOAL: result(state)}, [line()] * times) == []


@pytest.mark.parametrize(
    ("state", "lines"),
    [
        (TaskState.SUCCEEDED, []),
        (TaskState.SUCCEEDED, [line(), line()]),
        (TaskState.SUCCEEDED, [line(), line(undone="x")]),
        (TaskState.UNKNOWN, [line(), line()]),
        (TaskState.FAILED, [line()]),
        (TaskState.COMPENSATED, [line()]),
        (TaskState.COMPENSATED, [line(), line(undone="x"), line(undone="x")]),
        (TaskState.SKIPPED, [line()]),
    ],
)
def test_anything_else_is_a_complaint_that_names_goal_and_task(
    state: TaskState, lines: list[Line]
) -> None:
    """Lost, repeated, undone twice, or done although the goal says otherwise."""
    (complaint,) = counted({GOAL: result(state)}, lines)
    assert GOAL in complaint
    assert "'t0'" in complaint


def test_a_side_effect_of_no_task_is_a_complaint() -> None:
    """Nothing happens that no goal knows of."""
    (complaint,) = counted({GOAL: result(TaskState.SUCCEEDED)}, [line(), line("other")])
    assert "'other'" in complaint


def test_the_book_outlives_its_writers_and_the_time_line_is_on_disk_at_once(
    tmp_path: Path,
) -> None:
    """Both are read after everything else was killed."""
    assert Book(tmp_path / "book").lines() == []
    time_line = TimeLine(tmp_path / "timeline.txt")
    time_line.note("killed")
    assert (tmp_path / "timeline.txt").read_text().endswith("s  killed\n")
