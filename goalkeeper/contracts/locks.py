"""`LockWorkflow` as its callers see it: one durable workflow for each named lock.

It holds names and models; who gets a lock next is decided in `workflows.locks`.
"""

from typing import Annotated

from pydantic import Field

from goalkeeper.contracts.goal import ClaimId, ControlInput
from goalkeeper.domain.base import GoalId, Instant, Model, Name

WORKFLOW = "LockWorkflow"
SIGNAL_ACQUIRE = "acquire"
"""`LockRequest`, sent with signal-with-start by the activity ``lock.request``."""
SIGNAL_RELEASE = "release"
"""`LockRelease`."""
UPDATE_BREAK = "break_lock"
"""`ControlInput`: take the lock from its holder; answers the `LockView` afterwards."""
QUERY_VIEW = "view"


def workflow_id(name: str) -> str:
    """Under which id the workflow of a lock runs."""
    return f"goalkeeper-lock-{name}"


class LockClaim(Model):
    """A goal that has a lock or waits for it."""

    goal_id: GoalId
    owner: GoalId
    """The goal at the top, with whose children it is shared."""
    since: Instant
    """When it was granted, or, in the queue, asked for."""
    claim: ClaimId = ""


class LockInput(Model):
    """The argument of ``LockWorkflow``; everything but the name is set by continue-as-new alone."""

    name: Name
    holders: tuple[LockClaim, ...] = ()
    queue: tuple[LockClaim, ...] = ()
    token: Annotated[int, Field(ge=0)] = 0


class LockRelease(Model):
    """The argument of ``release``: also takes a waiting goal out of the queue."""

    goal_id: GoalId
    claim: ClaimId | None = None
    """Only this claim; every claim of the goal when None."""


class LockView(Model):
    """The answer of ``view``."""

    name: Name
    holders: tuple[LockClaim, ...] = ()
    """Empty when it is free; several only when a goal shares it with its children."""
    queue: tuple[LockClaim, ...] = ()
    """Who is next comes first."""
    token: int = 0


__all__ = [
    "QUERY_VIEW",
    "SIGNAL_ACQUIRE",
    "SIGNAL_RELEASE",
    "UPDATE_BREAK",
    "WORKFLOW",
    "ControlInput",
    "LockClaim",
    "LockInput",
    "LockRelease",
    "LockView",
    "workflow_id",
]
