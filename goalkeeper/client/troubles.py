"""Attempts that failed and are repeated, as Temporal knows them while a goal waits for the next.

It reads a description of the workflow; the workflow itself hears of an attempt only once it is
the last.
"""

from collections.abc import Iterator

from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import WorkflowExecutionDescription

from goalkeeper.contracts.activities import CLEAN_UP, COMPENSATE, EXECUTE, PLAN
from goalkeeper.domain.base import Model


class Trouble(Model):
    """One thing that did not work so far and is tried again."""

    what: str
    """``task ID``, ``undoing``, or ``planning`` and the like."""
    attempts: int
    """How many have failed."""
    message: str
    """Why the latest did."""

    @property
    def text(self) -> str:
        """One line for people."""
        times = "once" if self.attempts == 1 else f"{self.attempts} times"
        return f"{self.what} has failed {times} and is tried again: {self.message}"


_WORK = {PLAN: "planning", COMPENSATE: "undoing", CLEAN_UP: "cleaning up"}


def troubles_of(description: WorkflowExecutionDescription) -> Iterator[Trouble]:
    """What is being tried again, in the order of Temporal's list."""
    for pending in description.raw_description.pending_activities:
        if pending.HasField("last_failure"):
            yield Trouble(
                what=_what(pending),
                attempts=max(1, pending.attempt - 1),
                message=pending.last_failure.message[:2000],
            )


def _what(pending: PendingActivityInfo) -> str:
    name = pending.activity_type.name
    if name == EXECUTE:
        # The id is TASK.GENERATION.
        return f"task {pending.activity_id.rpartition('.')[0]}"
    return _WORK.get(name, name)
