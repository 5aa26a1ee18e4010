"""Checking a policy: what is wrong with it, each fault at its line, and what its rules do.

It is stricter than the engine, which only refuses what it cannot judge by: a rule that can never
hold, or that names what does not exist, is a fault here.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import cedarpy

from goalkeeper.domain.base import Model
from goalkeeper.domain.errors import InvalidSettings
from goalkeeper.domain.operation import Operation
from goalkeeper.domain.policy import Effect, Requirement
from goalkeeper.domain.problems import did_you_mean
from goalkeeper.policy.engine import too_deep
from goalkeeper.policy.rules import Rule
from goalkeeper.policy.schema import cedar_schema
from goalkeeper.policy.text import Statement, statements
from goalkeeper.policy.unknown import UnknownNames, reworded


class Remark(Model):
    """Something about one place of a policy file."""

    line: int
    column: int = 1
    rule: str = ""
    message: str


class RuleLine(Model):
    """One rule in short."""

    id: str
    line: int
    effect: Effect
    """What comes of it where it holds."""
    because: str = ""
    requirement: Requirement | None = None


class Checked(Model):
    """What there is to say about a policy."""

    policy: str
    rules: tuple[RuleLine, ...] = ()
    problems: tuple[Remark, ...] = ()
    warnings: tuple[Remark, ...] = ()
    """It works, and may not do what was meant."""


def check(
    text: str,
    name: str,
    operations: Mapping[str, Operation],
    groups: Iterable[str] | None = None,
) -> Checked:
    """Parse a policy, validate it against the schema, and read its annotations.

    Args:
        text: the policy.
        name: how messages call it.
        operations: what the connectors offer.
        groups: all groups that have somebody in them, where that is known.
    """
    try:
        return _check(text, name, operations, groups)
    except RecursionError:
        return Checked(policy=name, problems=(Remark(line=1, message=too_deep("it").message),))


def _check(
    text: str, name: str, operations: Mapping[str, Operation], groups: Iterable[str] | None
) -> Checked:
    written = list(statements(text))
    unparsed = tuple(_unparsed(text, written))
    if unparsed:
        return Checked(policy=name, problems=unparsed)
    parsed = json.loads(cedarpy.policies_to_json_str(text))
    places = {f"policy{i}": s for i, s in enumerate(written)}
    problems: list[Remark] = [_template(places[k]) for k in parsed["templates"]]
    rules: dict[str, Rule] = {}
    for key, body in parsed["staticPolicies"].items():
        try:
            rules[key] = Rule.read(key, body, name)
        except InvalidSettings as error:
            problems.append(_annotation(places[key], error.message.removeprefix(f"{name}: ")))
        problems.extend(_careless(places[key], body.get("annotations") or {}))
    names = {key: _id(key, body) for key, body in parsed["staticPolicies"].items()}
    problems.extend(_doubles(names, places))
    problems.extend(_invalid(text, names, places, operations))
    problems.extend(_unknown(parsed["staticPolicies"], names, places, operations))
    return Checked(
        policy=name,
        rules=tuple(_line(r, places[k]) for k, r in rules.items()),
        problems=tuple(sorted(dict.fromkeys(problems), key=lambda p: (p.line, p.column))),
        warnings=tuple(_warnings(rules, places, groups)),
    )


def _unparsed(text: str, written: list[Statement]) -> Iterator[Remark]:
    """What Cedar cannot read: it names no line, so each rule is read on its own."""
    try:
        cedarpy.PolicySet.from_str(text)
        return
    except ValueError as error:
        whole = str(error)
    found = False
    for statement in written:
        try:
            cedarpy.PolicySet.from_str(statement.text)
        except ValueError as error:
            found = True
            quoted = re.findall(r"`([^`]+)`|: (\w+)$|'([^']+)'", str(error))
            at = statement.find(*("".join(q) for q in quoted))
            yield Remark(line=at.line, column=at.column, message=f"not valid Cedar: {error}")
    if not found:
        yield Remark(line=1, message=f"not valid Cedar: {whole}")


def _template(at: Statement) -> Remark:
    return Remark(
        line=at.line,
        message="a rule with '?principal' or '?resource' is a template and never holds: name "
        "whom it is about",
    )


def _annotation(at: Statement, message: str) -> Remark:
    wrong = at.find(*re.findall(r"@(\w+)", message)[:1])
    return Remark(line=wrong.line, column=wrong.column, message=message)


def _careless(at: Statement, notes: Mapping[str, str | None]) -> Iterator[Remark]:
    """Annotations that the engine accepts and that do nothing."""
    useless = [n for n in ("expires", "valid_for", "reason") if n in notes]
    if useless and "approvals" not in notes:
        word = at.find(useless[0])
        why = f"@{useless[0]} does nothing without @approvals: the rule asks nobody"
        yield Remark(line=word.line, column=word.column, message=why)
    if "reason" in notes and notes["reason"] != "required":
        word = at.find("reason")
        why = f'@reason("{notes["reason"]}") does nothing; write @reason("required")'
        yield Remark(line=word.line, column=word.column, message=why)


def _doubles(names: Mapping[str, str], places: Mapping[str, Statement]) -> Iterator[Remark]:
    for key, name in names.items():
        if Counter(names.values())[name] > 1:
            why = f"two rules are called '{name}', so nobody can tell which one decided"
            yield Remark(line=places[key].line, rule=name, message=why)


def _invalid(
    text: str,
    names: Mapping[str, str],
    places: Mapping[str, Statement],
    operations: Mapping[str, Operation],
) -> Iterator[Remark]:
    """What Cedar's own validation says, in this project's words."""
    said: dict[str, list[str]] = {}
    for error in cedarpy.validate_policies(text, cedar_schema(operations)).errors:
        said.setdefault(error.policy_id, []).append(error.error)
    for key, errors in said.items():
        if key not in names:
            continue  # A template, which is a fault of its own.
        for words, message in reworded(errors, operations):
            at = places[key].find(*words)
            yield Remark(line=at.line, column=at.column, rule=names[key], message=message)


def _unknown(
    bodies: Mapping[str, Mapping[str, object]],
    names: Mapping[str, str],
    places: Mapping[str, Statement],
    operations: Mapping[str, Operation],
) -> Iterator[Remark]:
    """Names that Cedar has no reason to doubt, and that never occur."""
    finder = UnknownNames(operations)
    for key, body in bodies.items():
        for word, message in finder.of(body):
            at = places[key].find(word)
            yield Remark(line=at.line, column=at.column, rule=names[key], message=message)


def _warnings(
    rules: Mapping[str, Rule], places: Mapping[str, Statement], groups: Iterable[str] | None
) -> Iterator[Remark]:
    known = None if groups is None else sorted(set(groups))
    if not rules:
        yield Remark(line=1, message="there is no rule, so everything is refused")
    for key, rule in rules.items():
        line = places[key].line
        if rule.id == key:
            yield Remark(line=line, rule=key, message='the rule has no name: add @id("…")')
        elif not rule.because:
            why = 'people see no more than its name: say why with @because("…")'
            yield Remark(line=line, rule=rule.id, message=why)
        asked = rule.requirement.groups if rule.requirement else ()
        if known is not None and asked and not set(asked) & set(known):
            hint = did_you_mean(asked[0], known, known_as="groups")
            why = f"nobody of the identities file is in {' or '.join(asked)}{hint}"
            yield Remark(line=places[key].find("approvals").line, rule=rule.id, message=why)


def _line(rule: Rule, at: Statement) -> RuleLine:
    return RuleLine(
        id=rule.id,
        line=at.line,
        effect=rule.effect,
        because=rule.because,
        requirement=rule.requirement,
    )


def _id(key: str, body: Mapping[str, Mapping[str, str]]) -> str:
    return (body.get("annotations") or {}).get("id") or key
