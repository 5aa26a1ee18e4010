"""The engine: a parsed policy file, and its verdict on one action.

It never looks anything up: who is in which group and what the inputs are is handed in.
Unknown means ask (by the shipped file's last rule), an error means refused.
"""

import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cedarpy

from goalkeeper.domain.approval import Requester
from goalkeeper.domain.base import Json, digest_of
from goalkeeper.domain.errors import InvalidSettings
from goalkeeper.domain.operation import Risk
from goalkeeper.domain.policy import Effect, Verdict
from goalkeeper.policy.combining import strictest
from goalkeeper.policy.rules import Rule
from goalkeeper.policy.shipped import read_policy

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
        except RecursionError:
            raise too_deep(name) from None
        self.rules: Mapping[str, Rule] = {
            key: Rule.read(key, body, name) for key, body in parsed["staticPolicies"].items()
        }
        """By Cedar's own name for each."""
        self.version = digest_of(text.encode())
        """SHA-256 of the file: part of every action's digest."""
        self._remembered: OrderedDict[str, Verdict] = OrderedDict()

    @classmethod
    def load(cls, file: Path | None = None) -> "PolicyEngine":
        """Read a policy file, one of the shipped phases (``phase:read-only``), or the shipped one.

        Raises:
            InvalidSettings: the file cannot be read or is not a policy.
        """
        return cls(*read_policy(file))

    def judge(self, question: Question) -> Verdict:
        """The verdict for one action. It never raises: what goes wrong is a refusal."""
        request = _request(question)
        proven = question.requester.proven
        key = json.dumps([request, sorted(question.groups), proven], sort_keys=True)
        known = self._remembered.get(key)
        if known is None:
            known, _ = self._evaluate(request, question)
            self._remembered[key] = known
            if len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)
        return known

    def explain(self, question: Question) -> tuple[Verdict, tuple[Rule, ...]]:
        """The same verdict, with the rules that decided it."""
        return self._evaluate(_request(question), question)

    def _evaluate(
        self, request: dict[str, object], question: Question
    ) -> tuple[Verdict, tuple[Rule, ...]]:
        answer = cedarpy.is_authorized(request, self._policies, _entities(question))
        errors = answer.diagnostics.errors
        if errors:
            why = tuple(f"policy could not be evaluated: {self._named(e)}" for e in errors[:5])
            return Verdict(effect=Effect.DENY, reasons=why), ()
        held = [self.rules[r] for r in sorted(answer.diagnostics.reasons) if r in self.rules]
        return _verdict(held, allowed=answer.allowed)

    def _named(self, error: str) -> str:
        return re.sub(
            r"policy\d+", lambda m: self.rules[m[0]].id if m[0] in self.rules else m[0], error
        )


def too_deep(name: str) -> InvalidSettings:
    """For what Cedar can read and this reader cannot: some hundred `||` in a row, for example."""
    return InvalidSettings(
        f"{name}: a condition is nested too deeply; instead of many '||' write a set: "
        '["a", "b"].contains(context.contract)'
    )


def permitting(policies: cedarpy.PolicySet, question: Question) -> frozenset[str]:
    """Which policies of a set of permits hold for a question, by Cedar's own names."""
    answer = cedarpy.is_authorized(_request(question), policies, _entities(question))
    return frozenset(answer.diagnostics.reasons)


def _verdict(held: list[Rule], *, allowed: bool) -> tuple[Verdict, tuple[Rule, ...]]:
    """What the rules that hold come to, and which of them decide."""
    reasons = tuple(r.sentence for r in held)
    if not allowed:
        denied = Verdict(effect=Effect.DENY, reasons=reasons or ("no rule permits it",))
        return denied, tuple(held)
    asking = tuple(r for r in held if r.requirement is not None)
    if not asking:
        return Verdict(effect=Effect.ALLOW, reasons=reasons), tuple(held)
    combined = strictest(r.requirement for r in asking if r.requirement is not None)
    if combined is None:
        nobody = (*reasons, "the rules that ask name groups with nobody in common")
        return Verdict(effect=Effect.DENY, reasons=nobody), tuple(held)
    asked = tuple(r.sentence for r in asking)
    return Verdict(effect=Effect.ASK, reasons=asked, requirement=combined), asking


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
