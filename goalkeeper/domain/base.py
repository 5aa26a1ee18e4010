"""The base of every model, the identifiers, and the canonical form that digests are taken over.

It may not know any model in particular.
"""

import hashlib
import json
import re
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeAlias

import rfc8785
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    StringConstraints,
)

Json: TypeAlias = JsonValue
"""Anything that JSON can say."""

GoalId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
"""A goal's id, which is its Temporal workflow id."""

TaskId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
"""A task's id inside its plan."""

TaskRef = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}(\.[0-9]{1,5})?$")]
"""A task's id, or ``ID.INDEX``: one item of a task that runs for each of a list."""

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


def _shortest(number: float) -> int | float:
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


Factor = Annotated[float, PlainSerializer(_shortest, return_type=int | float, when_used="json")]
"""A number that JSON writes as RFC 8785 does, 2 for 2.0, so that `canonical` stays on its fast
path."""


class Model(BaseModel):
    """A frozen value that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


_ENCODER = json.JSONEncoder(
    ensure_ascii=False,
    allow_nan=False,
    check_circular=False,
    sort_keys=True,
    separators=(",", ":"),
)
_ODD_NUMBER = re.compile(r'[:\[,](?<![^"]:)-?(?:\d{16}|\d+(?:\.\d+)?(?:(?<=\.0)(?!\d)|e))')
"""In an object or list: a number beyond 2^53, one such as 2.0, or one with an exponent. A colon
before it follows a quote, which the digests and times inside strings do not."""
_ASTRAL = bytes(range(0xF0, 0xF5))
"""The bytes that begin a character beyond U+FFFF in UTF-8."""


def canonical(value: BaseModel | Json) -> bytes:
    """The RFC 8785 form of a model or JSON value: equal values give equal bytes.

    Raises:
        rfc8785.CanonicalizationError: a number does not survive as an IEEE 754 double.
    """
    plain: Any = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    quick = _quick(plain)
    return rfc8785.dumps(plain) if quick is None else quick


def _quick(plain: Any) -> bytes | None:
    """What RFC 8785 gives, by the standard library's encoder in C; None where the two may differ.

    They differ in how they write some numbers, and in the order of keys with characters beyond
    U+FFFF, which RFC 8785 sorts as UTF-16. Both are looked for in the text, where a string may
    look like either: that only costs time.
    """
    if isinstance(plain, int | float):
        return None
    try:
        text = _ENCODER.encode(plain)
        raw = text.encode()
    except (ValueError, TypeError):  # infinite, not text, not JSON: the other one says what
        return None
    if not text.isascii() and len(raw.translate(None, _ASTRAL)) < len(raw):
        return None
    return None if _ODD_NUMBER.search(text) else raw


def digest_of(value: BaseModel | Json | bytes) -> str:
    """``sha256:…`` over the bytes, or over the canonical form of anything else."""
    raw = value if isinstance(value, bytes) else canonical(value)
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def iso(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, for people and logs."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
