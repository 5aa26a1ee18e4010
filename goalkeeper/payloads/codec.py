"""The payload codec: AES-256-GCM over the whole payload, small enough for history.

It works in the event loop, but for what is large: handing a small payload to a thread costs ten
times as much as sealing it. What was never sealed passes through, so that `temporal workflow start`
works as it is.
"""

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import EncodingPayloadConverter, PayloadCodec

from goalkeeper.domain.errors import PayloadUnreadable
from goalkeeper.payloads.keys import KeyRing, PayloadKeys
from goalkeeper.payloads.packing import pack, unpack

SEALED = b"binary/encrypted"
_UNREADABLE = b"binary/unreadable"
_NONCE = 12
_END = b"\0"
"""Of the key's id. As metadata the id would take eleven bytes more, of each payload in history."""
_LARGE = 256 * 1024
"""Bytes; packing as many holds the event loop up for several milliseconds."""


class Codec(PayloadCodec):
    """Seals what goes to Temporal and opens what comes from there.

    A sealed payload is ``key id ‖ 0 ‖ nonce ‖ AES-256-GCM(packed payload)``; namespace and key id
    are authenticated with it, so that it opens nowhere else.

    Args:
        keys: of this process.
        namespace: Temporal's.
        encrypt: False seals nothing and still opens what was sealed before.
    """

    def __init__(self, keys: PayloadKeys, namespace: str, *, encrypt: bool = True) -> None:
        self._keys = keys
        self._namespace = namespace
        self._encrypt = encrypt

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Seal.

        Raises:
            VaultUnavailable, CredentialDenied: this process has no keys yet and gets none.
        """
        if not self._encrypt:
            return list(payloads)
        ring = await self._keys.ring()
        return [
            await asyncio.to_thread(self._seal, p, ring) if _is_large(p) else self._seal(p, ring)
            for p in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Open; what cannot be opened fails where its value is used, and nothing else with it.

        Otherwise one made-up signal would fail every workflow task of a goal from then on.

        Raises:
            VaultUnavailable, CredentialDenied: the keys cannot be had at the moment.
        """
        return [await self._decoded(p) if is_sealed(p) else p for p in payloads]

    async def open(self, payload: Payload) -> Payload:
        """Open one sealed payload.

        Raises:
            PayloadUnreadable: its key is not known here, or it was changed.
            VaultUnavailable, CredentialDenied: the keys cannot be had at the moment.
        """
        key_id, content = parts_of(payload)
        cipher = await self._keys.find(key_id)
        if cipher is None:
            raise PayloadUnreadable(
                f"a payload was sealed with key '{key_id}', which this installation's Vault does "
                "not hold: it comes from elsewhere, or the key was lost. See `goalkeeper keys list`"
            )
        if _is_large(payload):
            return await asyncio.to_thread(self._opened, content, key_id, cipher)
        return self._opened(content, key_id, cipher)

    async def _decoded(self, payload: Payload) -> Payload:
        try:
            return await self.open(payload)
        except PayloadUnreadable as error:
            return Payload(metadata={"encoding": _UNREADABLE}, data=error.message.encode())

    def _opened(self, content: bytes, key_id: str, cipher: AESGCM) -> Payload:
        nonce, sealed = content[:_NONCE], content[_NONCE:]
        try:
            plain = cipher.decrypt(nonce, sealed, self._bound_to(key_id))
        except (InvalidTag, ValueError):
            raise PayloadUnreadable(
                f"a payload sealed with key '{key_id}' does not open: it was changed, cut off, or "
                f"belongs to another Temporal namespace than '{self._namespace}'"
            ) from None
        return _parsed(unpack(plain))

    def _seal(self, payload: Payload, ring: KeyRing) -> Payload:
        nonce = os.urandom(_NONCE)
        sealed = ring.ciphers[ring.current].encrypt(
            nonce, pack(payload.SerializeToString()), self._bound_to(ring.current)
        )
        data = b"".join((ring.current.encode(), _END, nonce, sealed))
        return Payload(metadata={"encoding": SEALED}, data=data)

    def _bound_to(self, key_id: str) -> bytes:
        return f"goalkeeper-payload/1 {self._namespace} {key_id}".encode()


class UnreadablePayloadConverter(EncodingPayloadConverter):
    """Raises for a payload that could not be opened, where its value is asked for."""

    @property
    def encoding(self) -> str:
        """See base class."""
        return _UNREADABLE.decode()

    def to_payload(self, value: Any) -> Payload | None:
        """Makes none."""
        return None

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        """See base class.

        Raises:
            PayloadUnreadable: always.
        """
        raise PayloadUnreadable(payload.data.decode(errors="replace"))


def is_sealed(payload: Payload) -> bool:
    """Whether the codec made it."""
    return payload.metadata.get("encoding") == SEALED


def parts_of(sealed: Payload) -> tuple[str, bytes]:
    """The id of the key that a payload says it was sealed with, and what was sealed."""
    key_id, _, content = sealed.data.partition(_END)
    return key_id[:40].decode(errors="replace"), content


def _is_large(payload: Payload) -> bool:
    return len(payload.data) >= _LARGE


def _parsed(plain: bytes) -> Payload:
    try:
        return Payload.FromString(plain)
    except DecodeError:
        raise PayloadUnreadable("a payload opens, but to something that is none") from None
