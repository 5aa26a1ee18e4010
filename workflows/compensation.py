"""Compensation: undoing what succeeded, the last first.

It says what to undo and in which order; how is in the ledger, which the workflow cannot forge.
"""

from datetime import timedelta

from temporalio.exceptions import FailureError

from goalkeeper.contracts.activities import CompensateInput
from goalkeeper.domain.plan import TaskState
from workflows import calls
from workflows.state import GoalRecord
from workflows.tasks import approved_action

_ATTEMPT = timedelta(minutes=10)


async def undo_all(record: GoalRecord) -> list[tuple[str, str]]:
    """Undo every effect, and return the tasks that could not be undone with the reason."""
    failures: list[tuple[str, str]] = []
    while record.effects:
        task_id = record.effects.pop()
        try:
            await calls.compensate(
                CompensateInput(
                    action=approved_action(record, task_id)[0],
                    asker=record.asker,
                ),
                max(_ATTEMPT, record.by_id[task_id].start_to_close_timeout),
            )
        except FailureError as error:
            failures.append((task_id, calls.cause_of(error).message))
        else:
            record.set(task_id, TaskState.COMPENSATED)
    return failures
