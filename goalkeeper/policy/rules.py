"""Rules: one policy of a Cedar file with its annotations, which say whom it asks.

It reads and refuses annotations; what a rule is about is for Cedar to judge.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from goalkeeper.domain.errors import InvalidSettings
from goalkeeper.domain.policy import Effect, Requirement

_APPROVALS = re.compile(
    r"^\s*([1-9][0-9]?)\s+of\s+([a-z][a-z0-9-]*(?:\s*,\s*[a-z][a-z0-9-]*)*)\s*$"
)
_DURATION = re.compile(r"^([1-9][0-9]{0,4})([smhd])$")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_KNOWN = {"id", "because", "approvals", "expires", "valid_for", "reason"}


@dataclass(frozen=True)
class Rule:
    """One rule of a policy file."""

    key: str
    """Cedar's own name for it: ``policy0`` is the first of the file."""
    id: str
    because: str
    permits: bool
    requirement: Requirement | None
    body: Mapping[str, Any]
    """Scope and conditions in Cedar's JSON form."""

    @cached_property
    def sentence(self) -> str:
        """Why, for people: the reason and the rule's name."""
        return f"{self.because} ({self.id})" if self.because else self.id

    @property
    def effect(self) -> Effect:
        """What comes of it where it holds and nothing stricter does."""
        if not self.permits:
            return Effect.DENY
        return Effect.ASK if self.requirement else Effect.ALLOW

    @classmethod
    def read(cls, key: str, body: Mapping[str, Any], name: str) -> "Rule":
        """A rule from Cedar's JSON form.

        Raises:
            InvalidSettings: an annotation is unknown or wrong.
        """
        notes = body.get("annotations") or {}
        ident = notes.get("id") or key
        unknown = sorted(set(notes) - _KNOWN)
        if unknown:
            raise InvalidSettings(
                f"{name}: rule '{ident}' has an unknown annotation '@{unknown[0]}'; "
                f"known are {', '.join('@' + k for k in sorted(_KNOWN))}"
            )
        because, permits = notes.get("because") or "", body.get("effect") == "permit"
        if "approvals" not in notes:
            return cls(key, ident, because, permits, None, body)
        if not permits:
            raise InvalidSettings(
                f"{name}: rule '{ident}' forbids and so cannot ask: remove @approvals"
            )
        requirement = _requirement(notes, f"{name}: rule '{ident}'")
        return cls(key, ident, because, permits, requirement, body)


def read_approvals(text: str) -> tuple[int, tuple[str, ...]] | None:
    """How many of which groups ``2 of operators, security`` means; None: it means nothing."""
    match = _APPROVALS.match(text)
    if match is None:
        return None
    return int(match[1]), tuple(sorted(g.strip() for g in match[2].split(",")))


def _requirement(notes: Mapping[str, str], where: str) -> Requirement:
    asked = read_approvals(notes["approvals"] or "")
    if asked is None:
        raise InvalidSettings(
            f'{where}: @approvals("{notes["approvals"]}") is wrong; write for example '
            '@approvals("1 of operators") or @approvals("2 of operators, security")'
        )
    values: dict[str, object] = {
        "approvals": asked[0],
        "groups": asked[1],
        "reason_required": notes.get("reason") == "required",
    }
    for annotation, name in (("expires", "expires_in"), ("valid_for", "valid_for")):
        if annotation in notes:
            values[name] = read_duration(notes[annotation], f"{where}: @{annotation}")
    try:
        return Requirement.model_validate(values)
    except ValidationError as error:
        raise InvalidSettings(f"{where}: {error.errors()[0]['msg']}") from None


def read_duration(text: str, where: str) -> timedelta:
    """A length of time as `@expires` takes it.

    Raises:
        InvalidSettings: it is none.
    """
    match = _DURATION.match(text or "")
    if match is None:
        raise InvalidSettings(f'{where}("{text}") is wrong; write a number and a unit: 30m, 4h, 2d')
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
