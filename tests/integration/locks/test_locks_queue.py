"""Named locks on a real Temporal: who gets one, who waits, and how one comes free."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.exceptions import ActivityError, ApplicationError

from goalkeeper.contracts.locks import (
    SIGNAL_ACQUIRE,
    SIGNAL_RELEASE,
    UPDATE_BREAK,
    WORKFLOW,
    LockView,
    workflow_id,
)
from tests.support.holder import Holder, HolderInput
from tests.support.locks import Stand


async def broken(stand: Stand, reason: str = "it hangs") -> LockView:
    """The lock after a person has broken it."""
    view: LockView = await stand.lock().execute_update(
        UPDATE_BREAK, {"reason": reason, "actor": "olive"}, result_type=LockView
    )
    return view


async def test_who_asked_first_has_the_lock_first(stand: Stand) -> None:
    """The others wait in the order in which they came."""
    first = await stand.holder()
    others = []
    for _ in range(3):
        others.append(await stand.goal())
        await others[-1].queued()
    assert await stand.queue() == [g.id for g in others]
    assert (await others[0].view()).waiting_for == (stand.name,)
    order = [first, *others]
    for now, after in pairwise(order):
        assert (await after.view()).held is False
        await now.handle.execute_update(Holder.release)
        await after.until(lambda v: v.held)
        assert [h.goal_id for h in (await stand.view()).holders] == [after.id]
    assert [(await g.view()).tokens.get(stand.name) for g in order] == [None, None, None, 4]


async def test_every_grant_and_every_return_is_on_record(stand: Stand) -> None:
    """Under the lock's own workflow id, and with the goal that it is about."""
    first = await stand.holder()
    second = await stand.goal()
    await second.queued()
    await first.end()
    await second.until(lambda v: v.held)
    await second.end()
    await stand.until(lambda v: not v.holders)
    await stand.goal()
    await stand.until(lambda v: v.token == 3)
    assert stand.record()[:4] == [
        ("lock.granted", first.id),
        ("lock.released", first.id),
        ("lock.granted", second.id),
        ("lock.released", second.id),
    ]


async def test_nothing_is_granted_while_the_record_cannot_be_written(stand: Stand) -> None:
    """The lock waits with its record, and goes on when that can be written again."""
    stand.recorder.full = True
    try:
        goal = await stand.goal()
        await stand.until(lambda v: bool(v.holders))
        assert (await goal.view()).held is False
    finally:
        # A worker does not shut down while it repeats a local activity.
        stand.recorder.full = False
    await goal.until(lambda v: v.held)
    assert stand.record() == [("lock.granted", goal.id)]


async def test_a_holder_that_is_gone_is_found_when_somebody_queues_behind_it(
    stand: Stand,
) -> None:
    """A goal that Temporal ended from outside gives nothing back by itself."""
    gone = await stand.holder()
    await gone.handle.terminate("out of memory")
    after = await stand.holder()
    assert stand.record() == [
        ("lock.granted", gone.id),
        ("lock.released", gone.id),
        ("lock.granted", after.id),
    ]


async def test_a_holder_that_goes_while_others_wait_is_found_too(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A held lock looks for its holders at intervals, and lets those be that still run."""
    monkeypatch.setattr("workflows.locks._WATCH", 0.2)
    gone = await stand.holder()
    after = await stand.goal()
    await after.queued()
    assert (await gone.view()).held
    await gone.handle.terminate("out of memory")
    await after.until(lambda v: v.held)


async def test_a_goal_that_is_gone_when_its_turn_comes_loses_it(stand: Stand) -> None:
    """The next one gets the lock at once."""
    first = await stand.holder()
    gone, after = await stand.goal(), await stand.goal()
    await gone.queued()
    await after.queued()
    await gone.handle.terminate("out of memory")
    await first.handle.execute_update(Holder.release)
    await after.until(lambda v: v.held)
    assert await stand.queue() == []


async def test_a_cancelled_goal_leaves_the_queue(stand: Stand) -> None:
    """Nobody waits behind a goal that wants nothing any more."""
    first = await stand.holder()
    waiting = await stand.goal()
    await waiting.queued()
    await waiting.handle.cancel()
    await stand.until(lambda v: not v.queue)
    assert [h.goal_id for h in (await stand.view()).holders] == [first.id]


async def test_a_person_breaks_a_lock_and_the_next_in_the_queue_has_it(stand: Stand) -> None:
    """With a reason, on record under the name that the person gave."""
    holder = await stand.holder()
    after = await stand.goal()
    await after.queued()
    view = await broken(stand)
    assert [h.goal_id for h in view.holders] == [after.id]
    await after.until(lambda v: v.held)
    [entry] = [
        e.event
        for e in stand.audit.entries(goal_id=workflow_id(stand.name))
        if e.event.kind == "lock.broken"
    ]
    assert entry.actor == "claimed:olive"
    assert entry.detail["goal"] == holder.id
    assert entry.detail["reason"] == "it hangs"


async def test_a_broken_holder_takes_nothing_from_the_next_one(stand: Stand) -> None:
    """It goes on and gives back what it has no longer."""
    holder = await stand.holder()
    after = await stand.goal()
    await after.queued()
    await broken(stand)
    await after.until(lambda v: v.held)
    await holder.end()
    await stand.holder("other-" + stand.name)
    assert [h.goal_id for h in (await stand.view()).holders] == [after.id]


@pytest.mark.parametrize(
    ("held", "control", "code"),
    [
        (True, {"reason": "  "}, "InvalidGoal"),
        (False, {"reason": "it hangs"}, "Conflict"),
        (True, {"reson": "it hangs"}, None),
        (True, 7, None),
    ],
)
async def test_what_makes_no_sense_breaks_nothing(
    stand: Stand, held: bool, control: Any, code: str | None
) -> None:
    """Without a reason, without a holder, or not understood."""
    holder = await stand.holder()
    if not held:
        await holder.handle.execute_update(Holder.release)
        await stand.until(lambda v: not v.holders)
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await stand.lock().execute_update(UPDATE_BREAK, control)
    if code is not None:
        assert isinstance(caught.value.cause, ApplicationError)
        assert caught.value.cause.type == code
    assert (await stand.view()).token == 1
    assert bool((await stand.view()).holders) is held


async def test_a_goal_shares_its_lock_with_its_children(stand: Stand) -> None:
    """Also past others who wait; those have it when the last of the family gave it back."""
    parent = await stand.holder()
    stranger = await stand.goal()
    await stranger.queued()
    child = await stand.holder(owner=parent.id)
    assert (await child.view()).tokens == (await parent.view()).tokens
    await parent.end()
    await stand.until(lambda v: [h.goal_id for h in v.holders] == [child.id])
    assert (await stranger.view()).held is False
    await child.end()
    await stranger.until(lambda v: v.held)


async def test_children_that_wait_have_their_turn_together(stand: Stand) -> None:
    """One of a family in the queue speaks for all."""
    first = await stand.holder()
    family = [await stand.goal(owner="root") for _ in range(2)]
    for child in family:
        await child.queued()
    await first.end()
    for child in family:
        await child.until(lambda v: v.held)
    assert (await stand.view()).token == 2


async def test_a_request_that_is_repeated_is_one_claim(stand: Stand) -> None:
    """Queued or granted: an attempt that is repeated must not take a second turn."""
    holder = await stand.holder()
    waiting = await stand.goal()
    await waiting.queued()
    view = await stand.view()
    for claim in (*view.holders, *view.queue) * 3:
        again = {"name": stand.name, **claim.model_dump(mode="json", exclude={"since"})}
        await stand.lock().signal(SIGNAL_ACQUIRE, again)
    await holder.end()
    await waiting.until(lambda v: v.held)
    await waiting.end()
    view = await stand.until(lambda v: not v.holders)
    assert view.token == 2
    assert len(stand.record()) == 4


async def test_a_grant_that_comes_too_late_is_given_back_at_once(stand: Stand) -> None:
    """A request that was on its way when the goal gave its locks back takes no turn."""
    goal = await stand.holder()
    [claim] = (await stand.view()).holders
    await goal.handle.execute_update(Holder.release)
    late = {"name": stand.name, **claim.model_dump(mode="json", exclude={"since"})}
    await stand.lock().signal(SIGNAL_ACQUIRE, late)
    view = await stand.until(lambda v: v.token == 2 and not v.holders)
    assert view.queue == ()
    assert (await goal.view()).held is False


async def test_an_old_grant_is_not_taken_for_a_new_one(stand: Stand) -> None:
    """A goal that let go and waits again is not fooled by a grant of the first time."""
    goal = await stand.holder()
    [old] = (await stand.view()).holders
    await goal.handle.execute_update(Holder.let_go)
    other = await stand.holder()
    await goal.handle.signal(Holder.want)
    await goal.queued()
    await goal.handle.signal("lock_granted", {"name": stand.name, "token": 1, "claim": old.claim})
    assert (await goal.view()).held is False
    assert await stand.queue() == [goal.id]
    await other.end()
    await goal.until(lambda v: v.held)


@pytest.mark.parametrize(
    "signal", [None, 7, "x", [], {}, {"goal_id": "../x"}, {"goal_id": "a", "more": 1}]
)
async def test_a_malformed_signal_changes_nothing(stand: Stand, signal: Any) -> None:
    """Neither for a lock nor for a goal."""
    holder = await stand.holder()
    waiting = await stand.goal()
    await waiting.queued()
    for name in (SIGNAL_ACQUIRE, SIGNAL_RELEASE, "no-such-signal"):
        await stand.lock().signal(name, signal)
    await waiting.handle.signal("lock_granted", signal)
    assert [h.goal_id for h in (await stand.view()).holders] == [holder.id]
    assert await stand.queue() == [waiting.id]
    assert (await waiting.view()).held is False
    await holder.end()
    await waiting.until(lambda v: v.held)


async def test_a_lock_that_nobody_else_had_comes_back_as_it_was(stand: Stand) -> None:
    """What the goal has read meanwhile still holds."""
    goal = await stand.holder()
    await goal.handle.execute_update(Holder.let_go)
    assert (await stand.until(lambda v: not v.holders)).queue == ()
    await goal.handle.signal(Holder.want)
    view = await goal.until(lambda v: len(v.moves) == 2)
    assert view.moves == (False, False)


async def test_every_task_hears_once_that_somebody_had_the_lock_in_between(stand: Stand) -> None:
    """Whoever waited, and also who asks only when the lock is there already."""
    goal = await stand.holder()
    await goal.handle.execute_update(Holder.let_go)
    other = await stand.holder()
    for who in ("a", "b"):
        await goal.handle.signal(Holder.want, who)
    await goal.queued()
    await other.end()
    await goal.until(lambda v: len(v.moves) == 3)
    for count, who in enumerate(("c", "a", "c"), start=4):
        await goal.handle.signal(Holder.want, who)
        view = await goal.until(lambda v, count=count: len(v.moves) == count)  # type: ignore[misc]
    assert view.moves == (False, True, True, True, False, False)


async def test_a_lock_that_was_broken_in_between_counts_as_had_by_somebody(stand: Stand) -> None:
    """Who breaks a lock means to do something with what it guards."""
    goal = await stand.holder()
    await broken(stand)
    await goal.handle.execute_update(Holder.let_go)
    await goal.handle.signal(Holder.want)
    assert (await goal.until(lambda v: len(v.moves) == 2)).moves == (False, True)


async def test_a_task_that_gives_up_leaves_the_others_waiting(stand: Stand) -> None:
    """Whoever asks after it takes up the same place in the queue."""
    holder = await stand.holder()
    goal = await stand.goal()
    await goal.queued()
    place = (await stand.view()).queue
    await goal.handle.signal(Holder.give_up)
    await goal.handle.signal(Holder.want)
    await holder.end()
    await goal.until(lambda v: v.moves == (False,))
    assert (await stand.view()).holders[0].claim == place[0].claim


async def test_goals_with_several_locks_never_wait_for_each_other(stand: Stand) -> None:
    """They name them in any order, and take them in one."""
    locks = [f"{stand.name}-{x}" for x in "abc"]
    goals = []
    for i in range(6):
        names = locks if i % 2 else locks[::-1]
        goals.append(await stand.goal(*names, want=False, work=True))
    async with asyncio.timeout(120):
        for goal in goals:
            await goal.handle.result()
    for name in locks:
        record = stand.record(name)
        # Never two at a time: each grant is followed by the same goal's return.
        assert record[:11:2] == [("lock.granted", g) for _, g in record[:11:2]]
        assert record[1:10:2] == [("lock.released", g) for _, g in record[:10:2]]
        assert sorted(g for _, g in record[:11:2]) == sorted(g.id for g in goals)


@pytest.mark.parametrize(
    ("ident", "given"),
    [
        ("own", {"name": "NAME", "token": 5}),
        (
            "own",
            {
                "name": "NAME",
                "holders": [{"goal_id": "x", "owner": "x", "since": "2030-01-01T00:00:00Z"}],
            },
        ),
        ("own", {"name": "another"}),
        ("own", {}),
        ("own", None),
        ("foreign", {"name": "NAME"}),
    ],
)
async def test_nobody_starts_a_lock_by_hand(stand: Stand, ident: str, given: Any) -> None:
    """Its state comes from continue-as-new, its id from its name."""
    if isinstance(given, dict) and given.get("name") == "NAME":
        given = {**given, "name": stand.name}
    handle = await stand.client.start_workflow(
        WORKFLOW,
        given,
        id=workflow_id(stand.name) if ident == "own" else f"foreign-{stand.name}",
        task_queue=stand.settings.task_queue,
    )
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.type == "InvalidGoal"
    assert await (await stand.holder()).view()


async def test_a_workflow_that_took_a_locks_id_is_named(stand: Stand) -> None:
    """The goal fails with what to do about it, instead of waiting for ever."""
    await stand.client.start_workflow(
        Holder.run,
        HolderInput(names=()),
        id=workflow_id(stand.name),
        task_queue=stand.settings.task_queue,
    )
    goal = await stand.goal(want=False, work=True)
    with pytest.raises(WorkflowFailureError) as caught:
        await goal.handle.result()
    assert isinstance(caught.value.cause, ActivityError)
    why = caught.value.cause.cause
    assert isinstance(why, ApplicationError)
    assert why.type == "Conflict"
    assert "'Holder'" in why.message
