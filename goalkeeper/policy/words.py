"""Conditions of rules in words, so that people who do not read Cedar see what was decisive.

It words; what has no words of its own stays Cedar.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import cedarpy

Expression = Mapping[str, Any]
"""An expression in Cedar's JSON form: one key, which is the operator."""

_THINGS = {
    "principal": "whoever asks",
    "action": "the operation",
    "resource": "the environment",
    "context.risk": "the risk",
    "context.contract": "the contract",
    "context.roles": "the credential roles",
}
_FACTS = {
    "principal.proven": ("whoever asks has signed in", "whoever asks has not signed in"),
    "context.compensating": ("it undoes what was done", "it does not undo what was done"),
}
_COMPARED = {
    "==": ("is", "is not"),
    "!=": ("is not", "is"),
    "<": ("is less than", "is at least"),
    "<=": ("is at most", "is more than"),
    ">": ("is more than", "is at most"),
    ">=": ("is at least", "is less than"),
    "in": ("is in", "is not in"),
    "like": ("looks like", "does not look like"),
}


def words(expression: Expression, *, no: bool = False) -> str:
    """A condition in words; with `no`, that it does not hold."""
    ((operator, body),) = expression.items()
    if operator == "!":
        return words(body["arg"], no=not no)
    if operator in ("&&", "||"):
        link = " and " if (operator == "&&") is not no else " or "
        said = [(words(t, no=no), "&&" in t or "||" in t) for t in terms(expression, operator)]
        return link.join(f"({text})" if linked else text for text, linked in said)
    fact = _FACTS.get(_path(expression) or "")
    if fact:
        return fact[no]
    if operator == "has" and _path(body["left"]) == "context.inputs":
        return f"there is {'no' if no else 'an'} input '{body['attr']}'"
    if operator == "isEmpty" and _path(body["arg"]) == "context.roles":
        return "it takes a credential" if no else "it takes no credential"
    return _compared(operator, body, no) or (
        f"not ({cedar(expression)})" if no else cedar(expression)
    )


def terms(expression: Expression, operator: str) -> Iterator[Expression]:
    """What stands between the `&&` or `||` of a chain, in order, however long it is."""
    waiting = [expression]
    while waiting:
        one = waiting.pop()
        sides = one.get(operator)
        if isinstance(sides, Mapping):
            waiting += [sides["right"], sides["left"]]
        else:
            yield one


def cedar(expression: Expression) -> str:
    """An expression as Cedar is written."""
    everything = {"op": "All"}
    rule = {
        "effect": "permit",
        **dict.fromkeys(("principal", "action", "resource"), everything),
        "conditions": [{"kind": "when", "body": expression}],
    }
    document = {"staticPolicies": {"p": rule}, "templates": {}, "templateLinks": []}
    try:
        text = cedarpy.policies_from_json_str(json.dumps(document))
    except ValueError:
        return "a condition that is too long to be told"  # Cedar reads 128 levels of JSON.
    return " ".join(text[text.index("{") + 1 : text.rindex("}")].split())


def _compared(operator: str, body: Expression, no: bool) -> str | None:
    if operator == "contains":
        many, one = _thing(body["left"]), _thing(body["right"])
        if "Set" in body["left"]:
            return f"{one} is {'none' if no else 'one'} of {many}"
        return f"{many} have {'no ' if no else ''}{one}"
    verb = _COMPARED.get(operator)
    if verb is None:
        return None
    right = _pattern(body["pattern"]) if operator == "like" else _thing(body["right"])
    return f"{_thing(body['left'])} {verb[no]} {right}"


def _thing(expression: Expression) -> str:
    path = _path(expression)
    if path in _THINGS:
        return _THINGS[path]
    if path and path.startswith("context.inputs."):
        return f"the input '{path.removeprefix('context.inputs.')}'"
    if "Set" in expression:
        return ", ".join(_thing(one) for one in expression["Set"])
    if "Value" in expression:
        return _value(expression["Value"])
    return cedar(expression)


def _value(value: Any) -> str:
    if isinstance(value, Mapping) and "__entity" in value:
        entity = value["__entity"]
        named = f"'{entity['id']}'"
        return f"the group {named}" if entity["type"] == "Group" else named
    return f"'{value}'" if isinstance(value, str) else json.dumps(value)


def _pattern(pattern: list[Any]) -> str:
    return "'" + "".join("*" if p == "Wildcard" else p["Literal"] for p in pattern) + "'"


def _path(expression: Expression) -> str | None:
    """``context.inputs.app`` for what names one attribute; None for everything else."""
    if "Var" in expression:
        return str(expression["Var"])
    dot = expression.get(".")
    if isinstance(dot, Mapping):
        left = _path(dot["left"])
        return f"{left}.{dot['attr']}" if left else None
    return None
