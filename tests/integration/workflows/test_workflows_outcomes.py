"""What is on record of attempts that did not go the straight way."""

import asyncio
import uuid
from typing import Any

import pytest

from goalkeeper.domain.audit import AuditEvent, AuditKind
from goalkeeper.domain.base import digest_of
from goalkeeper.domain.errors import StoreUnavailable
from goalkeeper.domain.plan import GoalState
from tests.support.engine import Engine, plan_of


async def test_what_turns_out_not_to_be_quick_is_on_record_as_it_ended(engine: Engine) -> None:
    """The local attempt that timed out does not stand in for the one that succeeded."""
    handle = await engine.submit(
        plan_of(
            {
                "id": "slow",
                "uses": "fake.quick",
                "with": {"do": "late", "value": 7},
                "timeout": "PT1S",
                "retry": {"maximum_attempts": 1},
            }
        )
    )
    await engine.until(handle, lambda _: engine.fake.tries["slow"] > 1)
    engine.fake.let.set()
    result = await engine.result(handle)
    assert result.state is GoalState.SUCCEEDED
    entries = engine.parts.audit.entries(goal_id=handle.id, kind=AuditKind.TASK_OUTCOME)
    details = [e.event.detail for e in entries]
    assert [d["outcome"] for d in details] == ["cancelled", "succeeded"]
    assert details[-1]["outputs_digest"] == digest_of(result.outputs("slow"))


async def test_a_spent_grant_is_on_record_though_its_first_attempt_could_not_say_so(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempt that spends it may die before the record hears of it; the next one says it."""
    whole, failing = engine.parts.audit.append, [True]

    async def fails(*events: AuditEvent) -> Any:
        if failing[0] and any(e.kind is AuditKind.GRANT_SPENT for e in events):
            failing[0] = False
            raise StoreUnavailable("the disk is full")
        return await whole(*events)

    monkeypatch.setattr(engine.parts.audit, "append", fails)
    handle = await engine.submit(
        plan_of({"id": "wipe", "uses": "fake.destroy"}, environment="production")
    )
    asked = await engine.asked(handle)
    await engine.decide(handle, asked.request)
    assert (await engine.result(handle)).state is GoalState.SUCCEEDED
    assert not failing[0]
    assert engine.kinds(handle.id).count("grant.spent") == 1


async def test_what_was_done_with_a_first_reading_is_undone_after_a_second(engine: Engine) -> None:
    """Under a lock that others had in between, what was read is another by now."""
    lock = f"lock-{uuid.uuid4().hex[:8]}"
    one = await engine.submit(
        plan_of(
            {"id": "find", "uses": "fake.read", "lock": lock, "with": {"do": "count"}},
            {
                "id": "made",
                "uses": "fake.write",
                "lock": lock,
                "with": {"value": "${{ tasks.find.value }}"},
            },
            {
                "id": "wipe",
                "uses": "fake.destroy",
                "lock": lock,
                "needs": ["made"],
                "with": {"do": "fail"},
            },
            environment="production",
        )
    )
    asked = await engine.asked(one)
    while asked.request.task_id != "wipe":
        await engine.decide(one, asked.request)
        await engine.until(one, lambda p: any(r.request.task_id == "wipe" for r in p.requests))
        asked = await engine.asked(one)
    two = await engine.submit(plan_of({"id": "in", "uses": "fake.read", "lock": lock}))
    await engine.result(two)
    await engine.decide(one, asked.request)
    result = await engine.result(one)
    assert engine.fake.tries["find"] == 2
    assert result.state is GoalState.ROLLED_BACK, result.failure
    assert [v for _, op, v in engine.fake.done if op == "fake.undo"] == [[0]]


async def test_a_lock_is_given_back_to_wait_for_people_once_other_work_under_it_is_over(
    engine: Engine,
) -> None:
    """Whoever is asked while another task of the goal works does not keep the lock for ever."""
    lock = f"lock-{uuid.uuid4().hex[:8]}"
    slow = {"id": "slow", "uses": "fake.read", "lock": lock, "with": {"do": "late"}}
    one = await engine.submit(
        plan_of(
            {**slow, "on_failure": "continue"},
            {"id": "wipe", "uses": "fake.destroy", "lock": lock},
            environment="production",
        )
    )
    asked = await engine.asked(one)
    await engine.fake.started.wait()
    two = await engine.submit(plan_of({"id": "in", "uses": "fake.write", "lock": lock}))
    engine.fake.let.set()
    async with asyncio.timeout(20):
        assert (await engine.result(two)).state is GoalState.SUCCEEDED
    await engine.decide(one, asked.request)
    assert (await engine.result(one)).state is GoalState.SUCCEEDED
