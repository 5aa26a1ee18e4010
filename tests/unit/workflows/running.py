"""Running a random goal, and telling how it and its reference model ended in the same words."""

from typing import Any

from hypothesis import note

from goalkeeper.contracts.goal import GoalInput, Progress
from goalkeeper.simulation.execution import Execution
from goalkeeper.simulation.replay import check_replay
from goalkeeper.simulation.stage import Stage
from tests.unit.workflows.cases import Case, stage_of
from tests.unit.workflows.reference import Prediction

GOAL = "random-goal"


def carry_out(case: Case, **options: Any) -> tuple[Stage, Execution]:
    """Run a case to its end, and replay it."""
    stage = stage_of(case, watched=False, **options)
    execution = stage.start(GOAL, GoalInput(contract="random"))
    stage.driver.run()
    note(f"{stage.elapsed} {stage.last(GOAL).state.value} {told(stage.last(GOAL))}")
    if not execution.closed:
        stage.driver.close()
        raise AssertionError("the goal does not end")
    check_replay(execution)
    return stage, execution


def told(progress: Progress) -> dict[str, str]:
    """Task → how it ended."""
    return {t.id: f"{t.state.value} {t.skipped or ''}".strip() for t in progress.tasks}


def expected(prediction: Prediction) -> dict[str, str]:
    """Task → how it should have ended."""
    return {
        t: f"{s} {prediction.skips.get(t, '') if s == 'Skipped' else ''}".strip()
        for t, s in prediction.states.items()
    }
