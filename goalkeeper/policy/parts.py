"""Rules taken apart: which of a rule's conditions hold for a question, and which do not.

It tells how near a rule came; the verdict is the engine's alone.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cedarpy

from goalkeeper.domain.base import Model
from goalkeeper.domain.policy import Effect, Requirement
from goalkeeper.policy.engine import Question, permitting, too_deep
from goalkeeper.policy.rules import Rule
from goalkeeper.policy.words import Expression, terms, words

_GIVEN = frozenset({"action", "context.risk", "context.compensating"})
"""What an operation is by itself: a rule that fails by this alone came nowhere near."""


class NearRule(Model):
    """A rule that did not hold, and what it would have done."""

    rule: str
    effect: Effect
    because: str = ""
    requirement: Requirement | None = None
    only: str
    """In words: where it holds, and what it still depends on."""


@dataclass(frozen=True)
class Part:
    """One condition of a rule; with others it makes the whole."""

    body: Expression
    no: bool
    """It must not hold (`unless`)."""

    @property
    def says(self) -> str:
        """In words."""
        return words(self.body, no=self.no)

    @property
    def reads(self) -> frozenset[str]:
        """What it looks at: ``action``, ``context.risk``, ``context.inputs.app``."""
        return frozenset(_reads(self.body))


class RuleParts:
    """All the rules of a policy, taken apart.

    Raises:
        InvalidSettings: a condition is nested too deeply for that.
    """

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rules = rules
        self._parts = {key: tuple(_parts(rule.body)) for key, rule in rules.items()}
        every = {
            f"{key}/{n}": _permit(part)
            for key, parts in self._parts.items()
            for n, part in enumerate(parts)
        }
        document = {"staticPolicies": every, "templates": {}, "templateLinks": []}
        try:
            self._set = cedarpy.PolicySet.from_json_str(json.dumps(document))
        except (ValueError, RecursionError):
            raise too_deep("the policy") from None

    def near(self, question: Question) -> tuple[NearRule, ...]:
        """The rules that one condition alone kept from holding."""
        holding = permitting(self._set, question)
        found = []
        for key, parts in self._parts.items():
            failed = [p for n, p in enumerate(parts) if f"{key}/{n}" not in holding]
            if len(failed) == 1 and not failed[0].reads <= _GIVEN:
                found.append(self._near(key, f"only where {failed[0].says}"))
        return tuple(found)

    def open(
        self, question: Question, unknown: Collection[str] | None = None
    ) -> tuple[NearRule, ...]:
        """The rules whose answer hangs on inputs that are not known yet.

        Args:
            question: with the inputs that are known.
            unknown: names of inputs that are not; None: all that the question does not have.
        """
        holding = permitting(self._set, question)
        found = []
        for key, parts in self._parts.items():
            hanging = {i for p in parts for i in _inputs(p, question, unknown)}
            settled = (
                f"{key}/{n}" in holding
                for n, p in enumerate(parts)
                if not set(_inputs(p, question, unknown))
            )
            if hanging and all(settled):
                names = ", ".join(f"'{i}'" for i in sorted(hanging))
                found.append(self._near(key, f"depending on {names}"))
        return tuple(found)

    def _near(self, key: str, only: str) -> NearRule:
        rule = self._rules[key]
        return NearRule(
            rule=rule.id,
            effect=rule.effect,
            because=rule.because,
            requirement=rule.requirement,
            only=only,
        )


def _parts(body: Mapping[str, Any]) -> Iterator[Part]:
    for var in ("principal", "action", "resource"):
        yield from (Part(expression, no=False) for expression in _scope(var, body[var]))
    for condition in body["conditions"]:
        no = condition["kind"] == "unless"
        # not (a or b) is (not a) and (not b): so each of them is a condition of its own.
        for expression in terms(condition["body"], "||" if no else "&&"):
            yield Part(expression, no)


def _scope(var: str, scope: Mapping[str, Any]) -> Iterator[Expression]:
    """What stands in the brackets, as conditions."""
    subject = {"Var": var}
    if scope["op"] in ("==", "in"):
        entities = [scope["entity"]] if "entity" in scope else scope["entities"]
        values = [{"Value": {"__entity": e}} for e in entities]
        right = values[0] if "entity" in scope else {"Set": values}
        yield {scope["op"]: {"left": subject, "right": right}}
    elif scope["op"] == "is":
        # Each variable has one type here, so that part always holds.
        if "in" in scope:
            group = {"Value": {"__entity": scope["in"]["entity"]}}
            yield {"in": {"left": subject, "right": group}}


def _balanced(expression: Expression) -> Expression:
    """The same with chains as flat trees: Cedar reads no more than 128 levels of JSON.

    The order stays, and with it what is evaluated and what is not.
    """
    for operator in ("||", "&&"):
        if isinstance(expression.get(operator), Mapping):
            return _tree(operator, [_balanced(t) for t in terms(expression, operator)])
    return expression


def _tree(operator: str, parts: list[Expression]) -> Expression:
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    left, right = _tree(operator, parts[:half]), _tree(operator, parts[half:])
    return {operator: {"left": left, "right": right}}


def _permit(part: Part) -> dict[str, Any]:
    everything = {"op": "All"}
    kind = "unless" if part.no else "when"
    return {
        "effect": "permit",
        **dict.fromkeys(("principal", "action", "resource"), everything),
        "conditions": [{"kind": kind, "body": _balanced(part.body)}],
    }


def _inputs(part: Part, question: Question, unknown: Collection[str] | None) -> Iterator[str]:
    """The unknown inputs that a part looks at."""
    for path in part.reads:
        name = path.removeprefix("context.inputs.")
        if name != path and (name not in question.inputs if unknown is None else name in unknown):
            yield name


def _reads(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, Mapping):
            path = _named(one)
            if path is not None:
                yield path
            else:
                waiting += one.values()


def _named(node: Mapping[str, Any]) -> str | None:
    """What a node looks at, as a path; `has` looks at what it tests."""
    if "Var" in node:
        return str(node["Var"])
    for operator in (".", "has"):
        inner = node.get(operator)
        if isinstance(inner, Mapping):
            left = _named(inner["left"])
            return f"{left}.{inner['attr']}" if left else None
    return None
