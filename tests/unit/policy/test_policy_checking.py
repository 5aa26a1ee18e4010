"""Checking a policy: every fault at its line, and what is right passes."""

import re
from pathlib import Path

import pytest

from connectors.registry import known_operations
from goalkeeper.domain.policy import Effect
from goalkeeper.policy.checking import Checked, check
from goalkeeper.policy.shipped import PHASES, read_policy
from goalkeeper.policy.text import statements

OPERATIONS = known_operations()
PAGE = Path(__file__).parents[3] / "docs" / "policy.md"


def checked(text: str, groups: set[str] | None = None) -> Checked:
    """What there is to say about a policy."""
    return check(text, "p.cedar", OPERATIONS, groups)


def rule(condition: str = "", scope: str = "principal, action, resource") -> str:
    """A rule on the second line, below a comment that has a semicolon."""
    when = f"when {{ {condition} }}" if condition else ""
    return f'// first; of all "\n@id("mine") @because("so") permit ({scope})\n{when};'


@pytest.mark.parametrize("name", [None, *PHASES])
def test_what_is_shipped_has_no_fault(name: str | None) -> None:
    """Neither the default nor a phase, and each rule has a name and a reason."""
    text, called = read_policy(Path(f"phase:{name}") if name else None)
    found = check(text, called, OPERATIONS, {"operators"})
    assert (found.problems, found.warnings) == ((), ())
    assert all(line.because for line in found.rules)


def test_the_example_of_the_documentation_has_no_fault() -> None:
    """It is what people copy first."""
    text = "\n".join(re.findall(r"^```cedar\n(.*?)^```$", PAGE.read_text(), re.M | re.S))
    assert checked(text).problems == ()


@pytest.mark.parametrize(
    ("condition", "line", "says"),
    [
        ('context.rsk == "read"', 3, "there is no 'context.rsk'; did you mean 'risk'?"),
        ('context.risk == "raed"', 3, "there is no risk 'raed'; did you mean 'read'?"),
        ('["raed"].contains(context.risk)', 3, "there is no risk 'raed'"),
        ("principal.prven", 3, "a person has no 'prven'"),
        ("context.inputs has ap", 3, "has an input 'ap' that rules see; did you mean 'app'?"),
        ('context.inputs.app == "x"', 3, "test `context.inputs has app` first"),
        ('principal in Grup::"x"', 3, "there is no entity type 'Grup'; did you mean 'Group'?"),
        ('action == Action::"git.merge"', 3, "there is no operation or service 'git.merge'"),
        ("context.inputs has app && context.inputs.app == 3", 2, "String"),
    ],
)
def test_a_name_that_does_not_exist_is_found_at_its_line(
    condition: str, line: int, says: str
) -> None:
    """With what was probably meant."""
    problems = checked(rule(condition)).problems
    assert any(says in p.message and p.line == line and p.rule == "mine" for p in problems), (
        problems
    )


@pytest.mark.parametrize(
    ("scope", "says"),
    [
        (
            'principal, action == Action::"git.merge_brnch", resource',
            "did you mean 'git.merge_branch'?",
        ),
        ('principal, action in Action::"gti", resource', "'gti'; did you mean 'git'?"),
        ('principal, action == Action::"apps", resource', "the rule can never hold"),
        ("principal == ?principal, action, resource", "is a template and never holds"),
    ],
)
def test_a_scope_that_never_fits_is_found(scope: str, says: str) -> None:
    """A misspelt operation would make a rule that never holds, silently."""
    problems = checked(rule(scope=scope)).problems
    assert [p.line for p in problems] == [2]
    assert says in problems[0].message


@pytest.mark.parametrize(
    ("annotations", "says"),
    [
        ('@approvls("1 of a")', "unknown annotation '@approvls'"),
        ('@approvals("one of a")', '@approvals("one of a") is wrong'),
        ('@expires("2h")', "@expires does nothing without @approvals"),
        ('@approvals("1 of a") @reason("requird")', '@reason("requird") does nothing'),
    ],
)
def test_an_annotation_that_does_not_do_what_it_says_is_found(annotations: str, says: str) -> None:
    """At the annotation, and once."""
    text = f'@id("mine")\n{annotations}\npermit (principal, action, resource);'
    problems = checked(text).problems
    assert [p.line for p in problems] == [2]
    assert says in problems[0].message


def test_all_faults_are_told_at_once_in_the_order_of_the_file() -> None:
    """Nobody wants to run it once for each."""
    text = rule('context.risk == "a"') + rule('context.risk == "b"') + '\n@idd("x")' + rule()
    assert [p.line for p in checked(text).problems] == sorted(
        p.line for p in checked(text).problems
    )
    assert len(checked(text).problems) >= 4


def test_two_rules_of_one_name_are_found() -> None:
    """Reasons and cases name rules."""
    problems = checked(rule() + "\n" + rule()).problems
    assert [p.line for p in problems] == [2, 5]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("permit (principal, action);", 1),
        (rule() + "\npermt (principal, action, resource);", 4),
        (rule() + "\n\npermit (principal, action, resource)\nwhen { context.risk = 1 };", 6),
        (rule() + "\nforbid (principal, action, resource)", 4),
    ],
)
def test_what_cedar_cannot_read_is_found_where_it_is(text: str, line: int) -> None:
    """Cedar itself names no line."""
    (problem,) = checked(text).problems
    assert problem.message.startswith("not valid Cedar: ")
    assert problem.line == line


def test_a_group_of_nobody_is_a_warning() -> None:
    """Such a request would expire unanswered; without an identities file nothing is known."""
    text = (
        '@id("a") @because("b")\n@approvals("1 of operatrs") permit (principal, action, resource);'
    )
    (warning,) = checked(text, {"operators"}).warnings
    assert (warning.line, "did you mean 'operators'?" in warning.message) == (2, True)
    assert checked(text).warnings == ()
    assert checked(text, {"operatrs"}).warnings == ()


def test_a_rule_without_name_or_reason_is_a_warning() -> None:
    """It works, but people who are asked see little."""
    text = 'permit (principal, action, resource);\n@id("x") forbid (principal, action, resource);'
    assert [w.line for w in checked(text).warnings] == [1, 2]
    assert [r.effect for r in checked(text).rules] == [Effect.ALLOW, Effect.DENY]


@pytest.mark.parametrize("terms", [300, 450, 2000])
def test_a_condition_of_many_terms_is_checked_or_refused(terms: int) -> None:
    """Never a stack trace."""
    many = " || ".join(f'context.contract == "c{n}"' for n in range(terms))
    problems = checked(rule(many)).problems
    assert len(problems) == (terms > 1000)
    assert all("nested too deeply" in p.message for p in problems)


def test_a_file_without_rules_is_a_warning() -> None:
    """It is a policy, and refuses everything."""
    found = checked("// later\n")
    assert (found.problems, found.rules) == ((), ())
    assert "everything is refused" in found.warnings[0].message


def test_an_operations_inputs_are_known_by_its_types() -> None:
    """Text, whole numbers and booleans; of a service, what any of its operations takes."""
    deploy = 'principal, action == Action::"apps.deploy", resource'
    app = "context.inputs has app && context.inputs.app like"
    assert checked(rule(f'{app} "*-db"', deploy)).problems == ()
    assert checked(rule(f'{app} "*-db"', 'principal, action in Action::"apps", resource')).rules
    assert checked(rule(f'{app} "*-db"')).problems == ()
    assert checked(rule("context.inputs has replicas && context.inputs.replicas > 3")).rules
    assert checked(rule("context.inputs has branch", deploy)).problems


def test_texts_and_comments_may_hold_what_looks_like_the_end_of_a_rule() -> None:
    """Lines are counted through all of them."""
    text = '@because("a; // \\" b\nc") permit (principal, action, resource); // ; "\n\nforbid;'
    assert [s.line for s in statements(text)] == [1, 4]
