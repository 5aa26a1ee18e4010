"""What people do to a going goal: skip, change, retry items, cancel, answer what happened."""

from typing import Any

import pytest
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError

from goalkeeper.contracts.goal import (
    UPDATE_CANCEL,
    UPDATE_CHANGE_TASK,
    UPDATE_PAUSE,
    UPDATE_RESUME,
    UPDATE_RETRY_TASK,
    UPDATE_SKIP_TASK,
    CancelInput,
    ControlInput,
    TaskChangeInput,
    TaskControlInput,
)
from goalkeeper.domain.approval import Answer, Question
from goalkeeper.domain.goal import GoalResult, Skip
from goalkeeper.domain.plan import GoalState, TaskState
from tests.support.engine import Engine, plan_of

Handle = WorkflowHandle[Any, Any]


def task(result: GoalResult, name: str) -> Any:
    """One task's status."""
    return next(t for t in result.tasks if t.id == name)


async def paused(engine: Engine, handle: Handle) -> None:
    """Pause a goal that is going."""
    await engine.until(handle, lambda p: p.state is not GoalState.PLANNING)
    await handle.execute_update(UPDATE_PAUSE, ControlInput(reason="a look"))


async def test_a_skipped_task_lets_what_needs_it_go_on(engine: Engine) -> None:
    """A person passes over a failed task of a paused goal, for a reason."""
    contract = plan_of(
        {"id": "gate", "uses": "wait", "with": {"signal": "never"}},
        {"id": "bad", "uses": "fake.read", "with": {"do": "fail"}},
        {"id": "after", "uses": "fake.read", "needs": ["bad", "gate"]},
    )
    handle = await engine.submit(contract)
    await paused(engine, handle)
    await engine.until(handle, lambda p: any(t.state is TaskState.FAILED for t in p.tasks))
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await handle.execute_update(UPDATE_SKIP_TASK, TaskControlInput(task_id="bad"))
    assert "reason" in str(refused.value.cause)
    for name in ("bad", "gate"):
        await handle.execute_update(
            UPDATE_SKIP_TASK, TaskControlInput(task_id=name, reason="known to be broken")
        )
    await handle.execute_update(UPDATE_RESUME, ControlInput())
    result = await engine.result(handle)
    assert result.state is GoalState.SUCCEEDED
    assert task(result, "bad").skipped is Skip.PERSON
    assert task(result, "bad").reason == "known to be broken"
    assert task(result, "after").state is TaskState.SUCCEEDED


async def test_items_that_failed_are_retried_alone(engine: Engine) -> None:
    """In a paused goal: the failed item runs again, the other keeps its result."""
    handle = await engine.submit(
        plan_of(
            {
                "id": "each",
                "uses": "fake.write",
                "for_each": ["ok", "late"],
                "with": {"do": "${{ each.item }}", "value": "${{ each.index }}"},
            },
            {"id": "after", "uses": "fake.read", "needs": ["each"]},
        )
    )
    await engine.fake.started.wait()
    await paused(engine, handle)
    engine.fake.let.set()
    await engine.until(
        handle, lambda p: any(t.id == "each" and t.state is TaskState.FAILED for t in p.tasks)
    )
    await handle.execute_update(UPDATE_RETRY_TASK, TaskControlInput(task_id="each"))
    await handle.execute_update(UPDATE_RESUME, ControlInput())
    result = await engine.result(handle)
    assert result.state is GoalState.SUCCEEDED
    assert result.outputs("each") == [{"value": 0}, {"value": 1}]
    assert (engine.fake.tries["each.0"], engine.fake.tries["each.1"]) == (1, 2)
    assert task(result, "after").state is TaskState.SUCCEEDED


async def test_a_changed_input_voids_the_approval_and_the_new_card_says_what_changed(
    engine: Engine,
) -> None:
    """The first request is replaced; a decision on it counts no more."""
    handle = await engine.submit(
        plan_of(
            {"id": "gate", "uses": "approval", "covers": ["wipe"]},
            {"id": "wipe", "uses": "fake.destroy", "with": {"value": "one"}},
            environment="production",
        )
    )
    first = await engine.asked(handle)
    await handle.execute_update(
        UPDATE_CHANGE_TASK,
        TaskChangeInput(task_id="wipe", inputs={"value": "two"}, reason="typo", actor="dana"),
    )
    await engine.decide(handle, first.request)
    progress = await engine.until(handle, lambda p: any(r.closed is None for r in p.requests))
    second = next(r for r in progress.requests if r.closed is None)
    assert second.request.replaces == first.request.id
    assert [(c.place, c.before, c.after) for c in second.request.changes] == [
        ("/inputs/value", "one", "two")
    ]
    assert engine.fake.done == []
    await engine.decide(handle, second.request)
    result = await engine.result(handle)
    assert result.state is GoalState.SUCCEEDED
    assert engine.fake.done == [("wipe", "fake.destroy", "two")]
    assert "task.changed" in engine.kinds(handle.id)


async def test_a_gate_that_had_let_a_task_pass_asks_again_after_a_change(engine: Engine) -> None:
    """Approved, changed before it ran, asked anew."""
    handle = await engine.submit(
        plan_of(
            {"id": "gate", "uses": "approval", "covers": ["wipe"]},
            {"id": "hold", "uses": "wait", "with": {"signal": "go"}},
            {"id": "wipe", "uses": "fake.destroy", "needs": ["hold"], "with": {"value": 1}},
            environment="production",
        )
    )
    first = await engine.asked(handle)
    await engine.decide(handle, first.request)
    await engine.until(
        handle, lambda p: any(t.id == "gate" and t.state is TaskState.SUCCEEDED for t in p.tasks)
    )
    change = TaskChangeInput(task_id="wipe", inputs={"value": 2})
    await handle.execute_update(UPDATE_CHANGE_TASK, change)
    second = await engine.asked(handle)
    assert second.request.replaces == first.request.id
    await handle.signal("event", {"name": "go"})
    await engine.decide(handle, second.request)
    result = await engine.result(handle)
    assert result.state is GoalState.SUCCEEDED
    assert engine.fake.done == [("wipe", "fake.destroy", 2)]


async def test_wrong_inputs_do_not_get_into_the_plan(engine: Engine) -> None:
    """The update fails with what is wrong, and the goal goes on as it was."""
    handle = await engine.submit(
        plan_of(
            {"id": "hold", "uses": "wait", "with": {"signal": "go"}},
            {"id": "a", "uses": "fake.read", "needs": ["hold"], "with": {"value": 1}},
        )
    )
    await engine.until(handle, lambda p: p.state is GoalState.RUNNING)
    for inputs in ({"do": "explode"}, {"nonsense": 1}):
        with pytest.raises(WorkflowUpdateFailedError):
            await handle.execute_update(
                UPDATE_CHANGE_TASK, TaskChangeInput(task_id="a", inputs=inputs)
            )
    await handle.signal("event", {"name": "go"})
    result = await engine.result(handle)
    assert result.outputs("a") == {"value": 1}


async def test_a_goal_is_cancelled_with_and_without_undoing(engine: Engine) -> None:
    """The update says which; Temporal's own cancellation undoes."""
    for compensate in (True, False):
        engine.fake.done.clear()
        handle = await engine.submit(
            plan_of(
                {"id": "made", "uses": "fake.write", "with": {"value": 1}},
                {"id": "hold", "uses": "wait", "needs": ["made"], "with": {"signal": "never"}},
            )
        )
        await engine.until(
            handle,
            lambda p: any(t.id == "hold" and t.state is TaskState.RUNNING for t in p.tasks),
        )
        await handle.execute_update(UPDATE_CANCEL, CancelInput(compensate=compensate))
        result = await engine.result(handle)
        wanted = GoalState.ROLLED_BACK if compensate else GoalState.CANCELLED
        assert result.state is wanted
        undone = [op for _, op, _ in engine.fake.done if op == "fake.undo"]
        assert len(undone) == int(compensate)


async def lost(engine: Engine) -> Handle:
    """A goal whose only task was lost in mid effect, and whose connector cannot tell."""
    return await engine.submit(
        plan_of(
            {
                "id": "once",
                "uses": "fake.once",
                "with": {"do": "hang", "value": 1},
                "timeout": "PT1S",
                "retry": {"maximum_attempts": 2, "initial_interval": "PT0.01S"},
            },
            {"id": "after", "uses": "fake.read", "needs": ["once"]},
        )
    )


async def test_people_say_that_it_happened_and_the_goal_goes_on(engine: Engine) -> None:
    """The lost operation is not run again."""
    handle = await lost(engine)
    asked = await engine.asked(handle)
    assert asked.request.question is Question.OUTCOME
    progress = await engine.progress(handle)
    assert {t.id: t.state for t in progress.tasks}["once"] is TaskState.UNKNOWN
    assert progress.state is GoalState.AWAITING_APPROVAL
    # Neither answer to the other question counts.
    await engine.decide(handle, asked.request, answer=Answer.APPROVE)
    await engine.decide(handle, asked.request, answer=Answer.HAPPENED, reason="I see it there")
    result = await engine.result(handle)
    assert result.state is GoalState.SUCCEEDED
    assert task(result, "once").state is TaskState.SUCCEEDED
    assert engine.fake.tries["once"] == 1
    assert "task.resolved" in engine.kinds(handle.id)


async def test_people_say_that_it_did_not_happen_and_it_runs_again(engine: Engine) -> None:
    """As a new generation, which hangs again here and is asked about again."""
    handle = await lost(engine)
    asked = await engine.asked(handle)
    await engine.decide(handle, asked.request, answer=Answer.DID_NOT_HAPPEN, reason="nothing there")
    progress = await engine.until(
        handle,
        lambda p: any(r.closed is None and r.request.id != asked.request.id for r in p.requests),
    )
    assert engine.fake.tries["once"] == 2
    second = next(r for r in progress.requests if r.closed is None)
    assert second.request.actions[0].generation == 1
    await engine.decide(handle, second.request, answer=Answer.HAPPENED, reason="now it is")
    assert (await engine.result(handle)).state is GoalState.SUCCEEDED


async def test_while_one_outcome_is_unknown_the_rest_goes_on(engine: Engine) -> None:
    """Only what needs the task waits for the answer."""
    handle = await engine.submit(
        plan_of(
            {
                "id": "once",
                "uses": "fake.once",
                "with": {"do": "hang"},
                "timeout": "PT1S",
                "retry": {"maximum_attempts": 1},
            },
            {"id": "hold", "uses": "wait", "with": {"signal": "go"}},
            {"id": "other", "uses": "fake.write", "needs": ["hold"]},
        )
    )
    asked = await engine.asked(handle)
    await handle.signal("event", {"name": "go"})
    await engine.until(
        handle, lambda p: any(t.id == "other" and t.state is TaskState.SUCCEEDED for t in p.tasks)
    )
    await engine.decide(handle, asked.request, answer=Answer.HAPPENED, reason="yes")
    assert (await engine.result(handle)).state is GoalState.SUCCEEDED


async def test_a_retried_task_takes_along_what_was_passed_over_for_it(engine: Engine) -> None:
    """In a paused goal a failed task runs again, and its dependents after it."""
    handle = await engine.submit(
        plan_of(
            {"id": "hold", "uses": "wait", "with": {"signal": "go"}},
            {
                "id": "flaky",
                "uses": "fake.read",
                "with": {"do": "flaky"},
                "on_failure": "continue",
                "retry": {"maximum_attempts": 1},
            },
            {"id": "after", "uses": "fake.read", "needs": ["flaky"]},
        )
    )
    await engine.until(
        handle, lambda p: any(t.id == "after" and t.skipped is Skip.UPSTREAM for t in p.tasks)
    )
    await handle.execute_update(UPDATE_RETRY_TASK, TaskControlInput(task_id="flaky"))
    await handle.signal("event", {"name": "go"})
    result = await engine.result(handle)
    assert result.state is GoalState.SUCCEEDED
    assert task(result, "after").state is TaskState.SUCCEEDED
    assert task(result, "after").skipped is None
