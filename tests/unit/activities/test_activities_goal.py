"""The activities as Temporal runs them: alive while they work, cancelled or detached in order."""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.testing import ActivityEnvironment

from activities.goal import GoalActivities
from activities.work import effect_key
from goalkeeper.contracts.activities import Asker, CleanUpInput, CompensateInput, ExecuteInput
from goalkeeper.contracts.connector import (
    Happened,
    OperationCall,
    OperationResult,
    Reconciliation,
)
from goalkeeper.domain.approval import Action, Requester
from goalkeeper.domain.credential import Credentials
from goalkeeper.domain.errors import (
    ApprovalNeeded,
    GrantMismatch,
    InvalidGoal,
    OutcomeUnknown,
    VaultUnavailable,
)
from tests.support.fakes import FakeRegistry
from tests.unit.activities.attempting import Bench, Knowing, Told, answer
from tests.unit.domain.approving import an_action

ASKER = Asker(requester=Requester(id="dana"), contract="test", run="run-1")


def activities(desk: Bench, connector: Told) -> GoalActivities:
    """The worker's activities, with one connector."""
    return GoalActivities(replace(desk.parts, registry=FakeRegistry((connector,))))


def environment(**info: Any) -> ActivityEnvironment:
    """As if the goal's own workflow had scheduled it."""
    made = ActivityEnvironment()
    made.info = replace(
        made.info,
        **{
            "workflow_id": "ship-1",
            "workflow_run_id": "run-1",
            "attempt": 1,
            "is_local": False,
            **info,
        },
    )
    return made


def given(operation: str = "work.read", **changes: Any) -> ExecuteInput:
    """One action of the goal, in development."""
    fields = {"environment": "development", "inputs": {"value": 1}, **changes}
    return ExecuteInput(action=an_action(operation=operation, **fields), asker=ASKER)


class Held:
    """A connector that works until it is let go."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.detaching: bool | None = None
        self.go = asyncio.Event()

    async def __call__(self, call: OperationCall, _: Credentials) -> OperationResult:
        """Wait, and look why if the wait is cancelled."""
        self.began.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.detaching = call.detaching()
            raise
        return answer()


def started(env: ActivityEnvironment, desk: Bench, held: Held) -> "asyncio.Task[Any]":
    """The activity, running in its environment."""
    running: Awaitable[Any] = env.run(activities(desk, Told(held)).execute, given())
    return asyncio.ensure_future(running)


@pytest.mark.parametrize(("is_local", "beats"), [(False, True), (True, False)])
async def test_an_attempt_says_that_it_is_alive(
    desk: Bench, monkeypatch: pytest.MonkeyPatch, is_local: bool, beats: bool
) -> None:
    """While it works and no longer; a local activity has no heartbeat."""
    monkeypatch.setattr("activities.goal._BEAT", timedelta(0))
    env, held, beaten = environment(is_local=is_local), Held(), asyncio.Event()
    env.on_heartbeat = lambda *_: beaten.set()
    running = started(env, desk, held)
    await held.began.wait()
    if beats:
        await beaten.wait()
    held.go.set()
    await running
    assert beaten.is_set() is beats
    assert [t for t in asyncio.all_tasks() if "beating" in repr(t) and not t.cancelling()] == []


@pytest.mark.parametrize(
    ("details", "outcome"),
    [
        (ActivityCancellationDetails(cancel_requested=True), "cancelled"),
        (ActivityCancellationDetails(worker_shutdown=True), "detached"),
    ],
)
async def test_a_cancelled_attempt_knows_whether_only_the_worker_stops(
    desk: Bench, details: ActivityCancellationDetails, outcome: str
) -> None:
    """Then what runs outside is left running, for the next attempt to find."""
    env, held = environment(), Held()
    running = started(env, desk, held)
    await held.began.wait()
    env.cancel(cancellation_details=details)
    with pytest.raises(asyncio.CancelledError):
        await running
    assert held.detaching is (outcome == "detached")
    assert desk.last["outcome"] == outcome
    assert desk.vault.alive == {}


async def test_what_policy_asks_about_does_not_run_without_a_grant(desk: Bench) -> None:
    """It is refused before a lease, and on record."""
    connector = Told()
    with pytest.raises(ApprovalNeeded):
        await environment().run(
            activities(desk, connector).execute, given("work.write", environment="production")
        )
    assert connector.calls == []
    assert desk.kinds == ["task.refused"]
    assert desk.vault.lent == []


async def test_an_action_of_another_goal_does_not_run(desk: Bench) -> None:
    """The workflow that asks is not the one that it names."""
    connector = Told()
    with pytest.raises(GrantMismatch, match="belongs to goal 'ship-1'"):
        await environment(workflow_id="ship-2").run(activities(desk, connector).execute, given())
    assert connector.calls == []
    assert desk.kinds == ["task.refused"]


@pytest.mark.parametrize(
    "changes", [{"inputs": {"valeu": 1}}, {"operation": "work.dance"}], ids=["inputs", "operation"]
)
async def test_what_no_connector_takes_is_the_goal_s_fault(
    desk: Bench, changes: dict[str, Any]
) -> None:
    """Unknown operations and inputs of another shape."""
    with pytest.raises(InvalidGoal):
        await environment().run(activities(desk, Told()).execute, given(**changes))


async def test_cleaning_up_ends_the_goal_s_leases_and_is_repeated_until_it_is_done(
    desk: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sealed Vault fails the activity, which Temporal then repeats; other goals keep theirs."""

    async def opened(accessor: str, expires_at: Any) -> None:
        for goal_id, name in (("ship-1", accessor), ("ship-2", "theirs")):
            await desk.parts.ledger.lease_opened(
                name, role="r", goal_id=goal_id, task_id="t", holder="h", expires_at=expires_at
            )

    await desk.vault.lease("r", ["token"], ttl=timedelta(minutes=1), meta={}, opened=opened)
    made, revoke = activities(desk, Told()), desk.vault.revoke

    async def sealed(_: str) -> None:
        raise VaultUnavailable("sealed")

    monkeypatch.setattr(desk.vault, "revoke", sealed)
    with pytest.raises(VaultUnavailable):
        await environment().run(made.clean_up, CleanUpInput(goal_id="ship-1"))
    monkeypatch.setattr(desk.vault, "revoke", revoke)
    await environment().run(made.clean_up, CleanUpInput(goal_id="ship-1"))
    assert desk.vault.alive == {}
    assert [lease.goal_id for lease in await desk.parts.ledger.open_leases()] == ["ship-2"]


@pytest.mark.parametrize("containers", [True, False])
async def test_the_engine_is_asked_only_where_something_ran_in_a_sandbox(
    desk: Bench, containers: bool
) -> None:
    """A goal without any comes to its end while the engine is down."""
    asked: list[str] = []

    async def release(goal_id: str) -> None:
        asked.append(goal_id)

    made = GoalActivities(replace(desk.parts, release=release))
    given = CleanUpInput(goal_id="ship-1", containers=containers)
    await environment().run(made.clean_up, given)
    assert asked == ["ship-1"] * containers


@pytest.mark.parametrize("happened", [Happened.YES, Happened.NO, Happened.CANNOT_TELL])
async def test_undoing_asks_first_what_became_of_a_lost_attempt(
    desk: Bench, happened: Happened
) -> None:
    """What took effect is undone, what did not is forgotten, and a riddle stays one."""
    found = Reconciliation(happened, answer("there") if happened is Happened.YES else None)
    connector = Knowing(lambda *_: found)
    made, order = activities(desk, connector), given("work.once", credentials={})
    assert isinstance(order.action, Action)
    forward = made._actual(order.action)
    key = effect_key(forward, ASKER)
    await desk.parts.ledger.begin(
        key,
        goal_id="ship-1",
        task_id="merge",
        operation="work.once",
        action_digest=forward.digest,
        attempt=1,
    )
    undoing = environment().run(made.compensate, CompensateInput(action=forward, asker=ASKER))
    if happened is Happened.CANNOT_TELL:
        with pytest.raises(OutcomeUnknown):
            await undoing
    else:
        await undoing
    effect = await desk.parts.ledger.effect(key)
    states = {Happened.YES: "undone", Happened.CANNOT_TELL: "started"}
    assert (effect.state if effect else None) == states.get(happened)
    done = [(c.operation, c.inputs.value) for c in connector.calls]
    assert done == ([("work.undo", "there")] if happened is Happened.YES else [])
