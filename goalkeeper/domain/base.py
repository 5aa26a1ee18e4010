"""The base of every model, the identifiers, and the canonical form that digests are taken over.

It may not know any model in particular.
"""

import hashlib
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeAlias

import rfc8785
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, StringConstraints

Json: TypeAlias = JsonValue
"""Anything that JSON can say."""

GoalId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
"""A goal's id, which is its Temporal workflow id."""

TaskId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
"""A task's id inside its plan."""

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
"""``sha256:`` and 64 hexadecimal digits."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
"""A contract's, role's, group's or environment's name."""

OperationName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")]
"""``service.verb_object``, for example ``git.merge_branch``."""

Instant = AwareDatetime
"""A point in time with its zone; UTC where we write it."""

Reason = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)]
"""What a person gave as the reason for an answer."""

Duration = Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(days=365))]
"""A length of time above zero; ISO 8601 in JSON."""


class Model(BaseModel):
    """A frozen value that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def canonical(value: BaseModel | Json) -> bytes:
    """The RFC 8785 form of a model or JSON value: equal values give equal bytes.

    Raises:
        rfc8785.CanonicalizationError: a number does not survive as an IEEE 754 double.
    """
    plain: Any = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return rfc8785.dumps(plain)


def digest_of(value: BaseModel | Json | bytes) -> str:
    """``sha256:…`` over the bytes, or over the canonical form of anything else."""
    raw = value if isinstance(value, bytes) else canonical(value)
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def iso(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, for people and logs."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
