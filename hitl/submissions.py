"""Attestations: the gateway's signed word that a person submitted exactly this goal.

It authenticates nobody itself: the caller hands in a person who has been.
"""

from collections.abc import Callable
from datetime import datetime

import structlog

from goalkeeper.domain.approval import SUBMISSION_TYPE, Submission
from goalkeeper.domain.dsse import Envelope, Signer, seal
from goalkeeper.identities import Person
from hitl.metrics import SUBMISSIONS

_log = structlog.get_logger(__name__)


class Submissions:
    """Signs submissions."""

    def __init__(self, signer: Signer, now: Callable[[], datetime]) -> None:
        self._signer = signer
        self._now = now

    async def attest(self, person: Person, goal_id: str, input_digest: str) -> Envelope:
        """The statement that this person submits the goal with this input.

        Args:
            person: who was authenticated.
            goal_id: the id under which the goal will start.
            input_digest: `GoalInput.digest` of what will start.

        Raises:
            VaultUnavailable: nothing can be signed now.
        """
        submission = Submission(
            goal_id=goal_id, person=person.id, input_digest=input_digest, at=self._now()
        )
        envelope = await seal(submission, SUBMISSION_TYPE, self._signer)
        SUBMISSIONS.inc()
        _log.info("submission attested", goal_id=goal_id, person=person.id, input=input_digest)
        return envelope
