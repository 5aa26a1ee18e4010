"""The inbox: which approval requests are open, and one request by its id.

It reads Temporal's visibility and asks each goal; it keeps nothing between two readings.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from goalkeeper.contracts.goal import OpenRequest
from goalkeeper.domain.errors import NotFound, ServiceUnavailable
from hitl.goals import Goals
from hitl.metrics import OPEN_REQUESTS

_log = structlog.get_logger(__name__)

_AT_A_TIME = 16
_GOALS = 500


@dataclass(frozen=True)
class Survey:
    """One reading of all goals that wait."""

    requests: list[OpenRequest]
    goals: int
    silent: int
    """Goals that did not answer now; they may hold requests."""


class Inbox:
    """Open requests of all goals."""

    def __init__(self, goals: Goals, now: Callable[[], datetime]) -> None:
        self._goals = goals
        self._now = now

    async def open_requests(self) -> list[OpenRequest]:
        """Those that can still be decided, the one that expires first at the top.

        A goal that cannot be read is left out and logged.

        Raises:
            ServiceUnavailable: Temporal does not answer, or not one of the waiting goals does.
        """
        found = await self.survey()
        if found.silent and found.silent == found.goals:
            raise ServiceUnavailable(
                f"none of the {found.goals} waiting goals answers: the worker is busy or down "
                "(`goalkeeper status`). Nothing was lost; try again."
            )
        return found.requests

    async def survey(self) -> Survey:
        """The open requests, and how many goals could not be asked.

        Raises:
            ServiceUnavailable: Temporal does not answer.
        """
        turn = asyncio.Semaphore(_AT_A_TIME)

        async def read(goal_id: str) -> list[OpenRequest] | None:
            async with turn:
                try:
                    return _ours(goal_id, await self._goals.approvals(goal_id))
                except (NotFound, ServiceUnavailable) as error:
                    _log.warning("goal left out of the inbox", goal_id=goal_id, why=error.message)
                    return [] if isinstance(error, NotFound) else None

        ids = await self._goals.waiting(_GOALS)
        answers = await asyncio.gather(*(read(i) for i in ids))
        found = [r for a in answers for r in a or () if self._is_open(r)]
        OPEN_REQUESTS.set(len(found))
        found.sort(key=lambda r: (r.request.expires_at, r.request.id))
        return Survey(requests=found, goals=len(ids), silent=answers.count(None))

    async def find(self, request_id: str) -> OpenRequest:
        """One request, open or closed.

        Raises:
            NotFound: no such goal, or the goal has no such request.
            ServiceUnavailable: Temporal or the goal's worker does not answer.
        """
        goal_id, slash, _ = request_id.partition("/")
        if not slash or not goal_id:
            raise NotFound(
                f"'{request_id[:200]}' is not the id of a request; it looks like GOAL/TASK.0"
            )
        for found in _ours(goal_id, await self._goals.approvals(goal_id)):
            if found.request.id == request_id:
                return found
        raise NotFound(f"goal '{goal_id}' has no approval request '{request_id[:200]}'")

    def _is_open(self, found: OpenRequest) -> bool:
        return found.closed is None and self._now() < found.request.expires_at


def _ours(goal_id: str, answered: list[OpenRequest]) -> list[OpenRequest]:
    """Only requests that the goal may make: a workflow cannot ask in the name of another."""
    return [
        a
        for a in answered
        if a.request.goal_id == goal_id
        and a.request.id.startswith(goal_id + "/")
        and all(action.goal_id == goal_id for action in a.request.actions)
    ]
