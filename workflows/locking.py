"""A goal's side of named locks: asking for them, waiting, giving them back.

It asks for all locks of a goal together, in the order of their names, so that two goals never
wait for each other. Who gets a lock next is for the lock's own workflow to say.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import FailureError

from goalkeeper.contracts.activities import LOCK, LockRequest
from goalkeeper.contracts.goal import CarriedLocks, LockGranted
from goalkeeper.contracts.locks import SIGNAL_RELEASE, LockRelease, workflow_id
from goalkeeper.domain.base import Name
from workflows.approvals import CarriedOver

_ASK_AGAIN = timedelta(hours=1)
"""A goal that still waits asks again: somebody may have ended the lock's workflow."""


def _never() -> bool:
    return False


class Locks:
    """The named locks of one goal: it has all of them, or is on its way to, or wants none."""

    def __init__(
        self,
        names: Sequence[Name],
        *,
        goal_id: str,
        owner: str,
        carried: CarriedLocks,
        changed: Callable[[], None],
        carrying: Callable[[], bool] = _never,
    ) -> None:
        """Take up where `carried` left off; nothing is asked for yet.

        Args:
            names: every lock that the plan names.
            goal_id: who is told about grants.
            owner: the goal at the top, which shares its locks with its children.
            carried: of the run before.
            changed: called when a grant has come.
            carrying: whether waiting has to stop, since the workflow continues as new.
        """
        self._names = tuple(sorted(dict.fromkeys(names)))
        self._goal_id, self._owner = goal_id, owner
        self._changed, self._carrying = changed, carrying
        self._claim = carried.claim
        """Empty while no lock is wanted."""
        self._held = {n: t for n, t in carried.held.items() if n in self._names}
        self._lost = dict(carried.lost)
        self._moves = carried.moves
        """How often somebody else had one of the locks in between."""
        self._heard = dict(carried.heard)
        """Task → of how many of these it knows."""
        self._returning: Counter[str] = Counter()
        """Locks that are being given back: asking again has to come after."""
        self._turn = asyncio.Lock()
        self.hold_until: datetime | None = carried.hold_until
        """When a goal that holds on while people are asked has to let go."""

    @property
    def held(self) -> bool:
        """Whether the goal has all of its locks."""
        return all(n in self._held for n in self._names)

    @property
    def waiting_for(self) -> tuple[Name, ...]:
        """Which locks are wanted and not there yet."""
        return tuple(n for n in self._names if n not in self._held) if self._claim else ()

    def carry(self) -> CarriedLocks:
        """What the next run needs: the locks themselves stay with the goal."""
        return CarriedLocks(
            wanted=bool(self._claim),
            held=self._held,
            lost=self._lost,
            moves=self._moves,
            heard=self._heard,
            claim=self._claim,
            hold_until=self.hold_until,
        )

    async def acquire(self, who: str = "") -> bool:
        """Wait until the goal has all of its locks; many tasks may wait at once.

        Args:
            who: which task asks; each one hears of a change of hands once.

        Returns:
            Whether somebody else had one of them after a `let_go`, and `who` has not heard of it.

        Raises:
            CarriedOver: the workflow continues as new; the place in the queue is kept.
            FailureError: a lock could not be asked for.
        """
        if not self.held:
            async with self._turn:
                while not self.held:
                    if self._carrying():
                        raise CarriedOver
                    await self._take(next(n for n in self._names if n not in self._held))
        if any(self._held.get(n) not in (t, t + 1) for n, t in self._lost.items()):
            self._moves += 1
        self._lost = {}
        news = self._moves > self._heard.get(who, 0)
        self.heard([who])
        return news

    def is_behind(self, who: str) -> bool:
        """Whether somebody else has had one of the locks since this task ran under them."""
        return self._moves > self._heard.get(who, 0)

    def heard(self, who: Iterable[str]) -> None:
        """These tasks need not be told: they begin again anyway."""
        if self._moves:
            self._heard.update(dict.fromkeys(who, self._moves))

    async def _take(self, name: Name) -> None:
        """Ask for one lock and wait for it, or for a reason to stop waiting."""
        await workflow.wait_condition(lambda: not self._returning[name])
        claim = self._claim = self._claim or str(workflow.uuid4())
        await self._request(name, claim)
        try:
            await workflow.wait_condition(
                lambda: name in self._held or self._claim != claim or self._carrying(),
                timeout=_ASK_AGAIN,
                timeout_summary=f"ask for lock {name} again",
            )
        except TimeoutError:
            return

    async def _request(self, name: Name, claim: str) -> None:
        # Not a local one: those are lost with each eviction, and people see this one as pending.
        await workflow.execute_activity(
            LOCK,
            LockRequest(name=name, goal_id=self._goal_id, owner=self._owner, claim=claim),
            start_to_close_timeout=timedelta(seconds=30),
            retry_policy=RetryPolicy(
                initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=30)
            ),
            summary=f"ask for lock {name}",
        )

    async def release(self) -> None:
        """Give everything back, or leave the queue, and forget."""
        self._lost, self._heard, self._moves = {}, {}, 0
        await self._end_claim()

    async def let_go(self) -> None:
        """Give everything back while people are asked, and remember what the goal had."""
        # What has not been compared since the last time is still to be.
        self._lost = {**self._held, **self._lost}
        await self._end_claim()

    async def _end_claim(self) -> None:
        claim, self._claim, self.hold_until = self._claim, "", None
        asked = [n for n in self._names if n in self._held]
        if claim and len(asked) < len(self._names):
            # The one after those that came: its place in the queue.
            asked.append(next(n for n in self._names if n not in self._held))
        self._held = {}
        for name in asked:
            self._returning[name] += 1
        returns = [asyncio.create_task(self._give_back(n, claim)) for n in asked]
        if returns:
            # A cancellation in between must not keep a lock from coming back.
            await asyncio.shield(asyncio.gather(*returns))

    async def granted(self, signal: Any) -> None:
        """Take a grant in; one that nobody waits for any more is given back at once."""
        try:
            grant = LockGranted.model_validate(signal)
        except ValidationError:
            workflow.logger.warning("ignored a signal that grants no lock")
            return
        if grant.name in self._names and self._claim and grant.claim == self._claim:
            self._held[grant.name] = grant.token
            self._changed()
            return
        self._returning[grant.name] += 1
        await self._give_back(grant.name, grant.claim)

    async def _give_back(self, name: Name, claim: str) -> None:
        lock = workflow.get_external_workflow_handle(workflow_id(name))
        try:
            await lock.signal(SIGNAL_RELEASE, LockRelease(goal_id=self._goal_id, claim=claim))
        except FailureError:
            workflow.logger.info("lock '%s' is gone, so there is nothing to give back", name)
        finally:
            self._returning[name] -= 1
