"""What policy answers. How it is evaluated is not known here."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from goalkeeper.domain.base import Duration, Model, Name


class Effect(StrEnum):
    """The three answers."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


class Requirement(Model):
    """Who must say yes, and by when."""

    approvals: Annotated[int, Field(ge=1, le=20)] = 1
    """Distinct people."""
    groups: tuple[Name, ...] = ()
    """Each approver is in one of these; none named means any identity of the file."""
    expires_in: Duration = Field(default="PT4H", validate_default=True)
    """Counted from the request; silence until then means no."""
    valid_for: Duration = Field(default="PT1H", validate_default=True)
    """Counted from the last approval; the task must have begun by then."""
    reason_required: bool = False


class Verdict(Model):
    """Policy's answer for one action."""

    effect: Effect
    reasons: tuple[str, ...] = ()
    """Sentences for people: which rules decided."""
    requirement: Requirement | None = None
    """Set exactly when the effect is ask."""
