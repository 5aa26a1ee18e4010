"""What an operation is: a typed action of a connector, and the risk that it declares.

It declares; it never runs anything and never decides whether it may run.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from goalkeeper.domain.base import Json, Model


class Risk(StrEnum):
    """How much an operation can hurt, in rising order."""

    READ = "read"
    WRITE = "write"
    DESTRUCTIVE = "destructive"
    PRIVILEGED = "privileged"


@dataclass(frozen=True)
class Compensation:
    """How to undo an operation: another operation, and its inputs from what was done."""

    operation: str
    inputs: Callable[[Any, Any], Mapping[str, Json]]
    """Of the validated inputs and outputs of the operation to undo; must be pure."""


@dataclass(frozen=True)
class Operation:
    """One typed action of a connector."""

    name: str
    """``service.verb_object``."""
    summary: str
    """One sentence for help texts and approval cards."""
    inputs: type[Model]
    outputs: type[Model]
    risk: Risk
    idempotent: bool
    """Whether running it again with the same inputs changes nothing further."""
    quick: bool = False
    """Read-only and done in well under a second: may run as a local activity."""
    credentials: tuple[str, ...] = ()
    """The credential slots that it takes, for example ``("token",)``."""
    optional_credentials: tuple[str, ...] = ()
    """Those of `credentials` that a task may leave out."""
    compensation: Compensation | None = None
    pins: Mapping[str, str] = field(default_factory=dict)
    """Inputs that planning freezes to a digest: input name → kind, for example ``image``."""
