"""Replaying goals that a real worker has carried out, from its audit log and from their plans."""

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from goalkeeper.cli.past import on_record, with_plans
from goalkeeper.client import Client
from goalkeeper.domain.plan import GoalState
from goalkeeper.domain.policy import Effect
from goalkeeper.embedded.temporal import TemporalServer
from goalkeeper.policy import PolicyEngine
from goalkeeper.policy.replaying import PastGoal, replay
from tests.support.engine import Engine, plan_of, running_engine

SHIP: tuple[dict[str, Any], ...] = (
    {"id": "look", "uses": "fake.read", "with": {"value": "v2"}},
    {"id": "ok", "uses": "approval", "covers": ["merge", "deploy"], "show": ["look"]},
    {"id": "merge", "uses": "fake.write", "with": {"value": "${{ tasks.look.value }}"}},
    {"id": "deploy", "uses": "fake.write", "with": {"value": "big"}, "needs": ["merge"]},
)
STRICTER = PolicyEngine(
    """
    @id("read") permit (principal, action, resource) when { context.risk == "read" };
    @id("two") @approvals("2 of operators") permit (principal, action, resource)
    unless { context.risk == "read" };
    @id("big") forbid (principal, action, resource)
    when { context.inputs has value && context.inputs.value == "big" };
    """
)


@pytest.fixture
async def engine(temporal_server: TemporalServer, tmp_path: Path) -> AsyncIterator[Engine]:
    """A worker with fresh stores, a fake connector and a fake Vault."""
    async with running_engine(temporal_server.address, tmp_path) as made:
        yield made


@pytest.fixture
async def shipped(engine: Engine) -> list[PastGoal]:
    """One goal that was approved and carried out, as it is on record."""
    handle = await engine.submit(plan_of(*SHIP, environment="production"))
    asked = await engine.asked(handle)
    await engine.decide(handle, asked.request)
    assert (await engine.result(handle)).state is GoalState.SUCCEEDED
    since = datetime.now(UTC) - timedelta(hours=1)
    return on_record(engine.parts.audit, since, {"dana": ("developers",)})


async def test_the_record_alone_knows_what_ran_and_what_was_asked(
    shipped: list[PastGoal],
) -> None:
    """Under the policy of then nothing differs; under another, inputs may still decide."""
    (goal,) = shipped
    was = {a.task: a.was for a in goal.actions}
    assert was == {"look": Effect.ALLOW, "merge": Effect.ASK, "deploy": Effect.ASK}
    assert replay(shipped, PolicyEngine.load()).changes == ()
    found = replay(shipped, STRICTER)
    assert found.counts == {}
    assert {c.task for c in found.uncertain} == {"look", "merge", "deploy"}


async def test_with_the_plan_all_is_known_but_what_is_bound_to_an_output(
    engine: Engine, shipped: list[PastGoal], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The finished goal itself answers."""
    for name in set(os.environ) & {"GOALKEEPER_TOKEN", "GOALKEEPER_AS"}:
        monkeypatch.delenv(name)
    async with Client.connect(engine.settings) as client:
        goals, missing = await with_plans(shipped, client)
    assert missing == 0
    assert replay(goals, PolicyEngine.load()).changes == ()
    found = replay(goals, STRICTER)
    assert found.counts == {"ask -> ask": 1, "ask -> deny": 1}
    changes = {c.task: c for c in found.changes}
    assert (changes["merge"].was, changes["merge"].now) == (
        "ask 1 of operators",
        "ask 2 of operators",
    )
    assert [d.rule for d in changes["merge"].depends] == ["big"]
    assert (changes["deploy"].now, changes["deploy"].depends) == ("deny", ())
    assert found.goals_now == {"deny": 1}
