"""Audit events and checkpoints: what the record is made of.

How they are stored, hashed and proved belongs to `goalkeeper.audit`.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from goalkeeper.domain.base import Digest, Instant, Json, Model


class AuditKind(StrEnum):
    """What happened. The names are stable: reports and tests rely on them."""

    GOAL_PLANNED = "goal.planned"
    GOAL_REFUSED = "goal.refused"
    GOAL_ENDED = "goal.ended"
    APPROVAL_REQUESTED = "approval.requested"
    APPROVAL_DECIDED = "approval.decided"
    APPROVAL_REFUSED = "approval.refused"
    """A decision that does not count: forged, late, from the wrong person."""
    APPROVAL_EXPIRED = "approval.expired"
    GRANT_SPENT = "grant.spent"
    TASK_INTENT = "task.intent"
    TASK_OUTCOME = "task.outcome"
    TASK_REFUSED = "task.refused"
    TASK_RESOLVED = "task.resolved"
    """What people say became of a lost attempt."""
    TASK_CHANGED = "task.changed"
    """A person changed a pending task's inputs."""
    LOCK_GRANTED = "lock.granted"
    LOCK_RELEASED = "lock.released"
    LOCK_BROKEN = "lock.broken"
    """Taken from its holder by a person."""
    CREDENTIAL_LEASED = "credential.leased"
    CREDENTIAL_REVOKED = "credential.revoked"
    CONTROL = "goal.control"
    """Pause, resume, cancel, retry, skip or change by a person."""


class AuditEvent(Model):
    """One leaf of the log."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=300)]
    """Appending the same id again changes nothing, so a retried writer is safe."""
    time: Instant
    kind: AuditKind
    actor: Annotated[str, StringConstraints(max_length=200)]
    """``worker``, ``gateway`` or ``person:ID``."""
    goal_id: str = ""
    task_id: str = ""
    attempt: int = 0
    detail: dict[str, Json] = {}
    """Small and without secrets; large things by digest."""


class Checkpoint(Model):
    """A signed head of the log: C2SP ``tlog-checkpoint`` in parts."""

    origin: str
    size: Annotated[int, Field(ge=0)]
    root: Digest
    note: str = ""
    """The whole signed note, as other tools read it."""
