"""Planning is the door: what is under way does not wait behind a storm of new goals."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from activities.planning import Planner
from goalkeeper.domain.plan import GoalState
from goalkeeper.embedded.temporal import TemporalServer
from goalkeeper.worker.pools import PLANS
from tests.support.engine import Engine, plan_of, running_engine
from tests.support.live import until


class Door:
    """Planning that can be held up, and counts who is at it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.inside = 0
        self.most = 0
        plan = Planner.plan

        async def held(planner: Planner, *args: Any, **more: Any) -> Any:
            self.inside += 1
            self.most = max(self.most, self.inside)
            try:
                await self.open.wait()
                return await plan(planner, *args, **more)
            finally:
                self.inside -= 1

        monkeypatch.setattr(Planner, "plan", held)


@pytest.fixture
async def engine(temporal_server: TemporalServer, tmp_path: Path) -> AsyncIterator[Engine]:
    """One with room for fewer activities than there are new goals."""
    async with running_engine(temporal_server.address, tmp_path, worker_activities=10) as found:
        yield found


async def test_a_decision_is_carried_out_while_new_goals_wait_to_be_planned(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are: a few are planned at a time, and they take nobody's room."""
    door = Door(monkeypatch)
    waiting = await engine.submit(
        plan_of({"id": "a", "uses": "fake.write"}, environment="production")
    )
    asked = await engine.asked(waiting)
    door.open.clear()
    storm = [await engine.submit(plan_of({"id": "b", "uses": "fake.write"})) for _ in range(30)]

    async def full() -> bool:
        return door.inside == PLANS

    await until(full, "as many plans as are made at a time")
    await engine.decide(waiting, asked.request)
    assert (await engine.result(waiting)).state is GoalState.SUCCEEDED
    assert door.inside == PLANS
    door.open.set()
    for goal in storm:
        assert (await engine.result(goal)).state is GoalState.SUCCEEDED
    assert door.most == PLANS
