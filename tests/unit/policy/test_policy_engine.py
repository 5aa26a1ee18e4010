"""The policy engine: the shipped file's table, annotations, and what goes wrong."""

from pathlib import Path
from typing import Any

import pytest

from goalkeeper.domain.approval import Requester
from goalkeeper.domain.base import digest_of
from goalkeeper.domain.errors import InvalidSettings
from goalkeeper.domain.operation import Risk
from goalkeeper.domain.policy import Effect
from goalkeeper.policy import PolicyEngine, Question

SHIPPED = PolicyEngine.load()
EVERYTHING = "permit (principal, action, resource);"


def question(**changes: Any) -> Question:
    """Dana, proven and a developer, merges in production."""
    fields: dict[str, Any] = {
        "requester": Requester(id="dana", proven=True),
        "groups": ("developers",),
        "operation": "git.merge_branch",
        "risk": Risk.WRITE,
        "environment": "production",
        "contract": "deploy-branch",
    }
    return Question(**{**fields, **changes})


@pytest.mark.parametrize(
    ("risk", "environment", "effect"),
    [
        (Risk.READ, "development", Effect.ALLOW),
        (Risk.READ, "production", Effect.ALLOW),
        (Risk.WRITE, "development", Effect.ALLOW),
        (Risk.WRITE, "staging", Effect.ASK),
        (Risk.WRITE, "production", Effect.ASK),
        (Risk.DESTRUCTIVE, "development", Effect.ASK),
        (Risk.DESTRUCTIVE, "production", Effect.ASK),
        (Risk.PRIVILEGED, "development", Effect.DENY),
        (Risk.PRIVILEGED, "production", Effect.DENY),
    ],
)
def test_the_shipped_policy(risk: Risk, environment: str, effect: Effect) -> None:
    """Reading goes, writing in development goes, privileged is refused, the rest asks."""
    verdict = SHIPPED.judge(question(risk=risk, environment=environment))
    assert verdict.effect is effect
    assert verdict.reasons
    assert (verdict.requirement is not None) is (effect is Effect.ASK)


def test_the_shipped_policy_asks_one_operator_for_four_hours() -> None:
    """And gives the task one hour to begin."""
    requirement = SHIPPED.judge(question()).requirement
    assert requirement is not None
    assert (requirement.approvals, requirement.groups) == (1, ("operators",))
    assert requirement.expires_in.total_seconds() == 4 * 3600
    assert requirement.valid_for.total_seconds() == 3600


@pytest.mark.parametrize(
    ("changes", "effect"),
    [
        ({"operation": "notify.send"}, Effect.ALLOW),
        ({"operation": "notify.sendall"}, Effect.ASK),
        ({"compensating": True}, Effect.ALLOW),
        ({"compensating": True, "risk": Risk.DESTRUCTIVE}, Effect.ALLOW),
        ({"compensating": True, "risk": Risk.PRIVILEGED}, Effect.DENY),
        ({"operation": "notify.send", "risk": Risk.PRIVILEGED}, Effect.DENY),
        ({"operation": "new.thing", "environment": "unheard-of"}, Effect.ASK),
        ({"requester": Requester(id='x" in Group::"operators')}, Effect.ASK),
        ({"environment": "development", "roles": ("git-writer",)}, Effect.ASK),
    ],
)
def test_exceptions_of_the_shipped_policy(changes: dict[str, Any], effect: Effect) -> None:
    """Telling people and undoing go; nothing lifts the ban; what is unknown asks."""
    assert SHIPPED.judge(question(**changes)).effect is effect


def test_no_rule_that_permits_means_no() -> None:
    """An empty file refuses everything, and says that nothing permits it."""
    verdict = PolicyEngine("").judge(question())
    assert verdict.effect is Effect.DENY
    assert verdict.reasons == ("no rule permits it",)


def test_a_rule_that_cannot_be_evaluated_means_no_and_is_named() -> None:
    """Even beside one that permits everything."""
    engine = PolicyEngine(
        EVERYTHING
        + '@id("by-app") permit (principal, action, resource) when { context.inputs.app == "x" };'
    )
    verdict = engine.judge(question())
    assert verdict.effect is Effect.DENY
    assert "by-app" in verdict.reasons[0]
    assert engine.judge(question(inputs={"app": "x"})).effect is Effect.ALLOW
    # An input of another type is an error as well.
    typed = PolicyEngine(
        EVERYTHING + "forbid (principal, action, resource) when { context.inputs.n > 1 };"
    )
    assert typed.judge(question(inputs={"n": 1})).effect is Effect.ALLOW
    assert typed.judge(question(inputs={"n": "1"})).effect is Effect.DENY


def test_a_forbid_beats_what_asks_and_what_permits() -> None:
    """Its reason alone is given."""
    engine = PolicyEngine(
        EVERYTHING
        + '@approvals("1 of operators") permit (principal, action, resource);'
        + '@id("freeze") @because("nothing changes in December")'
        + ' forbid (principal, action, resource == Environment::"production");'
    )
    verdict = engine.judge(question())
    assert verdict.effect is Effect.DENY
    assert verdict.reasons == ("nothing changes in December (freeze)",)
    assert engine.judge(question(environment="staging")).effect is Effect.ASK


def test_one_permit_that_asks_is_asked_beside_others_that_do_not() -> None:
    """A general permit does not silence it."""
    engine = PolicyEngine(
        EVERYTHING
        + '@id("big") @because("many replicas") @approvals("2 of operators")'
        + " permit (principal, action, resource)"
        + " when { context.inputs has n && context.inputs.n > 10 };"
    )
    assert engine.judge(question(inputs={"n": 10})).effect is Effect.ALLOW
    verdict = engine.judge(question(inputs={"n": 11}))
    assert verdict.effect is Effect.ASK
    assert verdict.reasons == ("many replicas (big)",)
    assert verdict.requirement is not None
    assert verdict.requirement.approvals == 2


def test_groups_are_believed_of_a_proven_requester_alone() -> None:
    """A claim to be somebody brings nobody's groups along."""
    engine = PolicyEngine('permit (principal in Group::"developers", action, resource);')
    assert engine.judge(question()).effect is Effect.ALLOW
    claimed = question(requester=Requester(id="dana", proven=False))
    assert engine.judge(claimed).effect is Effect.DENY
    assert engine.judge(question(groups=("guests",))).effect is Effect.DENY


def test_policy_sees_service_contract_roles_and_whether_the_requester_is_proven() -> None:
    """All that its head comment promises."""
    engine = PolicyEngine(
        'permit (principal, action in Action::"git", resource) when { principal.proven'
        ' && context.contract == "deploy-branch" && context.roles.contains("git-writer") };'
    )
    right = question(roles=("git-writer",))
    assert engine.judge(right).effect is Effect.ALLOW
    for changes in (
        {"roles": ()},
        {"contract": "other", "roles": ("git-writer",)},
        {"operation": "apps.deploy", "roles": ("git-writer",)},
        {"requester": Requester(id="dana"), "roles": ("git-writer",)},
    ):
        assert engine.judge(question(**changes)).effect is Effect.DENY


@pytest.mark.parametrize(
    "value", [1.5, None, [1], {"a": 1}, 2**63, -(2**63) - 1, "x" * 1025], ids=repr
)
def test_inputs_that_cedar_has_no_word_for_are_left_out(value: Any) -> None:
    """They neither break a rule nor satisfy one."""
    engine = PolicyEngine("permit (principal, action, resource) when { !(context.inputs has it) };")
    assert engine.judge(question(inputs={"it": value})).effect is Effect.ALLOW
    assert engine.judge(question(inputs={"it": "short"})).effect is Effect.DENY


def test_a_verdict_is_remembered_for_exactly_the_same_question() -> None:
    """And one that differs in anything is judged anew."""
    engine = PolicyEngine('permit (principal in Group::"developers", action, resource);')
    first = engine.judge(question(inputs={"a": 1}))
    assert engine.judge(question(inputs={"a": 1})) is first
    assert engine.judge(question(inputs={"a": 1}, groups=())).effect is Effect.DENY
    assert engine.judge(question(inputs={"a": 1})).effect is Effect.ALLOW
    other = question(requester=Requester(id="dana", proven=False), inputs={"a": 1})
    assert engine.judge(other).effect is Effect.DENY


def test_verdicts_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of different questions does not fill the worker."""
    monkeypatch.setattr("goalkeeper.policy.engine._REMEMBERED", 3)
    engine = PolicyEngine(EVERYTHING)
    first = engine.judge(question(inputs={"a": 0}))
    for number in range(1, 10):
        engine.judge(question(inputs={"a": number}))
    assert len(engine._remembered) == 3
    assert engine.judge(question(inputs={"a": 0})) is not first


@pytest.mark.parametrize(
    ("annotations", "why"),
    [
        ('@approvals("operators")', "is wrong; write for example"),
        ('@approvals("0 of operators")', "is wrong"),
        ('@approvals("1 of ")', "is wrong"),
        ('@approvals("1 of Operators")', "is wrong"),
        ('@approvals("one of operators")', "is wrong"),
        ('@approvals("21 of operators")', "less than or equal to 20"),
        ('@approvals("1 of operators") @expires("4")', "a number and a unit"),
        ('@approvals("1 of operators") @expires("0h")', "a number and a unit"),
        ('@approvals("1 of operators") @valid_for("soon")', "a number and a unit"),
        ('@approvals("1 of operators") @expires("99999d")', "less than or equal to"),
        ('@approval("1 of operators")', "unknown annotation '@approval'"),
    ],
)
def test_an_annotation_that_is_wrong_names_its_rule(annotations: str, why: str) -> None:
    """A misspelt obligation must not become a permit without one."""
    text = f'@id("mine") {annotations} permit (principal, action, resource);'
    with pytest.raises(InvalidSettings, match="rule 'mine'") as caught:
        PolicyEngine(text, "p.cedar")
    assert why in caught.value.message
    assert caught.value.message.startswith("p.cedar: ")


def test_a_rule_that_forbids_cannot_ask() -> None:
    """It would read as if somebody could say yes."""
    with pytest.raises(InvalidSettings, match="remove @approvals"):
        PolicyEngine('@approvals("1 of a") forbid (principal, action, resource);')


@pytest.mark.parametrize("text", ["permit;", "allow everything", "permit (principal, action);"])
def test_a_file_that_is_not_cedar_is_refused(text: str) -> None:
    """With what the parser says."""
    with pytest.raises(InvalidSettings, match="not valid Cedar"):
        PolicyEngine(text)


def test_a_condition_that_is_nested_too_deeply_is_refused_with_a_way_out() -> None:
    """Not with a stack trace of the worker."""
    many = " || ".join(f'context.contract == "c{n}"' for n in range(2000))
    with pytest.raises(InvalidSettings, match=r"p\.cedar: .* write a set"):
        PolicyEngine(f"permit (principal, action, resource) when {{ {many} }};", "p.cedar")


def test_a_policy_file_is_read_and_its_version_is_its_digest(tmp_path: Path) -> None:
    """A missing one is a clear message."""
    file = tmp_path / "mine.cedar"
    file.write_text(EVERYTHING)
    assert PolicyEngine.load(file).version == digest_of(EVERYTHING.encode())
    assert PolicyEngine(EVERYTHING + " ").version != digest_of(EVERYTHING.encode())
    with pytest.raises(InvalidSettings, match=r"absent\.cedar"):
        PolicyEngine.load(tmp_path / "absent.cedar")
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidSettings, match=r"mine\.cedar"):
        PolicyEngine.load(file)
