"""Cases: what a policy must answer, written down, and whether it does.

They ask the engine as a worker would; nothing of a goal is compiled or run.
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, StringConstraints

from goalkeeper import yamlfile
from goalkeeper.domain.approval import PersonId, Requester
from goalkeeper.domain.base import Json, Model, Name
from goalkeeper.domain.errors import InvalidSettings
from goalkeeper.domain.operation import Operation, Risk
from goalkeeper.domain.policy import Effect, Requirement, Verdict
from goalkeeper.domain.problems import Problems, did_you_mean
from goalkeeper.policy.engine import PolicyEngine, Question
from goalkeeper.policy.rules import read_approvals

Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Case(Model):
    """One action, and what policy is expected to say to it."""

    name: Text
    who: PersonId = "somebody"
    proven: bool = True
    """Whether the gateway authenticated the person; if not, the groups count for nothing."""
    groups: tuple[Name, ...] = ()
    operation: Text
    environment: Name
    risk: Risk | None = None
    """The operation's own, unless said."""
    contract: str = ""
    roles: tuple[Name, ...] = ()
    inputs: dict[str, Json] = {}
    compensating: bool = False
    expect: Effect
    approvals: Text | None = None
    """Whom it asks, in the words of `@approvals`: ``2 of operators, security``."""
    rules: tuple[Text, ...] | None = None
    """Exactly the rules that decide."""


class Cases(Model):
    """The shape of a cases file."""

    cases: Annotated[tuple[Case, ...], Field(min_length=1, max_length=10_000)]


class Tried(Model):
    """One case, and what policy said."""

    name: str
    passed: bool
    expected: str
    got: str
    reasons: tuple[str, ...] = ()
    wrong: str = ""
    """In what the answer differs."""


def read_cases(
    text: str | bytes, name: str, operations: Mapping[str, Operation]
) -> tuple[Case, ...]:
    """The cases of a file.

    Raises:
        InvalidSettings: it is not a cases file, or a case asks what no worker would.
    """
    located = yamlfile.read(text, name, InvalidSettings)
    cases = located.validate(Cases, InvalidSettings).cases
    problems = Problems(lambda _: name, located)
    for number, case in enumerate(cases):
        for key, message in _faults(case, operations):
            problems.add(("cases", number, key), message)
    problems.raise_if_any(InvalidSettings)
    return cases


def try_case(case: Case, policy: PolicyEngine, operations: Mapping[str, Operation]) -> Tried:
    """Ask policy, and compare."""
    verdict, rules = policy.explain(
        Question(
            requester=Requester(id=case.who, proven=case.proven),
            groups=case.groups,
            operation=case.operation,
            risk=case.risk or operations[case.operation].risk,
            environment=case.environment,
            contract=case.contract,
            roles=case.roles,
            inputs=case.inputs,
            compensating=case.compensating,
        )
    )
    wrong = "; ".join(_differences(case, verdict, sorted(r.id for r in rules)))
    return Tried(
        name=case.name,
        passed=not wrong,
        expected=" ".join(filter(None, (case.expect.value, case.approvals))),
        got=answer_text(verdict),
        reasons=verdict.reasons,
        wrong=wrong,
    )


def answer_text(verdict: Verdict) -> str:
    """An answer in the words of a cases file: ``ask 2 of operators``."""
    if verdict.requirement is None:
        return verdict.effect.value
    return f"{verdict.effect.value} {approvals_text(verdict.requirement)}"


def approvals_text(requirement: Requirement) -> str:
    """In the words of `@approvals`."""
    return f"{requirement.approvals} of {', '.join(requirement.groups)}"


def _differences(case: Case, verdict: Verdict, rules: list[str]) -> list[str]:
    found = []
    if verdict.effect is not case.expect:
        found.append(f"expected {case.expect.value}, and it is {verdict.effect.value}")
    wanted = read_approvals(case.approvals) if case.approvals else None
    asked = verdict.requirement
    if wanted and asked and wanted != (asked.approvals, asked.groups):
        found.append(f"expected {case.approvals}, and it asks {approvals_text(asked)}")
    if case.rules is not None and sorted(case.rules) != rules:
        found.append(f"decided by {', '.join(rules) or 'no rule'}")
    return found


def _faults(case: Case, operations: Mapping[str, Operation]) -> list[tuple[str, str]]:
    """What makes a case worthless: keys of the case, each with a message."""
    operation = operations.get(case.operation)
    if operation is None:
        hint = did_you_mean(case.operation, operations, known_as="operations")
        return [("operation", f"there is no operation '{case.operation}'{hint}")]
    found = []
    unknown = sorted(set(case.inputs) - set(operation.inputs.model_fields))
    if unknown:
        found.append(("inputs", f"'{case.operation}' has no input '{unknown[0]}'"))
    elsewhere = case.inputs.get("environment")
    if isinstance(elsewhere, str) and elsewhere != case.environment:
        why = "an input that names another environment is refused whatever policy says"
        found.append(("inputs", why))
    if case.approvals is not None and case.expect is not Effect.ASK:
        found.append(("approvals", "only what is expected to 'ask' has approvals"))
    if case.approvals is not None and read_approvals(case.approvals) is None:
        found.append(("approvals", "write for example '2 of operators, security'"))
    return found
