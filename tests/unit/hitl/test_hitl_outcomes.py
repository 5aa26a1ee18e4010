"""Answering what became of a lost attempt: its own question, its own answers."""

import pytest

from goalkeeper.domain.approval import Answer, Change
from goalkeeper.domain.audit import AuditKind
from goalkeeper.domain.errors import Conflict, InvalidGoal, NotAllowed
from goalkeeper.domain.evidence import Evidence
from hitl.cards import ACTIONS_SHOWN, card
from hitl.decisions import Decided
from tests.unit.hitl.conftest import Gateway
from tests.unit.hitl.hitl_fakes import NOON, ZERO, a_request, an_action, an_outcome

LOST = "goal-1/merge.0.outcome"


async def answer(
    gateway: Gateway, answer: Answer, reason: str = "it is on main", person: str = "ops"
) -> Decided:
    """Say what happened."""
    return await gateway.decisions.decide(
        gateway.person(person), LOST, digest=None, answer=answer, reason=reason, channel="cli"
    )


@pytest.mark.parametrize("said", [Answer.HAPPENED, Answer.DID_NOT_HAPPEN])
async def test_either_answer_is_signed_recorded_and_counted(gateway: Gateway, said: Answer) -> None:
    """Like any decision, and the goal verifies it by the same function."""
    gateway.goals.ask(an_outcome())
    decided = await answer(gateway, said)
    assert decided.counted
    assert decided.closed == "answered"
    [event] = gateway.log.of_kind(AuditKind.APPROVAL_DECIDED)
    assert event.detail["answer"] == said
    assert event.task_id == "merge"


@pytest.mark.parametrize("said", [Answer.APPROVE, Answer.DENY])
async def test_what_happened_is_neither_approved_nor_denied(gateway: Gateway, said: Answer) -> None:
    """The answers of the other question are refused, with those that there are."""
    gateway.goals.ask(an_outcome())
    with pytest.raises(InvalidGoal, match="'happened' or 'did_not_happen'"):
        await answer(gateway, said)
    assert gateway.goals.signals == []
    assert len(gateway.log.of_kind(AuditKind.APPROVAL_REFUSED)) == 1


async def test_an_approval_is_no_matter_of_what_happened(gateway: Gateway) -> None:
    """The other way round."""
    gateway.goals.ask(a_request())
    with pytest.raises(InvalidGoal, match="'approve' or 'deny'"):
        await gateway.decisions.decide(
            gateway.person("ops"),
            "goal-1/approve.0",
            digest=None,
            answer=Answer.HAPPENED,
            reason="so I heard",
            channel="cli",
        )


async def test_both_answers_want_to_be_accounted_for(gateway: Gateway) -> None:
    """How the person knows goes on record."""
    gateway.goals.ask(an_outcome())
    with pytest.raises(NotAllowed, match="how you know"):
        await answer(gateway, Answer.HAPPENED, reason="  ")


async def test_nobody_says_both(gateway: Gateway) -> None:
    """Where two people must agree, the first cannot turn round unseen."""
    gateway.goals.ask(an_outcome(approvals=2))
    first = await answer(gateway, Answer.HAPPENED)
    assert first.message == "Your answer is counted; 1 more of other people must say the same."
    with pytest.raises(Conflict, match="already"):
        await answer(gateway, Answer.DID_NOT_HAPPEN)
    again = await answer(gateway, Answer.HAPPENED)
    assert again.decision_id == first.decision_id
    assert (await answer(gateway, Answer.HAPPENED, person="root")).closed == "answered"


async def test_an_answer_that_was_contradicted_is_not_sent_again(gateway: Gateway) -> None:
    """By a gateway that starts anew: it would void the contradiction without anybody's doing."""
    gateway.goals.ask(an_outcome(approvals=3))
    await answer(gateway, Answer.HAPPENED)
    await answer(gateway, Answer.DID_NOT_HAPPEN, person="root")
    gateway.goals.asked[LOST].approved_by = ["root"]  # as the goal counts
    sent = len(gateway.goals.signals)
    await gateway.services.delivery._looked_everywhere()
    await gateway.services.delivery._try_all()
    assert len(gateway.goals.signals) == sent
    # Nothing is known to be void where the goal shows neither.
    gateway.goals.asked[LOST].approved_by = []
    await gateway.services.delivery._looked_everywhere()
    await gateway.services.delivery._try_all()
    assert len(gateway.goals.signals) == sent + 2


async def test_a_late_answer_hears_what_was_answered_and_by_whom(gateway: Gateway) -> None:
    """The question is closed."""
    gateway.goals.ask(an_outcome())
    await answer(gateway, Answer.HAPPENED)
    with pytest.raises(Conflict, match="already answered by ops"):
        await answer(gateway, Answer.DID_NOT_HAPPEN, person="root")


def test_the_card_says_what_was_attempted_and_what_each_answer_leads_to() -> None:
    """With what the attempt left behind, and a warning to look first."""
    found = Evidence(digest=ZERO, size=3, name="output.log")
    request = an_outcome().model_copy(update={"evidence": (found,)})
    shown = card(request, NOON)
    assert shown.title == "deploy-branch in production: did git.merge_branch happen?"
    assert shown.heading == "Exactly this was attempted"
    assert shown.evidence == (found,)
    happened, not_happened = shown.choices
    assert (happened.answer, not_happened.answer) == (Answer.HAPPENED, Answer.DID_NOT_HAPPEN)
    assert "Succeeded, without outputs" in happened.leads_to
    assert "runs again" in not_happened.leads_to
    assert happened.reason_required
    assert any("Look into the system itself" in w for w in shown.warnings)
    assert any("stays Unknown" in f.value for f in shown.facts if f.label == "Expires at")


def test_a_request_that_replaces_another_shows_what_has_changed() -> None:
    """Before and after side by side, and that earlier answers count no more."""
    changes = (
        Change(task_id="merge", place="/inputs/replicas", before=3, after=5),
        Change(task_id="merge", place="/inputs/labels/app~1x", before=None, after={"a": [1]}),
        Change(task_id="merge", place="/environment", before="staging", after="production\n"),
    )
    request = a_request().model_copy(update={"replaces": "goal-1/approve.0", "changes": changes})
    shown = card(request, NOON)
    assert shown.changes is not None
    assert shown.changes.rows == (
        ("merge", "replicas", "3", "5"),
        ("merge", "labels / app/x", "null", '{"a": [1]}'),
        ("merge", "environment", "staging", '"production\\n"'),
    )
    assert any("goal-1/approve.0" in w and "count no more" in w for w in shown.warnings)


def test_a_request_of_a_thousand_actions_has_all_of_them_and_stays_readable() -> None:
    """No sentence lists them all."""
    actions = [an_action(f"deploy.{i}", host=f"web-{i}") for i in range(1000)]
    shown = card(a_request("goal-1", *actions), NOON)
    assert len(shown.actions) == 1000
    assert shown.title.endswith("(1000 actions)")
    assert f"and {1000 - ACTIONS_SHOWN} more" in shown.choices[0].leads_to
    assert all(len(w) < 1000 for w in shown.warnings)
