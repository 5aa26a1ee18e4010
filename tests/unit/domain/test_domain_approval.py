"""The one place that verifies decisions and grants."""

from datetime import timedelta
from typing import Any

import pytest

from goalkeeper.domain.approval import (
    SUBMISSION_TYPE,
    Answer,
    Grant,
    Requester,
    needed_approvals,
    objection,
    verify_decision,
    verify_grant,
)
from goalkeeper.domain.errors import GrantMismatch
from goalkeeper.domain.policy import Requirement
from tests.support.fakes import LocalSigner
from tests.unit.domain.approving import GATEWAY, NOW, an_action, approval, decided

KEYS = GATEWAY.public_keys


async def test_a_decision_for_this_request_counts() -> None:
    """And says who decided what."""
    request = approval()
    decision = verify_decision(await decided(request), request, KEYS)
    assert (decision.person, decision.answer) == ("olive", Answer.APPROVE)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"signer": LocalSigner()}, "no signature by a key"),
        ({"signer": LocalSigner("other:v1")}, "no signature by a key"),
        ({"payload_type": SUBMISSION_TYPE}, "is of type"),
        ({"request_id": "ship-1/other.0"}, "is for request 'ship-1/other.0'"),
        ({"goal_id": "ship-2"}, "is for request"),
        ({"request_digest": "sha256:" + "0" * 64}, "another version"),
        ({"decided_at": NOW + timedelta(hours=4)}, "silence until then means no"),
        ({"person": "dana"}, "asked for this goal"),
        ({"groups": ()}, "in none of the groups"),
        ({"groups": ("developers",)}, "in none of the groups"),
        ({"answer": Answer.DENY}, "gives no reason"),
        ({"answer": Answer.DENY, "reason": "   "}, "gives no reason"),
    ],
)
async def test_a_decision_that_may_not_count_says_why(changes: dict[str, Any], why: str) -> None:
    """Each by its one fault."""
    request = approval()
    with pytest.raises(GrantMismatch, match=why):
        verify_decision(await decided(request, **changes), request, KEYS)


async def test_a_reason_is_wanted_where_policy_wants_one() -> None:
    """Of an approval too, and blanks are none."""
    request = approval(requirement=Requirement(reason_required=True))
    with pytest.raises(GrantMismatch, match="one is required"):
        verify_decision(await decided(request), request, KEYS)
    assert verify_decision(await decided(request, reason="tested"), request, KEYS)


@pytest.mark.parametrize(
    ("person", "groups", "minutes", "why"),
    [
        ("olive", ("operators",), 0, None),
        ("olive", ("security", "operators"), 239, None),
        ("olive", ("operators",), 240, "expired"),
        ("dana", ("operators",), 0, "asked for this goal"),
        ("olive", ("security",), 0, "in none of the groups"),
        ("olive", (), 0, "in none of the groups"),
    ],
)
def test_who_may_decide_and_until_when(
    person: str, groups: tuple[str, ...], minutes: int, why: str | None
) -> None:
    """The expiry itself is too late."""
    found = objection(person, groups, NOW + timedelta(minutes=minutes), approval())
    assert (found is None) if why is None else (found is not None and why in found)


def test_without_groups_anybody_else_may_decide() -> None:
    """Any identity of the file but the requester's."""
    request = approval(requirement=Requirement())
    assert objection("olive", (), NOW, request) is None
    assert objection("dana", (), NOW, request) is not None


@pytest.mark.parametrize(
    ("approvals", "proven", "needed"), [(1, True, 1), (1, False, 2), (3, True, 3), (3, False, 4)]
)
def test_a_claimed_requester_needs_one_approver_more(
    approvals: int, proven: bool, needed: int
) -> None:
    """One of them might be the one who asked."""
    request = approval(
        requester=Requester(id="dana", proven=proven), requirement=Requirement(approvals=approvals)
    )
    assert needed_approvals(request) == needed


async def test_a_grant_holds_for_each_action_that_it_covers() -> None:
    """And for no other."""
    second = an_action(task_id="deploy")
    request = approval(actions=(an_action(), second))
    grant = Grant(request=request, decisions=(await decided(request),))
    assert verify_grant(grant, an_action(), KEYS)
    assert verify_grant(grant, second, KEYS)
    with pytest.raises(GrantMismatch, match="its digest differs"):
        verify_grant(grant, an_action(task_id="third"), KEYS)


async def test_a_grant_needs_enough_distinct_people() -> None:
    """The same person twice is one."""
    request = approval(requirement=Requirement(approvals=2, groups=("operators",)))
    olive, again, oscar = (
        await decided(request),
        await decided(request, id="decision-2"),
        await decided(request, person="oscar"),
    )
    with pytest.raises(GrantMismatch, match=r"1 approval\(s\) of distinct people and needs 2"):
        verify_grant(Grant(request=request, decisions=(olive, again)), an_action(), KEYS)
    grant = Grant(request=request, decisions=(olive, oscar))
    assert {d.person for d in verify_grant(grant, an_action(), KEYS)} == {"olive", "oscar"}


async def test_one_denial_or_one_bad_decision_voids_a_grant() -> None:
    """Even beside enough approvals."""
    request = approval()
    good = await decided(request)
    no = await decided(request, person="oscar", answer=Answer.DENY, reason="no")
    forged = await decided(request, person="oscar", signer=LocalSigner())
    for other, why in ((no, "was denied"), (forged, "no signature")):
        with pytest.raises(GrantMismatch, match=why):
            verify_grant(Grant(request=request, decisions=(good, other)), an_action(), KEYS)


async def test_an_edited_request_voids_its_decisions() -> None:
    """A decision names the digest of what was shown."""
    request = approval()
    edited = request.model_copy(update={"requirement": Requirement(), "reasons": ("harmless",)})
    grant = Grant(request=edited, decisions=(await decided(request),))
    with pytest.raises(GrantMismatch, match="another version"):
        verify_grant(grant, an_action(), KEYS)
