"""The payload keys in the memory of one process: which there are, and which one seals.

It may not write or log one; where they come from is handed in.
"""

import asyncio
import base64
import binascii
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import structlog
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from goalkeeper.domain.errors import CredentialDenied, GoalkeeperError
from goalkeeper.settings import Settings

log = structlog.get_logger(__name__)

Read = Callable[[], Awaitable[Mapping[str, SecretStr]]]
"""Fetches the keys: id → base64 of 32 bytes.

Raises:
    VaultUnavailable: Vault does not answer; retrying helps.
    CredentialDenied: this process may not read them, or there are none.
"""

REFRESH_SECONDS = 300.0
"""How long a process may go on sealing with a key after another became the current one."""
_PAUSE = 2.0
"""Between two look-ups of ids that nobody knows: such a payload may be made up."""
_NEXT = 16
"""Of so many ids above the current one, each is looked up once without that pause: it may be that
of a key just made, and what looks unreadable now would be read, and acted on, in a replay."""
_ID = re.compile(r"k([1-9][0-9]{0,8})")
_BYTES = 32


@dataclass(frozen=True)
class KeyRing:
    """All keys at one moment. The one with the highest number is the current one."""

    ciphers: Mapping[str, AESGCM]
    current: str

    @classmethod
    def of(cls, fields: Mapping[str, SecretStr]) -> "KeyRing":
        """From what Vault holds.

        Raises:
            CredentialDenied: there is none, or one of them is not a key.
        """
        if not fields:
            raise CredentialDenied("Vault holds no payload key: `goalkeeper up` makes the first")
        current = max(fields, key=_number)
        return cls({i: _cipher(i, secret) for i, secret in fields.items()}, current)


def _number(key_id: str) -> int:
    found = _ID.fullmatch(key_id)
    if found is None:
        raise CredentialDenied(
            f"Vault's payload keys hold a field '{key_id[:40]}', and the ids are k1, k2 and so on: "
            "remove it"
        )
    return int(found[1])


class PayloadKeys:
    """The keys of one process, read at first use and again when they may have changed."""

    def __init__(self, read: Read, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._ring: KeyRing | None = None
        self._read_at = 0.0
        """When the latest reading began: what is newer than that it may not have seen."""
        self._missed: set[str] = set()
        """Ids of keys to come that Vault did not hold when it was asked."""
        self._reading = asyncio.Lock()
        self._refreshing: asyncio.Task[None] | None = None

    async def ring(self) -> KeyRing:
        """The keys; at most `REFRESH_SECONDS` old while Vault answers.

        Raises:
            VaultUnavailable, CredentialDenied: they were never read so far, and cannot be now.
        """
        if self._ring is None:
            # Whoever reads them first reads them for all.
            await self._reread(since=0.0)
        elif self._clock() - self._read_at > REFRESH_SECONDS and self._refreshing is None:
            # In the background: nobody's task waits for Vault because of it.
            self._refreshing = asyncio.create_task(self._refresh(), name="payload-keys")
        assert self._ring is not None
        return self._ring

    async def find(self, key_id: str) -> AESGCM | None:
        """A key by its id; Vault is asked again where it is not known yet.

        Raises:
            VaultUnavailable, CredentialDenied: Vault could not be asked.
        """
        ring = await self.ring()
        if key_id in ring.ciphers:
            return ring.ciphers[key_id]
        to_come = _may_follow(key_id, ring.current)
        if (to_come and key_id not in self._missed) or self._clock() - self._read_at > _PAUSE:
            ring = await self._reread(since=self._clock())
            if to_come and key_id not in ring.ciphers:
                self._missed.add(key_id)
        return ring.ciphers.get(key_id)

    async def _reread(self, *, since: float) -> KeyRing:
        """Read, unless somebody else has done so since."""
        async with self._reading:
            if self._ring is None or self._read_at < since:
                began = self._clock()
                ring = KeyRing.of(await self._read())
                self._ring, self._read_at = ring, began
            return self._ring

    async def _refresh(self) -> None:
        try:
            await self._reread(since=self._clock())
        except GoalkeeperError as error:
            log.warning("payload keys not refreshed", code=error.code, why=error.message)
            # The keys at hand go on serving; the next try comes after the usual time.
            self._read_at = self._clock()
        finally:
            self._refreshing = None


def _may_follow(key_id: str, current: str) -> bool:
    found = _ID.fullmatch(key_id)
    return found is not None and 0 < int(found[1]) - _number(current) <= _NEXT


def client_keys(settings: Settings) -> PayloadKeys:
    """The keys as the clients of an installation get them: by the login that clients share."""

    async def read() -> Mapping[str, SecretStr]:
        # hvac takes longer to load than most commands to run, and few of them need it.
        from goalkeeper.vault_keys import read_as_client

        return await asyncio.to_thread(read_as_client, settings)

    return PayloadKeys(read)


def _cipher(key_id: str, secret: SecretStr) -> AESGCM:
    try:
        raw = base64.b64decode(secret.get_secret_value(), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != _BYTES:
        raise CredentialDenied(
            f"payload key '{key_id}' in Vault is not {_BYTES} bytes in base64: restore its earlier "
            "version, since what it sealed cannot be read without it"
        )
    return AESGCM(raw)
