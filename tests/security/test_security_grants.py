"""A workflow of one's own asks our worker for risky operations: only what was approved runs."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from goalkeeper.contracts.activities import Step
from goalkeeper.domain.approval import Answer, Grant, Requester
from goalkeeper.domain.policy import Requirement
from tests.security.intruder import NOTHING, Case, Intruder
from tests.support.engine import plan_of
from tests.support.fakes import LocalSigner


def ran(intruder: Intruder, case: Case) -> bool:
    """Whether the worker has begun anything for this goal."""
    kinds = intruder.engine.kinds(case.action.goal_id)
    return "task.intent" in kinds or "credential.leased" in kinds


def recorded(intruder: Intruder, goal_id: str, code: str) -> bool:
    """Whether the refusal stands in the audit log, with its code."""
    entries = intruder.engine.parts.audit.entries(goal_id=goal_id)
    refused = [e.event for e in entries if e.event.kind == "task.refused"]
    return [e.detail["code"] for e in refused] == [code]


async def refused(intruder: Intruder, case: Case, code: str, why: str) -> None:
    """It is refused for this reason, on record, and nothing has begun."""
    answer = await intruder.execute(case)
    assert str(answer).startswith(code + ": ")
    assert why in answer
    assert recorded(intruder, case.action.goal_id, code)
    assert not ran(intruder, case)


async def test_what_was_approved_runs(intruder: Intruder) -> None:
    """The attacks below start from this case, and each fails by its one change."""
    case = await intruder.case()
    assert (await intruder.execute(case))["outputs"] == {"value": 1}
    assert intruder.engine.kinds(case.action.goal_id) == [
        "grant.spent",
        "task.intent",
        "task.outcome",
    ]


async def test_without_a_grant_nothing_risky_runs(intruder: Intruder) -> None:
    """Whatever the workflow that asks is called."""
    case = replace(await intruder.case(), grant=None)
    await refused(intruder, case, "ApprovalNeeded", "policy asks for people")


async def test_a_risk_that_is_played_down_is_not_believed(intruder: Intruder) -> None:
    """The worker takes the risk from the operation's own declaration."""
    case = await intruder.case(action={"risk": "read"})
    await refused(intruder, replace(case, grant=None), "ApprovalNeeded", "may destroy")


async def test_what_policy_forbids_no_grant_allows(intruder: Intruder) -> None:
    """Even one that people have signed."""
    case = await intruder.case("fake.privileged")
    await refused(intruder, case, "PolicyDenied", "privileged operations are not allowed")


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": {"value": 2}},
        {"plan_digest": NOTHING},
        {"environment": "staging"},
        {"generation": 1},
        {"task_id": "other"},
        {"operation": "fake.once"},
        {"credentials": {"token": "git-writer"}},
        {"egress": ("evil.example:443",)},
    ],
    ids=lambda c: next(iter(c)),
)
async def test_a_grant_covers_exactly_what_was_approved(
    intruder: Intruder, changes: dict[str, Any]
) -> None:
    """One part of the action is another: the digest differs, so the approval is void."""
    case = await intruder.case()
    changed = replace(case, action=case.action.model_copy(update=changes))
    await refused(intruder, changed, "GrantMismatch", "its digest differs")


async def test_another_goal_s_grant_is_none(intruder: Intruder) -> None:
    """However equal the rest."""
    other = await intruder.case()
    case = replace(await intruder.case(), grant=other.grant)
    await refused(intruder, case, "GrantMismatch", "belongs to another goal")


@pytest.mark.parametrize(
    "changes",
    [
        {"expires_at": datetime.now(UTC) + timedelta(days=9)},
        {"reasons": ("it is harmless",)},
        {"created_at": datetime.now(UTC)},
    ],
    ids=lambda c: next(iter(c)),
)
async def test_a_request_that_was_edited_after_the_decision_is_void(
    intruder: Intruder, changes: dict[str, Any]
) -> None:
    """The decision is bound to the request's digest, not to its name."""
    case = await intruder.case()
    assert case.grant is not None
    edited = case.grant.request.model_copy(update=changes)
    grant = Grant(request=edited, decisions=case.grant.decisions)
    await refused(intruder, replace(case, grant=grant), "GrantMismatch", "another version")


@pytest.mark.parametrize(
    ("decision", "why"),
    [
        ({"decided_at": datetime.now(UTC) - timedelta(hours=2)}, "aged out"),
        ({"decided_at": datetime.now(UTC) + timedelta(hours=2)}, "expired at"),
        ({"answer": Answer.DENY}, "was denied"),
        ({"groups": ("developers",)}, "in none of the groups"),
        ({"request_digest": NOTHING}, "another version"),
    ],
    ids=["aged", "late", "denial", "group", "digest"],
)
async def test_a_decision_counts_in_its_time_from_its_people_for_its_request(
    intruder: Intruder, decision: dict[str, Any], why: str
) -> None:
    """Signed by the gateway, and still not good for this."""
    await refused(intruder, await intruder.case(decision=decision), "GrantMismatch", why)


async def test_the_requester_s_own_approval_is_void(intruder: Intruder) -> None:
    """Four eyes: the second pair is somebody else's."""
    await refused(intruder, await intruder.case(people=("dana",)), "GrantMismatch", "asked for")


@pytest.mark.parametrize("signer", [LocalSigner(), LocalSigner("decisions:v9")])
async def test_a_decision_by_another_key_is_void(intruder: Intruder, signer: LocalSigner) -> None:
    """Under the gateway's key id, or under a new one."""
    case = await intruder.case(signer=signer)
    await refused(intruder, case, "GrantMismatch", "not made by its gateway")


@pytest.mark.parametrize(
    "requirement",
    [
        Requirement(groups=("developers", "operators")),
        Requirement(groups=()),
        Requirement(groups=("developers",)),
    ],
)
async def test_a_request_that_asks_for_less_than_policy_wants_is_void(
    intruder: Intruder, requirement: Requirement
) -> None:
    """Whoever makes the request does not choose who may say yes."""
    decision = {"groups": ("operators", "developers")}
    case = await intruder.case(request={"requirement": requirement}, decision=decision)
    await refused(intruder, case, "GrantMismatch", "asked for less than policy wants")


async def test_policy_that_has_changed_since_voids_the_approval(intruder: Intruder) -> None:
    """People agreed under other rules."""
    case = await intruder.case(action={"policy_version": NOTHING})
    await refused(intruder, case, "GrantMismatch", "policy has changed")


async def test_a_requester_without_proof_needs_one_more_approver(intruder: Intruder) -> None:
    """One of two could be the one who really asked; and one person is not two."""
    alone = await intruder.case(proven=False)
    await refused(intruder, alone, "GrantMismatch", "needs 2")
    twice = await intruder.case(proven=False, people=("olive", "olive"))
    await refused(intruder, twice, "GrantMismatch", "needs 2")
    both = await intruder.case(proven=False, people=("olive", "oscar"))
    assert (await intruder.execute(both))["outputs"] == {"value": 1}


async def test_a_requester_who_is_said_to_be_proven_needs_the_gateway_s_word(
    intruder: Intruder,
) -> None:
    """None, for another goal, for another person, or signed by somebody else."""
    case = await intruder.case()
    goal_id = case.action.goal_id
    for attestation in (
        None,
        await intruder.attested("another-goal"),
        await intruder.attested(goal_id, person="olive"),
        await intruder.attested(goal_id, signer=LocalSigner()),
    ):
        claimed = case.asker.model_copy(update={"attestation": attestation})
        answer = await intruder.execute(replace(case, asker=claimed))
        assert answer.startswith("GrantMismatch: ")
    assert not ran(intruder, case)
    assert intruder.engine.kinds(goal_id) == ["task.refused"] * 4


async def test_one_requester_s_grant_is_not_another_s(intruder: Intruder) -> None:
    """Who asked is part of what was approved."""
    case = await intruder.case()
    olive = case.asker.model_copy(
        update={
            "requester": Requester(id="olive", proven=True),
            "attestation": await intruder.attested(case.action.goal_id, "olive"),
        }
    )
    await refused(intruder, replace(case, asker=olive), "GrantMismatch", "another goal or req")


async def test_a_grant_is_spent_once(intruder: Intruder) -> None:
    """A second workflow under the same id gets neither a second run nor the first one's answer."""
    case = await intruder.case()
    await intruder.execute(case)
    done = len(intruder.engine.fake.done)
    answer = await intruder.execute(case)
    assert answer.startswith("GrantSpent: ")
    assert len(intruder.engine.fake.done) == done
    assert recorded(intruder, case.action.goal_id, "GrantSpent")


async def test_an_action_runs_for_its_own_goal_alone(intruder: Intruder) -> None:
    """A workflow under another id does not get it, grant and all."""
    case = await intruder.case()
    answer = await intruder.execute(case, workflow_id="another-" + case.action.goal_id)
    assert answer.startswith("GrantMismatch: ")
    assert recorded(intruder, case.action.goal_id, "GrantMismatch")
    assert not ran(intruder, case)


async def test_a_workflow_cannot_pass_for_an_earlier_run_of_the_goal(intruder: Intruder) -> None:
    """Else an approved action that failed could be run again at any later time."""
    failing = await intruder.case(action={"inputs": {"do": "fail"}})
    assert (await intruder.execute(failing)).startswith("OperationFailed: ")
    first = next(
        e.event.id.split("/")[0]
        for e in intruder.engine.parts.audit.entries(goal_id=failing.action.goal_id)
    )
    claimed = failing.asker.model_copy(update={"run": first})
    answer = await intruder.execute(replace(failing, asker=claimed))
    assert answer.startswith("GrantMismatch: ")
    assert "another run" in answer
    assert intruder.engine.fake.tries["act"] >= 1
    assert intruder.engine.kinds(failing.action.goal_id).count("task.intent") == 1


async def test_a_step_of_a_goal_that_was_never_planned_is_refused(intruder: Intruder) -> None:
    """The ledger knows nothing of it, and says for nobody who asks."""
    step = Step(task_id="act", operation="fake.write", inputs={"value": 1})
    goal_id = f"case-{uuid.uuid4().hex[:12]}"
    intruder.engine.fake.done.clear()
    assert (await intruder.step(step, workflow_id=goal_id)).startswith("GrantMismatch")
    assert recorded(intruder, goal_id, "GrantMismatch")
    assert intruder.engine.fake.done == []


async def test_a_step_under_the_id_of_another_run_is_refused(intruder: Intruder) -> None:
    """A goal id that is free again lends nobody its requester."""
    engine = intruder.engine
    goal = await engine.submit(plan_of({"id": "act", "uses": "fake.read"}))
    await engine.result(goal)
    engine.fake.done.clear()
    step = Step(task_id="act", operation="fake.write", inputs={"value": 1})
    assert (await intruder.step(step, workflow_id=goal.id)).startswith("GrantMismatch")
    assert recorded(intruder, goal.id, "GrantMismatch")
    assert engine.fake.done == []
