"""Names that a rule uses and that do not exist, said so that the writer sees what was meant.

It finds and words; which line they are on is for `goalkeeper.policy.checking` to say.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from goalkeeper.domain.operation import Operation, Risk
from goalkeeper.domain.problems import did_you_mean
from goalkeeper.policy.schema import CONTEXT, input_types

_ENTITIES = ("Person", "Group", "Environment", "Action")
_RISKS = tuple(r.value for r in Risk)
_IMPOSSIBLE = "unable to find an applicable action"
_WORDS = re.compile(r"`([^`]*)`")

Said = tuple[tuple[str, ...], str]
"""Words of the rule that are wrong, and the message."""


def reworded(errors: Iterable[str], operations: Mapping[str, Operation]) -> Iterator[Said]:
    """What Cedar's validation says about one rule: each fault once, with what may be meant."""
    every = list(errors)
    plain = [e for e in every if _IMPOSSIBLE not in e]
    if not plain and every:
        yield (("action",), "the rule can never hold: no operation fits what it is about")
    seen: set[Said] = set()
    for error in plain:
        said = _reworded(error, operations)
        if said not in seen:
            seen.add(said)
            yield said


def _reworded(error: str, operations: Mapping[str, Operation]) -> Said:
    text = re.sub(r"^for policy `[^`]*`, ", "", error)
    words = _WORDS.findall(text)
    name = words[0] if words else ""
    if "unrecognized action" in text:
        ident = name.removeprefix('Action::"').removesuffix('"')
        known = {*operations, *(o.partition(".")[0] for o in operations)}
        meant = did_you_mean(ident, known, known_as="there are")
        return (ident,), f"there is no operation or service '{ident}'{meant}"
    if "unrecognized entity type" in text:
        return (
            name,
        ), f"there is no entity type '{name}'{did_you_mean(name, _ENTITIES, known_as='types')}"
    last = name.rpartition(".")[2]
    if "unable to guarantee safety" in text:
        return (last,), (
            f"test `context.inputs has {last}` first: it may be absent, and reading what is not "
            "there is an error, which refuses"
        )
    if "not found" in text and name.startswith("inputs."):
        return (last,), (
            f"not every operation that the rule is about has an input '{last}': test "
            f"`context.inputs has {last}` first, or name the operations"
        )
    if "not found" in text and " in context" in text:
        return (
            last,
        ), f"there is no 'context.{name}'{did_you_mean(last, CONTEXT, known_as='attributes')}"
    if "not found" in text and "`Person`" in text:
        return (last,), f"a person has no '{last}'; there is only 'principal.proven'"
    return tuple(w.rpartition(".")[2] for w in words), text


class UnknownNames:
    """Finds what Cedar takes for possible and what never occurs: inputs and risks."""

    def __init__(self, operations: Mapping[str, Operation]) -> None:
        self._inputs = {name: set(input_types(o)) for name, o in operations.items()}

    def of(self, body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """The unknown names of one rule, each with a message."""
        known = set[str]().union(*(self._inputs[o] for o in self._about(body["action"])))
        for node in _nodes(body["conditions"]):
            tested = node.get("has")
            if tested and _is_context(tested["left"], "inputs") and tested["attr"] not in known:
                name = tested["attr"]
                why = f"no operation that the rule is about has an input '{name}' that rules see"
                yield name, f"{why}{did_you_mean(name, known, known_as='inputs')}"
            for risk in _risks(node):
                if risk not in _RISKS:
                    meant = did_you_mean(risk, _RISKS, known_as="risks")
                    yield risk, f"there is no risk '{risk}'{meant}"

    def _about(self, scope: Mapping[str, Any]) -> list[str]:
        entities = [scope["entity"]] if "entity" in scope else scope.get("entities", [])
        if scope["op"] == "All":
            return list(self._inputs)
        named = {e["id"] for e in entities}
        return [o for o in self._inputs if o in named or o.partition(".")[0] in named]


def _risks(node: Mapping[str, Any]) -> Iterator[str]:
    """The texts that a node compares with `context.risk`."""
    for operator in ("==", "!=", "contains"):
        sides = node.get(operator)
        if not isinstance(sides, Mapping):
            continue
        pair = (sides["left"], sides["right"])
        if any(_is_context(s, "risk") for s in pair):
            for value in _nodes(pair):
                if isinstance(value.get("Value"), str):
                    yield value["Value"]


def _is_context(node: Mapping[str, Any], attribute: str) -> bool:
    return node == {".": {"left": {"Var": "context"}, "attr": attribute}}


def _nodes(value: Any) -> Iterator[Mapping[str, Any]]:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            yield one
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one
