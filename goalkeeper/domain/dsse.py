"""Signed statements: DSSE envelopes with Ed25519, verified against known public keys.

It verifies and it encodes; who holds a private key is not known here.
Source of the encoding: the DSSE protocol, version 1.0.2 (Pre-Authentication Encoding).
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Annotated, Protocol, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import BaseModel, Field, ValidationError

from goalkeeper.domain.base import Model, canonical
from goalkeeper.domain.errors import GrantMismatch

M = TypeVar("M", bound=BaseModel)

PublicKeys = Mapping[str, str]
"""Key id → base64 of the raw 32 bytes of an Ed25519 public key."""

_LARGEST = 512 * 1024


class Signature(Model):
    """One signature of an envelope."""

    keyid: Annotated[str, Field(max_length=200)]
    sig: Annotated[str, Field(max_length=200)]
    """Standard base64 of 64 bytes."""


class Envelope(Model):
    """A DSSE envelope: the payload and its type are both under the signature."""

    payloadType: Annotated[str, Field(max_length=200)]
    payload: Annotated[str, Field(max_length=_LARGEST)]
    """Standard base64."""
    signatures: Annotated[tuple[Signature, ...], Field(min_length=1, max_length=8)]


class Signer(Protocol):
    """Whoever holds a private key: Vault Transit, or a local key in tests."""

    async def sign(self, message: bytes) -> Signature:
        """Sign the bytes with the current key."""
        ...


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """The bytes that DSSE signs: ``DSSEv1 len type len payload``."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


async def seal(statement: BaseModel, payload_type: str, signer: Signer) -> Envelope:
    """Sign the canonical form of a statement."""
    payload = canonical(statement)
    signature = await signer.sign(pre_authentication_encoding(payload_type, payload))
    return Envelope(
        payloadType=payload_type,
        payload=base64.b64encode(payload).decode(),
        signatures=(signature,),
    )


def open_envelope(envelope: Envelope, model: type[M], payload_type: str, keys: PublicKeys) -> M:
    """The statement inside, once one signature by a known key holds.

    Raises:
        GrantMismatch: wrong type, no known key, bad signature, or a payload that is not `model`.
    """
    if envelope.payloadType != payload_type:
        raise GrantMismatch(
            f"the signed statement is of type '{envelope.payloadType[:80]}', not '{payload_type}'"
        )
    try:
        payload = base64.b64decode(envelope.payload, validate=True)
    except binascii.Error:
        raise GrantMismatch("the signed statement's payload is not base64") from None
    message = pre_authentication_encoding(payload_type, payload)
    if not any(_holds(s, message, keys) for s in envelope.signatures):
        raise GrantMismatch(
            "no signature by a key that this installation trusts: the "
            "statement was not made by its gateway"
        )
    try:
        return model.model_validate_json(payload)
    except ValidationError:
        raise GrantMismatch(f"the signed statement is not a {model.__name__}") from None


def _holds(signature: Signature, message: bytes, keys: PublicKeys) -> bool:
    known = keys.get(signature.keyid)
    if known is None:
        return False
    try:
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(known))
        public.verify(base64.b64decode(signature.sig, validate=True), message)
    except (InvalidSignature, ValueError):
        return False
    return True
