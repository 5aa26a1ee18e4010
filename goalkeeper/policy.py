"""Policy: Cedar files in, verdicts out.

It judges; it never looks anything up: who is in which group and what the inputs are is handed in.
Unknown means ask (by the shipped file's last rule), an error means refused.
"""

import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from importlib.resources import files
from pathlib import Path

import cedarpy
from pydantic import ValidationError

from goalkeeper.domain.approval import Requester
from goalkeeper.domain.base import Json, digest_of
from goalkeeper.domain.errors import InvalidSettings
from goalkeeper.domain.operation import Risk
from goalkeeper.domain.policy import Effect, Requirement, Verdict

_APPROVALS = re.compile(
    r"^\s*([1-9][0-9]?)\s+of\s+([a-z][a-z0-9-]*(?:\s*,\s*[a-z][a-z0-9-]*)*)\s*$"
)
_DURATION = re.compile(r"^([1-9][0-9]{0,4})([smhd])$")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_KNOWN = {"id", "because", "approvals", "expires", "valid_for", "reason"}
_REMEMBERED = 2048
_I64 = 2**63
_LONGEST_TEXT = 1024


@dataclass(frozen=True)
class Question:
    """What is to be judged: one action by one requester."""

    requester: Requester
    groups: tuple[str, ...]
    """The requester's groups, believed only where the requester is proven."""
    operation: str
    risk: Risk
    environment: str
    contract: str = ""
    roles: tuple[str, ...] = ()
    inputs: Mapping[str, Json] = field(default_factory=dict)
    compensating: bool = False


class PolicyEngine:
    """A parsed policy file."""

    def __init__(self, text: str, name: str = "policy") -> None:
        try:
            self._policies = cedarpy.PolicySet.from_str(text)
            parsed = json.loads(cedarpy.policies_to_json_str(text))
        except ValueError as error:
            raise InvalidSettings(f"{name}: not valid Cedar: {error}") from None
        self._rules = {
            key: _Rule.read(key, body, name) for key, body in parsed["staticPolicies"].items()
        }
        self.version = digest_of(text.encode())
        """SHA-256 of the file: part of every action's digest."""
        self._remembered: OrderedDict[str, Verdict] = OrderedDict()

    @classmethod
    def load(cls, file: Path | None = None) -> "PolicyEngine":
        """Read a policy file, or the shipped one.

        Raises:
            InvalidSettings: the file cannot be read or is not a policy.
        """
        if file is None:
            return cls(
                files("goalkeeper.library").joinpath("policy.cedar").read_text(), "policy.cedar"
            )
        try:
            return cls(file.read_text(), str(file))
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidSettings(f"cannot read the policy file '{file}': {error}") from None

    def judge(self, question: Question) -> Verdict:
        """The verdict for one action. It never raises: what goes wrong is a refusal."""
        request = _request(question)
        proven = question.requester.proven
        key = json.dumps([request, sorted(question.groups), proven], sort_keys=True)
        known = self._remembered.get(key)
        if known is None:
            known = self._evaluate(request, question)
            self._remembered[key] = known
            if len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)
        return known

    def _evaluate(self, request: dict[str, object], question: Question) -> Verdict:
        answer = cedarpy.is_authorized(request, self._policies, _entities(question))
        errors = answer.diagnostics.errors
        if errors:
            return Verdict(
                effect=Effect.DENY,
                reasons=tuple(
                    f"policy could not be evaluated: {self._named(e)}" for e in errors[:5]
                ),
            )
        rules = [self._rules[r] for r in sorted(answer.diagnostics.reasons) if r in self._rules]
        reasons = tuple(r.sentence for r in rules)
        if not answer.allowed:
            return Verdict(effect=Effect.DENY, reasons=reasons or ("no rule permits it",))
        asking = [r.requirement for r in rules if r.requirement is not None]
        if not asking:
            return Verdict(effect=Effect.ALLOW, reasons=reasons)
        combined = strictest(asking)
        if combined is None:
            return Verdict(
                effect=Effect.DENY,
                reasons=(*reasons, "the rules that ask name groups with nobody in common"),
            )
        asked = tuple(r.sentence for r in rules if r.requirement is not None)
        return Verdict(effect=Effect.ASK, reasons=asked, requirement=combined)

    def _named(self, error: str) -> str:
        return re.sub(
            r"policy\d+", lambda m: self._rules[m[0]].id if m[0] in self._rules else m[0], error
        )


@dataclass(frozen=True)
class _Rule:
    """A policy's annotations, read once."""

    id: str
    because: str
    requirement: Requirement | None

    @cached_property
    def sentence(self) -> str:
        return f"{self.because} ({self.id})" if self.because else self.id

    @classmethod
    def read(cls, key: str, body: Mapping[str, object], name: str) -> "_Rule":
        notes = body.get("annotations") or {}
        assert isinstance(notes, Mapping)
        ident = notes.get("id") or key
        unknown = sorted(set(notes) - _KNOWN)
        if unknown:
            raise InvalidSettings(
                f"{name}: rule '{ident}' has an unknown annotation '@{unknown[0]}'; "
                f"known are {', '.join('@' + k for k in sorted(_KNOWN))}"
            )
        if "approvals" not in notes:
            return cls(ident, notes.get("because") or "", None)
        if body.get("effect") != "permit":
            raise InvalidSettings(
                f"{name}: rule '{ident}' forbids and so cannot ask: remove @approvals"
            )
        return cls(
            ident, notes.get("because") or "", _requirement(notes, f"{name}: rule '{ident}'")
        )


def _requirement(notes: Mapping[str, str], where: str) -> Requirement:
    match = _APPROVALS.match(notes["approvals"] or "")
    if match is None:
        raise InvalidSettings(
            f'{where}: @approvals("{notes["approvals"]}") is wrong; write for example '
            '@approvals("1 of operators") or @approvals("2 of operators, security")'
        )
    values: dict[str, object] = {
        "approvals": int(match[1]),
        "groups": tuple(sorted(g.strip() for g in match[2].split(","))),
        "reason_required": notes.get("reason") == "required",
    }
    for annotation, name in (("expires", "expires_in"), ("valid_for", "valid_for")):
        if annotation in notes:
            values[name] = _duration(notes[annotation], f"{where}: @{annotation}")
    try:
        return Requirement.model_validate(values)
    except ValidationError as error:
        raise InvalidSettings(f"{where}: {error.errors()[0]['msg']}") from None


def _duration(text: str, where: str) -> timedelta:
    match = _DURATION.match(text or "")
    if match is None:
        raise InvalidSettings(f'{where}("{text}") is wrong; write a number and a unit: 30m, 4h, 2d')
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def strictest(requirements: Iterable[Requirement]) -> Requirement | None:
    """One requirement that satisfies all; None when their groups have nobody in common."""
    every = list(requirements)
    named = [set(r.groups) for r in every if r.groups]
    common = set.intersection(*named) if named else set()
    if named and not common:
        return None
    return Requirement(
        approvals=max(r.approvals for r in every),
        groups=tuple(sorted(common)),
        expires_in=min(r.expires_in for r in every),
        valid_for=min(r.valid_for for r in every),
        reason_required=any(r.reason_required for r in every),
    )


def combine(verdicts: Iterable[Verdict]) -> Verdict:
    """One verdict for several actions that stand or fall together: the strictest."""
    every = list(verdicts)
    reasons = tuple(dict.fromkeys(r for v in every for r in v.reasons))
    if any(v.effect is Effect.DENY for v in every):
        denied = tuple(
            dict.fromkeys(r for v in every if v.effect is Effect.DENY for r in v.reasons)
        )
        return Verdict(effect=Effect.DENY, reasons=denied)
    asking = [v.requirement for v in every if v.requirement is not None]
    if not asking:
        return Verdict(effect=Effect.ALLOW, reasons=reasons)
    combined = strictest(asking)
    if combined is None:
        return Verdict(
            effect=Effect.DENY, reasons=(*reasons, "nobody may approve all of these at once")
        )
    asked = tuple(dict.fromkeys(r for v in every if v.requirement is not None for r in v.reasons))
    return Verdict(effect=Effect.ASK, reasons=asked, requirement=combined)


def _request(question: Question) -> dict[str, object]:
    return {
        "principal": {"type": "Person", "id": question.requester.id},
        "action": {"type": "Action", "id": question.operation},
        "resource": {"type": "Environment", "id": question.environment},
        "context": {
            "risk": question.risk.value,
            "contract": question.contract,
            "roles": sorted(question.roles),
            "compensating": question.compensating,
            "inputs": {k: v for k, v in question.inputs.items() if _speakable(v)},
        },
    }


def _speakable(value: Json) -> bool:
    """Whether Cedar has a type for it, and it is short enough to be worth one."""
    if isinstance(value, bool):
        return True
    if isinstance(value, int):
        return -_I64 <= value < _I64
    return isinstance(value, str) and len(value) <= _LONGEST_TEXT


def _entities(question: Question) -> list[dict[str, object]]:
    service = question.operation.split(".", 1)[0]
    groups = question.groups if question.requester.proven else ()
    parents: list[object] = [{"type": "Group", "id": g} for g in groups]
    entities: list[dict[str, object]] = [
        {
            "uid": {"type": "Person", "id": question.requester.id},
            "attrs": {"proven": question.requester.proven},
            "parents": parents,
        },
        {
            "uid": {"type": "Action", "id": question.operation},
            "attrs": {},
            "parents": [{"type": "Action", "id": service}],
        },
        {"uid": {"type": "Action", "id": service}, "attrs": {}, "parents": []},
        {"uid": {"type": "Environment", "id": question.environment}, "attrs": {}, "parents": []},
    ]
    return entities + [{"uid": p, "attrs": {}, "parents": []} for p in parents]
