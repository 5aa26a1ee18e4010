"""`GoalWorkflow` on a real Temporal server: order, failure, undoing, control."""

from collections.abc import Mapping
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError, CancelledError

from goalkeeper.contracts.goal import ControlInput, TaskControlInput
from goalkeeper.domain.plan import GoalState, TaskState
from tests.support.engine import Engine, plan_of


def states(result: Any) -> Mapping[str, TaskState]:
    """Task id → state."""
    return {t.id: t.state for t in result.tasks}


async def test_tasks_run_in_the_order_of_their_needs_and_hand_values_on(engine: Engine) -> None:
    """A diamond runs top to bottom, and an expression carries an output over."""
    handle = await engine.submit(
        plan_of(
            {"id": "a", "uses": "fake.write", "with": {"value": 1}},
            {"id": "b", "uses": "fake.read", "with": {"value": "${{ tasks.a.value }}"}},
            {"id": "c", "uses": "fake.quick", "with": {"value": "got ${{ tasks.a.value }}"}},
            {"id": "d", "uses": "fake.read", "needs": ["b", "c"]},
        )
    )
    result = await engine.result(handle)
    assert result.state is GoalState.SUCCEEDED
    assert result.outputs("b") == {"value": 1}
    assert result.outputs("c") == {"value": "got 1"}
    order = [task for task, _, _ in engine.fake.done]
    assert order[0] == "a"
    assert order[-1] == "d"


async def test_a_transient_failure_is_retried(engine: Engine) -> None:
    """The second attempt succeeds, and the goal never hears of the first."""
    handle = await engine.submit(
        plan_of(
            {
                "id": "a",
                "uses": "fake.read",
                "with": {"do": "flaky"},
                "retry": {"initial_interval": "PT0.01S"},
            }
        )
    )
    assert (await engine.result(handle)).state is GoalState.SUCCEEDED
    assert engine.fake.tries["a"] == 2


async def test_a_failed_task_stops_what_needs_it_and_undoes_what_succeeded(engine: Engine) -> None:
    """Effects are undone last in, first out; what had not run is skipped."""
    handle = await engine.submit(
        plan_of(
            {"id": "one", "uses": "fake.write", "with": {"value": 1}},
            {"id": "two", "uses": "fake.write", "with": {"value": 2}, "needs": ["one"]},
            {"id": "bad", "uses": "fake.read", "with": {"do": "fail"}, "needs": ["two"]},
            {"id": "never", "uses": "fake.write", "needs": ["bad"]},
        )
    )
    result = await engine.result(handle)
    assert result.state is GoalState.ROLLED_BACK
    assert states(result) == {
        "one": TaskState.COMPENSATED,
        "two": TaskState.COMPENSATED,
        "bad": TaskState.FAILED,
        "never": TaskState.SKIPPED,
    }
    assert [(op, value) for _, op, value in engine.fake.done] == [
        ("fake.write", 1),
        ("fake.write", 2),
        ("fake.undo", 2),
        ("fake.undo", 1),
    ]
    assert result.failure is not None
    assert "task 'bad'" in result.failure.message


async def test_bad_input_fails_the_workflow_with_a_message_that_helps(engine: Engine) -> None:
    """A misspelt key ends the goal at once and says what is known."""
    handle = await engine.start({"contrat": "read-file"})
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    cause = caught.value.cause
    assert isinstance(cause, ApplicationError)
    assert cause.type == "InvalidGoal"
    assert "contrat" in cause.message
    assert '"contract": "read-file"' in cause.message


@pytest.mark.parametrize("raw", [None, 7, "read-file", [], {"inputs": {}}])
async def test_input_of_any_shape_fails_the_workflow_and_not_the_workflow_task(
    engine: Engine, raw: Any
) -> None:
    """No input leaves a goal running for ever."""
    handle = await engine.start(raw)
    with pytest.raises(WorkflowFailureError):
        await handle.result()


async def test_an_unknown_contract_is_refused_with_those_that_exist(engine: Engine) -> None:
    """The planning error is the workflow's failure."""
    handle = await engine.submit("reed-file")
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert "read-file" in str(caught.value.cause)


async def test_policy_refuses_a_goal_before_anything_has_run(engine: Engine) -> None:
    """One privileged task at the end stops the first task too."""
    handle = await engine.submit(
        plan_of(
            {"id": "a", "uses": "fake.write"},
            {"id": "b", "uses": "fake.privileged", "needs": ["a"]},
        )
    )
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.type == "PolicyDenied"
    assert engine.fake.done == []
    assert engine.kinds(handle.id) == ["goal.refused"]


async def test_a_paused_goal_starts_nothing_until_it_is_resumed(engine: Engine) -> None:
    """What failed meanwhile can be retried, and the goal goes on."""
    handle = await engine.submit(
        plan_of(
            {"id": "a", "uses": "fake.read", "with": {"do": "hang"}},
            {"id": "b", "uses": "fake.read", "needs": ["a"]},
        )
    )
    await engine.fake.started.wait()
    await handle.execute_update("pause", ControlInput(reason="look first", actor="olive"))
    await handle.execute_update("cancel_task", TaskControlInput(task_id="a"))
    paused = await engine.until(handle, lambda p: p.tasks[0].state is TaskState.CANCELLED)
    assert paused.state is GoalState.PAUSED
    assert engine.fake.cancelled == ["a"]
    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update("retry_task", TaskControlInput(task_id="b"))
    await handle.execute_update("resume", ControlInput())
    result = await engine.result(handle)
    assert result.state is GoalState.CANCELLED
    assert states(result) == {"a": TaskState.CANCELLED, "b": TaskState.SKIPPED}
    assert engine.kinds(handle.id).count("goal.control") == 3


async def test_a_failed_task_is_retried_as_a_new_generation_while_the_goal_is_paused(
    engine: Engine,
) -> None:
    """`retry_task` gives it another try, and the goal succeeds."""
    handle = await engine.submit(
        plan_of(
            {"id": "slow", "uses": "fake.read", "with": {"do": "hang"}},
            {
                "id": "a",
                "uses": "fake.read",
                "with": {"do": "flaky"},
                "retry": {"maximum_attempts": 1},
            },
        )
    )
    await engine.fake.started.wait()
    await handle.execute_update("pause", ControlInput())
    await engine.until(handle, lambda p: p.tasks[1].state is TaskState.FAILED)
    await handle.execute_update("retry_task", TaskControlInput(task_id="a"))
    await handle.execute_update("resume", ControlInput())
    progress = await engine.until(handle, lambda p: p.tasks[1].state is TaskState.SUCCEEDED)
    assert progress.tasks[1].generation == 1
    await handle.cancel()
    with pytest.raises(WorkflowFailureError):
        await handle.result()


async def test_a_cancelled_goal_stops_its_tasks_and_undoes_its_effects(engine: Engine) -> None:
    """Cancellation reaches the running attempt first, and then the effects are undone."""
    handle = await engine.submit(
        plan_of(
            {"id": "a", "uses": "fake.write", "with": {"value": 1}},
            {"id": "b", "uses": "fake.read", "with": {"do": "hang"}, "needs": ["a"]},
        )
    )
    await engine.fake.started.wait()
    await handle.cancel(reason="olive: wrong branch")
    result = await engine.result(handle)
    assert result.state is GoalState.ROLLED_BACK
    ended = list(engine.parts.audit.entries(goal_id=handle.id))[-1].event
    assert ended.detail["cancelled_by"] == "claimed:olive: wrong branch"
    assert engine.fake.cancelled == ["b"]
    assert engine.fake.done[-1] == ("a", "fake.undo", 1)


async def test_a_cancelled_goal_without_effects_is_canceled_in_temporal_too(engine: Engine) -> None:
    """Temporal's own status tells the same story."""
    handle = await engine.submit(plan_of({"id": "b", "uses": "fake.read", "with": {"do": "hang"}}))
    await engine.fake.started.wait()
    await handle.cancel()
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, CancelledError)
    assert (await engine.progress(handle)).state is GoalState.CANCELLED


async def test_every_task_leaves_intent_and_outcome_on_record(engine: Engine) -> None:
    """In the order in which they happened."""
    handle = await engine.submit(plan_of({"id": "a", "uses": "fake.write"}))
    await engine.result(handle)
    assert engine.kinds(handle.id) == ["goal.planned", "task.intent", "task.outcome", "goal.ended"]
    engine.parts.audit.verify()


@pytest.mark.parametrize("operation", ["fake.read", "fake.quick"])
async def test_a_failure_ends_the_goal_whether_its_activity_is_local_or_not(
    engine: Engine, operation: str
) -> None:
    """A local activity's failure comes unwrapped, and counts all the same."""
    handle = await engine.submit(
        plan_of(
            {"id": "a", "uses": operation, "with": {"do": "fail"}},
            {"id": "b", "uses": "fake.quick", "needs": ["a"]},
        )
    )
    result = await engine.result(handle)
    assert result.state is GoalState.FAILED
    assert states(result) == {"a": TaskState.FAILED, "b": TaskState.SKIPPED}
    assert result.failure is not None
    assert result.failure.code == "OperationFailed"


async def test_an_operation_cannot_act_on_another_environment_than_the_goals(
    engine: Engine,
) -> None:
    """A goal for development that names production in a task is refused before it runs."""
    handle = await engine.submit(
        plan_of({"id": "a", "uses": "fake.deploy", "with": {"environment": "production"}})
    )
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert "environment 'production'" in str(caught.value.cause)
    assert engine.fake.done == []
