"""The storm's people: they submit goals, approve what is asked, and say what became of the lost.

They click again when something is down, as people do; they know nothing that people could not.
"""

import asyncio
from collections.abc import Mapping

from goalkeeper.client import Client, Goal
from goalkeeper.contracts.goal import OpenRequest
from goalkeeper.domain.approval import Answer, Question
from goalkeeper.domain.contract import Contract
from goalkeeper.domain.errors import Conflict, GoalkeeperError, NotFound, TransientError
from goalkeeper.settings import Settings
from tests.chaos.killer import TimeLine
from tests.chaos.witness import Book

_LOOK_EVERY = 0.3
_AGAIN = 0.3


async def submit(settings: Settings, contract: Contract, goal_id: str) -> Goal:
    """Submit until it is in; the same id makes the repetition harmless."""
    while True:
        # A new client each time: a Vault or gateway that was away must not spoil it for ever.
        client = Client.connect(settings, as_person="developer")
        try:
            return await client.submit(contract, goal_id=goal_id)
        except TransientError:
            await asyncio.sleep(_AGAIN)
        finally:
            await client.aclose()


class Approver:
    """Approves everything, and answers questions about lost attempts from the book."""

    def __init__(self, settings: Settings, book: Book, line: TimeLine) -> None:
        self._settings = settings
        self._book = book
        self._line = line
        self.answered: dict[str, Answer] = {}
        """Request id → what was said."""

    async def run(self) -> None:
        """Look into the inbox again and again, until cancelled."""
        async with Client.connect(self._settings, as_person="operator") as client:
            while True:
                try:
                    for request in await client.inbox():
                        await self._answer(client, request)
                except TransientError:
                    pass
                await asyncio.sleep(_LOOK_EVERY)

    async def _answer(self, client: Client, open_request: OpenRequest) -> None:
        request = open_request.request
        answer = self._opinion(open_request)
        try:
            await client.decide(
                request.id, answer, reason="looked at the book", digest=open_request.digest
            )
        except (Conflict, NotFound):
            return  # Decided, withdrawn or over since the inbox was read.
        except TransientError:
            raise
        except GoalkeeperError as error:
            self._line.note(f"decision on {request.id} refused: {error.message}")
            return
        self.answered[request.id] = answer

    def _opinion(self, open_request: OpenRequest) -> Answer:
        request = open_request.request
        if request.question is Question.RUN:
            return Answer.APPROVE
        known: Mapping[tuple[str, str, int], bool] = {
            (line.goal_id, line.task_id, line.generation): True for line in self._book.lines()
        }
        action = request.actions[0]
        happened = known.get((action.goal_id, action.task_id, action.generation), False)
        return Answer.HAPPENED if happened else Answer.DID_NOT_HAPPEN
