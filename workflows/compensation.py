"""Compensation: undoing what succeeded, the last first.

It says what to undo and in which order; how is in the ledger, which the workflow cannot forge.
"""

from datetime import timedelta

from temporalio.exceptions import FailureError

from goalkeeper.contracts.activities import CompensateInput
from goalkeeper.domain.errors import GoalkeeperError
from goalkeeper.domain.plan import GOAL, TaskState
from workflows import calls
from workflows.actions import approved_action
from workflows.children import ChildGoals
from workflows.state import GoalRecord

_ATTEMPT = timedelta(minutes=10)


async def undo_next(record: GoalRecord) -> str | None:
    """Undo the last effect that is left; says why it could not be undone, with its task's name."""
    task_id, why = record.effects[-1], None
    undone = False
    try:
        undone = await _undo(record, task_id)
    except FailureError as error:
        why = f"{task_id}: {calls.cause_of(error).message}"
    except GoalkeeperError as error:
        why = f"{task_id}: {error.message}"
    if undone or (why is None and record.state(task_id) is TaskState.SUCCEEDED):
        record.set(task_id, TaskState.COMPENSATED)
    record.effects.pop()
    return why


async def _undo(record: GoalRecord, task_id: str) -> bool:
    """Undo a task; False where the ledger knows of nothing that it did."""
    task = record.by_id[task_id]
    if task.operation == GOAL:
        # Never carried over in the middle: the end of a goal looks at that between two steps.
        await ChildGoals(record, carrying=lambda: False).undo(task_id)
        return True
    action = record.ran.get(task_id) or approved_action(record, task_id)[0]
    done = await calls.compensate(
        CompensateInput(action=action, asker=record.asker),
        max(_ATTEMPT, task.start_to_close_timeout),
        record.planned.pools,
    )
    return done.outputs is not None
