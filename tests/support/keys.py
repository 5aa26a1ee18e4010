"""Payload keys without a Vault: what tests of the codec read instead."""

import base64
import os
from collections.abc import Mapping

from pydantic import SecretStr
from temporalio.api.common.v1 import Payload

from goalkeeper.domain.errors import VaultUnavailable
from goalkeeper.payloads import PayloadKeys
from goalkeeper.payloads.codec import parts_of


class LocalKeys:
    """Keys in memory, to rotate, to lose, and to be away."""

    def __init__(self) -> None:
        self.held: dict[str, SecretStr] = {}
        self.away = False
        self.reads = 0
        self.rotate()

    def rotate(self) -> str:
        """Add a key; its id."""
        key_id = f"k{len(self.held) + 1}"
        self.held[key_id] = SecretStr(base64.b64encode(os.urandom(32)).decode())
        return key_id

    async def read(self) -> Mapping[str, SecretStr]:
        """As Vault would answer."""
        self.reads += 1
        if self.away:
            raise VaultUnavailable("Vault does not answer")
        return dict(self.held)

    def process(self) -> PayloadKeys:
        """What one process makes of them."""
        return PayloadKeys(self.read)


def relabelled(sealed: Payload, key_id: str) -> Payload:
    """The same, said to be sealed with another key."""
    _, content = parts_of(sealed)
    return Payload(metadata=dict(sealed.metadata), data=key_id.encode() + b"\0" + content)
