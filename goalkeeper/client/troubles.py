"""Attempts that failed and are repeated, as Temporal knows them while a goal waits for the next.

It reads a description of the workflow; the workflow itself hears of an attempt only once it is
the last.
"""

from collections.abc import AsyncIterator

from temporalio.api.failure.v1 import Failure
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import WorkflowExecutionDescription
from temporalio.converter import DataConverter
from temporalio.exceptions import FailureError

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


async def troubles_of(description: WorkflowExecutionDescription) -> AsyncIterator[Trouble]:
    """What is being tried again, in the order of Temporal's list.

    Raises:
        VaultUnavailable, CredentialDenied: the messages are encrypted, and the keys not to be had.
    """
    for pending in description.raw_description.pending_activities:
        if pending.HasField("last_failure"):
            yield Trouble(
                what=_what(pending),
                attempts=max(1, pending.attempt - 1),
                message=(await _why(pending.last_failure, description.data_converter))[:2000],
            )


async def _why(failure: Failure, converter: DataConverter) -> str:
    """The message, which is encrypted like any value."""
    error = await converter.decode_failure(failure)
    return error.message if isinstance(error, FailureError) else str(error)


def _what(pending: PendingActivityInfo) -> str:
    name = pending.activity_type.name
    if name == EXECUTE:
        # The id is TASK.GENERATION.
        return f"task {pending.activity_id.rpartition('.')[0]}"
    return _WORK.get(name, name)
