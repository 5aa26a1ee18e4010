"""The one path of an answer: what counts, what is refused, what is on record."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from goalkeeper.domain.approval import DECISION_TYPE, Answer, Decision
from goalkeeper.domain.audit import AuditKind
from goalkeeper.domain.dsse import Envelope, open_envelope
from goalkeeper.domain.errors import (
    ApprovalExpired,
    Conflict,
    NotAllowed,
    NotFound,
    ServiceUnavailable,
)
from hitl.decisions import Decided
from tests.unit.hitl.conftest import Gateway
from tests.unit.hitl.hitl_fakes import ZERO, a_request, an_action

APPROVE, DENY = Answer.APPROVE, Answer.DENY


async def decide(
    gateway: Gateway,
    person: str,
    answer: Answer = APPROVE,
    *,
    request_id: str = "goal-1/approve.0",
    digest: str | None = None,
    reason: str = "",
) -> Decided:
    """Answer as a person."""
    return await gateway.decisions.decide(
        gateway.person(person),
        request_id,
        digest=digest,
        answer=answer,
        reason=reason or ("too risky" if answer is DENY else ""),
        channel="cli",
    )


def decided(gateway: Gateway) -> list[str]:
    """Whose decisions are on record."""
    return [e.actor for e in gateway.log.of_kind(AuditKind.APPROVAL_DECIDED)]


def refusals(gateway: Gateway) -> list[str]:
    """Whose answers were turned away, on record."""
    return [e.actor for e in gateway.log.of_kind(AuditKind.APPROVAL_REFUSED)]


async def test_an_approval_is_signed_recorded_signalled_and_counted(gateway: Gateway) -> None:
    """The signed statement names person, groups, answer and digest, and the goal counts it."""
    request = gateway.goals.ask(a_request())
    answer = await decide(gateway, "ops", digest=request.digest, reason="  looks right ")
    assert answer.counted
    assert answer.closed == "approved"
    decision = open_envelope(gateway.goals.signals[0], Decision, DECISION_TYPE, gateway.signer.keys)
    assert decision.request_digest == request.digest
    assert (decision.person, decision.groups) == ("ops", ("operators",))
    assert decision.reason == "looks right"
    event = gateway.log.of_kind(AuditKind.APPROVAL_DECIDED)[0]
    assert (event.id, event.actor, event.goal_id) == (decision.id, "person:ops", "goal-1")
    assert Envelope.model_validate(event.detail["envelope"]) == gateway.goals.signals[0]


async def test_nothing_is_signalled_that_could_not_be_recorded(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a full disk the answer fails, and the goal hears nothing."""
    gateway.goals.ask(a_request())

    async def full(*_: object) -> tuple[int, ...]:
        raise ServiceUnavailable("the disk is full")

    monkeypatch.setattr(gateway.log, "append", full)
    with pytest.raises(ServiceUnavailable):
        await decide(gateway, "ops")
    assert gateway.goals.signals == []


async def test_a_denial_ends_the_request_with_its_reason(gateway: Gateway) -> None:
    """One no is enough, also where two must say yes."""
    gateway.goals.ask(a_request(approvals=2))
    await decide(gateway, "ops")
    answer = await decide(gateway, "root", DENY, reason="not today")
    assert (answer.counted, answer.closed) == (True, "denied")
    assert gateway.log.of_kind(AuditKind.APPROVAL_DECIDED)[1].detail["reason"] == "not today"


async def test_the_requester_may_not_approve_their_own_goal(gateway: Gateway) -> None:
    """Not even as a member of the right group; the attempt is on record."""
    gateway.goals.ask(a_request(requester="dev"))
    with pytest.raises(NotAllowed, match="asked for this goal"):
        await decide(gateway, "dev")
    assert gateway.goals.signals == []
    assert (decided(gateway), refusals(gateway)) == ([], ["person:dev"])


async def test_somebody_outside_of_the_groups_may_not_decide(gateway: Gateway) -> None:
    """Neither yes nor no; the attempt is on record."""
    gateway.goals.ask(a_request())
    for answer in (APPROVE, DENY):
        with pytest.raises(NotAllowed, match="none of the groups"):
            await decide(gateway, "guest", answer)
    assert gateway.goals.signals == []
    assert refusals(gateway) == ["person:guest"] * 2


async def test_the_groups_of_now_count_not_those_of_sign_in(gateway: Gateway) -> None:
    """Whoever was taken out of the group a moment ago is refused."""
    gateway.goals.ask(a_request())
    text = gateway.identities_file.read_text()
    gateway.identities_file.write_text(text.replace("- operators", "- readers"))
    with pytest.raises(NotAllowed):
        await decide(gateway, "ops")


async def test_an_answer_to_something_else_than_what_was_shown_is_refused(
    gateway: Gateway,
) -> None:
    """The digest of the page must be the digest of the request as it is now."""
    seen = gateway.goals.ask(a_request("goal-1", an_action(commit="aaa")))
    gateway.goals.ask(a_request("goal-1", an_action(commit="bbb")))
    with pytest.raises(Conflict, match="no longer what you were shown"):
        await decide(gateway, "ops", digest=seen.digest)
    assert gateway.goals.signals == []
    assert refusals(gateway) == ["person:ops"]


async def test_an_answer_after_expiry_is_refused(gateway: Gateway) -> None:
    """Silence until then meant no, even if the goal has not noticed yet."""
    gateway.goals.ask(a_request(expires_in=timedelta(minutes=5)))
    gateway.clock.forward(timedelta(minutes=5))
    with pytest.raises(ApprovalExpired):
        await decide(gateway, "ops")
    assert gateway.goals.signals == []
    assert refusals(gateway) == ["person:ops"]


async def test_a_request_that_the_goal_has_expired_says_so(gateway: Gateway) -> None:
    """The goal's word counts where its clock was ahead."""
    gateway.goals.ask(a_request())
    gateway.goals.asked["goal-1/approve.0"].closed = "expired"
    with pytest.raises(ApprovalExpired, match="silence until then"):
        await decide(gateway, "ops")


async def test_a_denial_without_a_reason_is_refused(gateway: Gateway) -> None:
    """Blank space is no reason."""
    gateway.goals.ask(a_request())
    with pytest.raises(NotAllowed, match="needs a reason"):
        await decide(gateway, "ops", DENY, reason="   ")
    assert gateway.goals.signals == []


async def test_policy_may_want_a_reason_for_an_approval(gateway: Gateway) -> None:
    """Then a yes without one is refused and a yes with one counts."""
    gateway.goals.ask(a_request(reason_required=True))
    with pytest.raises(NotAllowed, match="wants a reason"):
        await decide(gateway, "ops")
    assert (await decide(gateway, "ops", reason="checked the preview")).counted


async def test_a_double_click_is_one_decision(gateway: Gateway) -> None:
    """Both clicks get the same answer; one event is recorded and nothing is refused."""
    gateway.goals.ask(a_request(approvals=2))
    first, second = await asyncio.gather(decide(gateway, "ops"), decide(gateway, "ops"))
    again = await decide(gateway, "ops")
    assert first.decision_id == second.decision_id == again.decision_id
    assert first.decided_at == again.decided_at
    assert decided(gateway) == ["person:ops"]
    assert gateway.goals.refused == []
    assert len(gateway.goals.signals) == 1


async def test_the_same_denial_twice_is_one_decision(gateway: Gateway) -> None:
    """The second click finds the request closed by its own answer, which is no conflict."""
    gateway.goals.ask(a_request())
    answers = await asyncio.gather(decide(gateway, "ops", DENY), decide(gateway, "ops", DENY))
    assert {a.closed for a in answers} == {"denied"}
    assert gateway.goals.refused == []


async def test_two_different_people_are_needed_where_policy_says_two(gateway: Gateway) -> None:
    """One person's two clicks are one approval."""
    gateway.goals.ask(a_request(approvals=2))
    first = await decide(gateway, "ops")
    assert (first.counted, first.closed, "1 more" in first.message) == (True, None, True)
    assert (await decide(gateway, "ops")).closed is None
    assert (await decide(gateway, "root")).closed == "approved"


async def test_whoever_comes_late_learns_who_decided_and_when(gateway: Gateway) -> None:
    """The message has the name and the time from the record."""
    gateway.goals.ask(a_request())
    await decide(gateway, "ops")
    with pytest.raises(Conflict, match=r"already approved by ops at 2026-03-01T12:00:00"):
        await decide(gateway, "root")
    with pytest.raises(Conflict, match="already approved by ops"):
        await decide(gateway, "ops", DENY)


async def test_an_approver_is_not_told_that_a_denied_request_is_approved(
    gateway: Gateway,
) -> None:
    """Repeating a yes after somebody else's no is a conflict."""
    gateway.goals.ask(a_request(approvals=2))
    await decide(gateway, "ops")
    await decide(gateway, "root", DENY)
    with pytest.raises(Conflict, match="already denied by root"):
        await decide(gateway, "ops")


async def test_a_withdrawn_request_needs_no_answer(gateway: Gateway) -> None:
    """Nobody is named as having decided it."""
    gateway.goals.ask(a_request())
    gateway.goals.asked["goal-1/approve.0"].closed = "withdrawn"
    with pytest.raises(Conflict, match="withdrawn"):
        await decide(gateway, "ops")


async def test_an_approver_may_still_change_a_yes_into_a_no(gateway: Gateway) -> None:
    """As long as the request is open."""
    gateway.goals.ask(a_request(approvals=2))
    await decide(gateway, "ops")
    assert (await decide(gateway, "ops", DENY)).closed == "denied"


@pytest.mark.parametrize("request_id", ["goal-1", "/x", "nowhere/approve.0", "goal-1/other.0", ""])
async def test_an_unknown_request_is_not_found(gateway: Gateway, request_id: str) -> None:
    """Whatever part of the id is wrong."""
    gateway.goals.ask(a_request())
    with pytest.raises(NotFound):
        await decide(gateway, "ops", request_id=request_id)


async def test_a_goal_cannot_ask_in_the_name_of_another(gateway: Gateway) -> None:
    """A workflow that shows another goal's request, or another goal's action, is not heard."""
    stolen = a_request("goal-1").model_copy(update={"id": "evil/approve.0"})
    foreign = a_request("evil-2", an_action(goal_id="goal-1"))
    for request in (stolen, foreign):
        gateway.goals.ask(request)
        with pytest.raises(NotFound):
            await decide(gateway, "ops", request_id=request.id)
    assert await gateway.services.inbox.open_requests() == []


async def test_an_answer_that_the_goal_does_not_confirm_is_reported_as_recorded(
    gateway: Gateway,
) -> None:
    """A goal whose worker is down will count the signal later."""
    gateway.goals.ask(a_request())
    gateway.goals.deaf = True
    answer = await decide(gateway, "ops")
    assert not answer.counted
    assert "Recorded" in answer.message
    assert len(gateway.goals.signals) == 1


async def test_a_decision_whose_signal_was_lost_is_sent_by_the_next_gateway(
    gateway: Gateway,
) -> None:
    """Killed between record and signal: the same signed decision arrives after the restart."""
    gateway.goals.ask(a_request())
    gateway.goals.deaf = True
    await decide(gateway, "ops")
    lost = gateway.goals.signals.pop()
    gateway.goals.deaf = False
    running = asyncio.create_task(gateway.services.delivery.run())
    await until(lambda: gateway.goals.asked["goal-1/approve.0"].closed == "approved")
    running.cancel()
    assert gateway.goals.signals == [lost]


async def test_a_decision_that_temporal_could_not_take_is_sent_once_it_can(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The person is told that it is recorded and need not answer again."""
    real = gateway.goals.deliver

    async def down(*_: object) -> None:
        raise ServiceUnavailable("Temporal does not answer")

    monkeypatch.setattr(gateway.goals, "deliver", down)
    running = asyncio.create_task(gateway.services.delivery.run())
    # The search for lost decisions is over before this one is made.
    await until(lambda: gateway.goals.surveys > 0)
    gateway.goals.ask(a_request())
    with pytest.raises(ServiceUnavailable, match="need not answer again"):
        await decide(gateway, "ops")
    monkeypatch.setattr(gateway.goals, "deliver", real)
    await until(lambda: gateway.goals.asked["goal-1/approve.0"].closed == "approved")
    running.cancel()


async def test_lost_decisions_are_found_even_if_temporal_comes_up_later(gateway: Gateway) -> None:
    """The search goes on until every waiting goal has answered."""
    gateway.goals.ask(a_request("goal-1"))
    gateway.goals.ask(a_request("goal-2"))
    gateway.goals.deaf = True
    await decide(gateway, "ops", request_id="goal-2/approve.0")
    gateway.goals.deaf, gateway.goals.temporal_down = False, True
    gateway.goals.silent = {"goal-2"}
    running = asyncio.create_task(gateway.services.delivery.run())
    await until(lambda: gateway.goals.surveys >= 2)
    gateway.goals.temporal_down = False
    read = gateway.goals.surveys
    await until(lambda: gateway.goals.surveys >= read + 3)
    gateway.goals.silent = set()
    await until(lambda: gateway.goals.asked["goal-2/approve.0"].closed == "approved")
    running.cancel()


async def test_a_digest_that_is_wrong_from_the_start_is_refused(gateway: Gateway) -> None:
    """Guessing at the digest does not help."""
    gateway.goals.ask(a_request())
    with pytest.raises(Conflict):
        await decide(gateway, "ops", digest=ZERO)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for a condition, with an end."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - another task brings it about
            await asyncio.sleep(0.002)
