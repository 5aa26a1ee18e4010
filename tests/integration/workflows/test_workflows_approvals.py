"""Approvals on a real Temporal server: who may, what counts, what a signal cannot do."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError

from goalkeeper.contracts.goal import OpenRequest
from goalkeeper.domain.approval import Answer
from goalkeeper.domain.plan import GoalState
from goalkeeper.embedded.temporal import TemporalServer
from tests.support.engine import Engine, plan_of, running_engine
from tests.support.fakes import LocalSigner

SHIP: tuple[dict[str, Any], ...] = (
    {"id": "look", "uses": "fake.read", "with": {"value": "v2"}},
    {"id": "ok", "uses": "approval", "covers": ["merge", "deploy"], "show": ["look"]},
    {"id": "merge", "uses": "fake.write", "with": {"value": "${{ tasks.look.value }}"}},
    {"id": "deploy", "uses": "fake.write", "with": {"value": 2}, "needs": ["merge"]},
)


async def ask(engine: Engine, **changes: Any) -> tuple[Any, OpenRequest]:
    """Submit a goal that ships to production, and wait until it asks."""
    handle = await engine.submit(plan_of(*SHIP, environment="production"), **changes)
    return handle, await engine.asked(handle)


async def test_one_request_covers_what_stands_or_falls_together(engine: Engine) -> None:
    """The gate shows the preview and names both actions, inputs resolved; both run after a yes."""
    handle, asked = await ask(engine)
    assert [a.task_id for a in asked.request.actions] == ["merge", "deploy"]
    assert asked.request.actions[0].inputs["value"] == "v2"
    assert asked.request.shown == {"look": {"value": "v2"}}
    assert (await engine.progress(handle)).state is GoalState.AWAITING_APPROVAL
    assert [t for t, _, _ in engine.fake.done] == ["look"]
    await engine.decide(handle, asked.request)
    result = await engine.result(handle)
    assert result.state is GoalState.SUCCEEDED
    assert [t for t, _, _ in engine.fake.done] == ["look", "merge", "deploy"]
    kinds = engine.kinds(handle.id)
    assert kinds.index("approval.requested") < kinds.index("grant.spent")
    assert kinds.count("grant.spent") == 2


async def test_a_denial_ends_the_goal_with_nothing_changed(engine: Engine) -> None:
    """One denial is enough, and its reason is the goal's failure."""
    handle, asked = await ask(engine)
    await engine.decide(handle, asked.request, answer=Answer.DENY, reason="not on a Friday")
    result = await engine.result(handle)
    assert result.state is GoalState.DENIED
    assert result.failure is not None
    assert "not on a Friday" in result.failure.message
    assert [t for t, _, _ in engine.fake.done] == ["look"]


async def test_silence_until_the_expiry_means_no(
    temporal_server: TemporalServer, tmp_path: Path
) -> None:
    """Nobody decides, so nothing runs."""
    policy = """
        permit (principal, action, resource) when { context.risk == "read" };
        @approvals("1 of operators") @expires("1s")
        permit (principal, action, resource) when { context.risk != "read" };
    """
    async with running_engine(temporal_server.address, tmp_path, policy=policy) as engine:
        handle, _ = await ask(engine)
        result = await engine.result(handle)
        assert result.state is GoalState.DENIED
        assert result.failure is not None
        assert result.failure.code == "ApprovalExpired"
        assert "approval.expired" in engine.kinds(handle.id)
        assert [t for t, _, _ in engine.fake.done] == ["look"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"signer": LocalSigner()}, "not made by its gateway"),
        ({"signer": LocalSigner("stranger:v9")}, "not made by its gateway"),
        ({"person": "dana", "groups": ("operators",)}, "asked for this goal"),
        ({"groups": ("developers",)}, "in none of the groups"),
        ({"request_digest": "sha256:" + "0" * 64}, "another version"),
        ({"request_id": "other/ok.0"}, "is for request 'other/ok.0'"),
        ({"decided_at": datetime.now(UTC) + timedelta(days=9)}, "expired"),
        ({"answer": Answer.DENY, "reason": ""}, "gives no reason"),
    ],
)
async def test_a_decision_that_does_not_count_is_recorded_and_changes_nothing(
    engine: Engine, changes: dict[str, Any], why: str
) -> None:
    """Wrong key, wrong person, wrong group, wrong digest, wrong request, too late, no reason."""
    handle, asked = await ask(engine)
    await engine.decide(handle, asked.request, **changes)
    progress = await engine.until(handle, lambda p: bool(p.refused_decisions))
    assert why in progress.refused_decisions[0].why
    assert progress.state is GoalState.AWAITING_APPROVAL
    assert "approval.refused" in engine.kinds(handle.id)
    await handle.terminate()


@pytest.mark.parametrize(
    "signal",
    [
        {"approved": True},
        {"envelope": "yes"},
        {"envelope": {"payloadType": "x", "payload": "!", "signatures": []}},
        "approve",
        None,
        [1, 2],
    ],
)
async def test_a_raw_signal_cannot_approve(engine: Engine, signal: Any) -> None:
    """Whatever `temporal workflow signal` sends, the goal goes on waiting."""
    handle, _ = await ask(engine)
    await engine.signal(handle, signal)
    progress = await engine.until(handle, lambda p: bool(p.refused_decisions))
    assert progress.state is GoalState.AWAITING_APPROVAL
    assert [t for t, _, _ in engine.fake.done] == ["look"]
    await handle.terminate()


async def test_an_unproven_requester_needs_one_more_person(engine: Engine) -> None:
    """Whoever starts a goal with the plain CLI cannot approve it alone under another name."""
    handle, asked = await ask(engine, requester=None)
    assert asked.needed == 2
    await engine.decide(handle, asked.request)
    await engine.decide(handle, asked.request)
    await engine.until(handle, lambda p: p.requests[0].approved_by == ("olive",))
    assert [t for t, _, _ in engine.fake.done] == ["look"]
    await engine.decide(handle, asked.request, person="oscar")
    assert (await engine.result(handle)).state is GoalState.SUCCEEDED


async def test_an_attestation_for_another_goal_proves_nothing(engine: Engine) -> None:
    """What the gateway signed for one goal cannot be sent along with another."""
    contract = plan_of({"id": "a", "uses": "fake.read"})
    goal = await engine.goal_input(contract, "some-goal", requester="olive")
    handle = await engine.start(goal, "another-goal")
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert "another goal" in str(caught.value.cause)
    assert engine.fake.done == []


async def test_what_an_input_makes_risky_is_asked_about_when_it_is_known(
    temporal_server: TemporalServer, tmp_path: Path
) -> None:
    """Policy looks at a bound input: unknown when planning, judged again when it is resolved."""
    policy = """
        permit (principal, action, resource) when { context.risk == "read" };
        permit (principal, action, resource)
          when { context.risk != "read" &&
                 !(context.inputs has value && context.inputs.value == "prod") };
        @approvals("1 of operators") permit (principal, action, resource)
          when { context.risk != "read" &&
                 context.inputs has value && context.inputs.value == "prod" };
    """
    async with running_engine(temporal_server.address, tmp_path, policy=policy) as engine:
        handle = await engine.submit(
            plan_of(
                {"id": "look", "uses": "fake.read", "with": {"value": "prod"}},
                {"id": "act", "uses": "fake.write", "with": {"value": "${{ tasks.look.value }}"}},
            )
        )
        asked = await engine.asked(handle)
        assert [t for t, _, _ in engine.fake.done] == ["look"]
        await engine.decide(handle, asked.request)
        assert (await engine.result(handle)).state is GoalState.SUCCEEDED


async def test_a_decision_that_comes_while_the_goal_is_paused_waits_for_resume(
    engine: Engine,
) -> None:
    """Approval does not override a pause."""
    handle = await engine.submit(
        plan_of({"id": "act", "uses": "fake.write"}, environment="production")
    )
    asked = await engine.asked(handle)
    await handle.execute_update("pause", {"actor": "olive"})
    await engine.decide(handle, asked.request)
    await engine.until(handle, lambda p: p.requests[0].closed == "approved")
    assert engine.fake.done == []
    await handle.execute_update("resume", {})
    assert (await engine.result(handle)).state is GoalState.SUCCEEDED


async def test_hundreds_of_decisions_at_once_count_once(engine: Engine) -> None:
    """A storm of identical clicks is one approval."""
    handle, asked = await ask(engine)
    await asyncio.gather(*(engine.decide(handle, asked.request) for _ in range(120)))
    result = await engine.result(handle)
    assert result.state is GoalState.SUCCEEDED
    assert [t for t, _, _ in engine.fake.done] == ["look", "merge", "deploy"]
