"""Bringing recorded decisions to their goals, also after Temporal or the gateway was down.

It makes no decision and changes none: what it signals is the envelope that the audit log holds.
"""

import asyncio
from collections.abc import Sequence

import structlog

from goalkeeper.contracts.goal import OpenRequest
from goalkeeper.domain.approval import Answer, Question
from goalkeeper.domain.errors import (
    Conflict,
    GoalkeeperError,
    NotFound,
    ServiceUnavailable,
    TransientError,
)
from hitl.goals import Goals
from hitl.inbox import Inbox
from hitl.metrics import UNDELIVERED
from hitl.record import Record, Recorded

_log = structlog.get_logger(__name__)

BACKOFF = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds between attempts; the last one repeats."""


class Delivery:
    """Signals decisions; what cannot be signalled now is kept and tried again by `run`."""

    def __init__(
        self, goals: Goals, inbox: Inbox, record: Record, *, backoff: Sequence[float] = BACKOFF
    ) -> None:
        self._goals = goals
        self._inbox = inbox
        self._record = record
        self._backoff = backoff
        self._left: dict[str, Recorded] = {}
        self._some = asyncio.Event()

    async def deliver(self, decision: Recorded) -> None:
        """Signal a decision now.

        Raises:
            Conflict: the goal is gone.
            ServiceUnavailable: Temporal does not answer. The decision is recorded and will be
                signalled as soon as it does.
        """
        try:
            await self._goals.deliver(decision.goal_id, decision.envelope)
        except NotFound:
            raise Conflict(
                f"Your answer is recorded, but goal '{decision.goal_id}' has ended meanwhile."
            ) from None
        except ServiceUnavailable:
            self._keep(decision)
            raise ServiceUnavailable(
                "Your answer is recorded and signed, but Temporal does not answer. It is sent as "
                "soon as Temporal is back; you need not answer again."
            ) from None

    async def run(self) -> None:
        """Catch up with what an earlier gateway left, and deliver what `deliver` could not."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._catch_up())
            both.create_task(self._drain())

    async def _catch_up(self) -> None:
        """Find decisions on open requests that were recorded and that their goals do not show."""
        attempt = 0
        while not await self._looked_everywhere():
            await self._pause(attempt)
            attempt += 1

    async def _looked_everywhere(self) -> bool:
        try:
            survey = await self._inbox.survey()
            lost = [d for found in survey.requests for d in await self._lost(found)]
        except TransientError as error:
            _log.warning("cannot look for lost decisions yet", why=error.message)
            return False
        for decision in lost:
            _log.warning("decision was recorded but not signalled", decision=decision.decision_id)
            self._keep(decision)
        return survey.silent == 0

    async def _lost(self, found: OpenRequest) -> list[Recorded]:
        recorded = await self._record.of(found.request)
        if found.request.question is Question.OUTCOME:
            recorded = _standing(recorded, found)
        return [
            decision
            for decision in recorded
            if decision.answer is Answer.DENY or decision.person not in found.approved_by
        ]

    async def _drain(self) -> None:
        attempt = 0
        while True:
            await self._some.wait()
            attempt = 0 if await self._try_all() else attempt + 1
            if attempt:
                await self._pause(attempt)

    async def _try_all(self) -> bool:
        for key, decision in list(self._left.items()):
            try:
                await self._goals.deliver(decision.goal_id, decision.envelope)
            except TransientError:
                return False
            except GoalkeeperError as error:
                _log.warning("decision came too late", decision=key, why=error.message)
            else:
                _log.info("decision delivered late", decision=key, goal_id=decision.goal_id)
            self._left.pop(key, None)
        UNDELIVERED.set(len(self._left))
        if not self._left:
            self._some.clear()
        return True

    def _keep(self, decision: Recorded) -> None:
        self._left[decision.decision_id] = decision
        UNDELIVERED.set(len(self._left))
        self._some.set()

    async def _pause(self, attempt: int) -> None:
        await asyncio.sleep(self._backoff[min(attempt, len(self._backoff) - 1)])


def _standing(recorded: Sequence[Recorded], found: OpenRequest) -> list[Recorded]:
    """Without the answers that a contradiction has voided: sent again, they would void it."""
    standing = list(recorded)
    counted = [i for i, d in enumerate(recorded) if d.person in found.approved_by]
    for place in range(counted[-1] if counted else 0):
        if recorded[place].answer is not recorded[place + 1].answer:
            standing = list(recorded[place + 1 :])
    return standing
