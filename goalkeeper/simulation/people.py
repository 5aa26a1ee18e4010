"""The people of a simulation: a gateway's key, and who answers what and when.

Their decisions are signed for real, so that a goal verifies them as it always does; the key is
worth nothing outside of the simulation.
"""

import base64
import hashlib
from datetime import datetime, timedelta
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field

from goalkeeper.contracts.goal import OpenRequest
from goalkeeper.domain.approval import DECISION_TYPE, Answer, Decision
from goalkeeper.domain.base import Model, canonical
from goalkeeper.domain.dsse import Envelope, Signature, pre_authentication_encoding

_KEY_ID = "simulation:v1"


class Answering(Model):
    """What people answer to the requests of one task, and how soon."""

    answer: Answer | None = Answer.APPROVE
    """None: nobody answers."""
    after: Annotated[timedelta, Field(ge=timedelta(0))] = timedelta(minutes=5)
    """From the request on, for each of those who answer."""


class Gateway:
    """Signs decisions in the name of people who do not exist."""

    def __init__(self, seed: int = 0) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"%d" % seed).digest())

    @property
    def keys(self) -> dict[str, str]:
        """Key id → base64 of the public key, as goals get them."""
        raw = self._key.public_key().public_bytes_raw()
        return {_KEY_ID: base64.b64encode(raw).decode()}

    def decide(self, asked: OpenRequest, answer: Answer, at: datetime, *, number: int) -> Envelope:
        """The answer of the so-and-so-manieth person who may answer."""
        request = asked.request
        decision = Decision(
            id=f"simulated-{request.id}-{number}"[-200:],
            request_id=request.id,
            request_digest=asked.digest,
            goal_id=request.goal_id,
            answer=answer,
            person=f"approver-{number}",
            groups=request.requirement.groups,
            reason="simulated",
            channel="simulation",
            decided_at=at,
        )
        payload = canonical(decision)
        signed = self._key.sign(pre_authentication_encoding(DECISION_TYPE, payload))
        signature = Signature(keyid=_KEY_ID, sig=base64.b64encode(signed).decode())
        return Envelope(
            payloadType=DECISION_TYPE,
            payload=base64.b64encode(payload).decode(),
            signatures=(signature,),
        )
