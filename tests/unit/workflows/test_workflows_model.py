"""The interpreter against the reference model: random goals end as the model says."""

from hypothesis import given

from tests.unit.workflows.cases import Case, cases
from tests.unit.workflows.effort import effort
from tests.unit.workflows.reference import predict
from tests.unit.workflows.running import GOAL, carry_out, expected, told


@effort()
@given(cases())
def test_a_goal_ends_as_the_model_says(case: Case) -> None:
    """Tasks, goal, what was undone in which order, what was begun at all, and a reason why not."""
    prediction = predict(case)
    stage, _ = carry_out(case)
    progress = stage.last(GOAL)
    assert told(progress) == expected(prediction)
    assert progress.state.value == prediction.goal
    assert [w.task_id for w in stage.world.undone] == prediction.undone
    assert {(w.task_id, w.generation) for w in stage.world.begun} == prediction.begun
    assert (progress.failure is None) == (progress.state.value == "Succeeded")
