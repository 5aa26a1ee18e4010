"""Reading and writing payloads for others: what a codec server does, without its HTTP.

It does not find out who asks; the gateway does, and the token of the Temporal UI is kept here.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr
from temporalio.api.common.v1 import Payload

from goalkeeper.domain.errors import AuditBroken, NotFound, PayloadUnreadable
from goalkeeper.payloads.claim_check import ClaimCheck, claim_check
from goalkeeper.payloads.codec import Codec, is_sealed
from goalkeeper.payloads.keys import PayloadKeys
from goalkeeper.settings import Settings

_LOOPBACK = {"127.0.0.1", "localhost"}


@dataclass(frozen=True)
class PayloadAccess:
    """One installation's payloads, for programs that speak Temporal's codec protocol."""

    codec: Codec
    claims: ClaimCheck
    namespace: str
    origins: frozenset[str]
    """Where the Temporal UI is served from: no other page gets an answer."""
    ui_token: SecretStr | None = None
    """What the Temporal UI was given; None where it is to show ciphertext."""

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """In clear; what does not open stays as it is, so that one of them hides no other.

        Raises:
            VaultUnavailable, CredentialDenied: the keys cannot be had at the moment.
            StoreUnavailable: the store of large payloads cannot be read.
        """
        return [await self._decoded(p) for p in payloads]

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Sealed; raises as `decode` does, but for the store."""
        return await self.codec.encode(payloads)

    def is_ui(self, token: str) -> bool:
        """Whether this is what the Temporal UI was given."""
        expected = self.ui_token.get_secret_value() if self.ui_token else ""
        return bool(expected) and hmac.compare_digest(token.encode(), expected.encode())

    async def _decoded(self, payload: Payload) -> Payload:
        try:
            found = await self.claims.resolve(payload)
            return await self.codec.open(found) if is_sealed(found) else found
        except (PayloadUnreadable, NotFound, AuditBroken):
            return payload


def payload_access(settings: Settings, keys: PayloadKeys) -> PayloadAccess:
    """The installation's, for one process that holds its keys."""
    return PayloadAccess(
        codec=Codec(keys, settings.temporal_namespace, encrypt=settings.payload_encryption),
        claims=claim_check(settings),
        namespace=settings.temporal_namespace,
        origins=_origins(settings.temporal_ui_url),
        ui_token=_ui_token(settings),
    )


def ui_token_file(state: Path) -> Path:
    """Where the embedded stack keeps the token that it gave to the Temporal UI."""
    return state / "run" / "ui-codec.token"


def _ui_token(settings: Settings) -> SecretStr | None:
    try:
        token = ui_token_file(settings.state).read_text().strip()
    except OSError:
        return None
    return SecretStr(token) if token and settings.ui_payloads else None


def _origins(ui_url: str) -> frozenset[str]:
    """The UI's origin; on loopback by either name, since both reach it."""
    parts = urlsplit(ui_url)
    if parts.hostname not in _LOOPBACK:
        return frozenset({f"{parts.scheme}://{parts.netloc}"})
    port = f":{parts.port}" if parts.port else ""
    return frozenset(f"{parts.scheme}://{name}{port}" for name in _LOOPBACK)
