"""The credentials of one attempt: lent before it, revoked after it, whatever becomes of it.

It decides nothing about who may have which; Vault and policy have.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from pydantic import SecretStr

from activities.parts import Parts
from goalkeeper.contracts.connector import OperationCall
from goalkeeper.domain.audit import AuditEvent, AuditKind
from goalkeeper.domain.base import Json, digest_of
from goalkeeper.domain.errors import TransientError
from goalkeeper.telemetry import LEASES

log = structlog.get_logger(__name__)

Record = Callable[[AuditKind, str, dict[str, Json]], Awaitable[None]]


class Leases:
    """What one attempt has borrowed.

    Args:
        parts: ledger, Vault and audit log.
        call: whose attempt.
        roles: credential slot → role.
        ttl: for how long the credentials may live.
        record: appends to the attempt's own audit events.
    """

    def __init__(
        self,
        parts: Parts,
        call: OperationCall,
        roles: Mapping[str, str],
        ttl: timedelta,
        record: Record,
    ) -> None:
        self._parts = parts
        self._call = call
        self._roles = roles
        self._ttl = ttl
        self._record = record
        self._alive: list[str] = []
        self._secrets: dict[str, SecretStr] | None = None

    @property
    def any(self) -> bool:
        """Whether there is a secret to be careful with."""
        return bool(self._alive)

    async def borrow(self) -> Mapping[str, SecretStr]:
        """Slot → secret: one lease for each role, the same again when asked again.

        Raises:
            CredentialDenied: Vault's policy forbids it.
            VaultUnavailable: Vault does not answer.
        """
        if self._secrets is not None:
            return self._secrets
        call = self._call
        slots: dict[str, list[str]] = {}
        for slot, role in sorted(self._roles.items()):
            slots.setdefault(role, []).append(slot)
        secrets: dict[str, SecretStr] = {}
        for role, names in slots.items():
            lease = await self._parts.vault.lease(
                role,
                names,
                ttl=self._ttl,
                meta={"goal": call.goal_id, "task": call.task_id, "attempt": str(call.attempt)},
                opened=self._opened(role),
            )
            secrets.update(lease.secrets)
        self._secrets = secrets
        return secrets

    async def give_back(self) -> None:
        """Revoke what this attempt has borrowed."""
        for accessor in self._alive:
            await self._revoke(accessor)
            LEASES.dec()

    async def revoke_lost(self) -> None:
        """Revoke what an attempt of the same work left behind when its worker died."""
        call = self._call
        for lease in await self._parts.ledger.open_leases(
            goal_id=call.goal_id, task_id=call.task_id
        ):
            if lease.holder == call.key:
                await self._revoke(lease.accessor)

    def _opened(self, role: str) -> Callable[[str, datetime], Any]:
        async def opened(accessor: str, expires_at: datetime) -> None:
            call = self._call
            await self._parts.ledger.lease_opened(
                accessor,
                role=role,
                goal_id=call.goal_id,
                task_id=call.task_id,
                holder=call.key,
                expires_at=expires_at,
            )
            self._alive.append(accessor)
            LEASES.inc()
            await self._record(
                AuditKind.CREDENTIAL_LEASED,
                f"leased/{role}",
                {
                    "role": role,
                    "accessor": digest_of(accessor.encode()),
                    "expires_at": expires_at.isoformat(),
                },
            )

        return opened

    async def _revoke(self, accessor: str) -> None:
        """Revoke now, or leave it to the goal's clean-up, which retries until it is done."""
        call = self._call
        try:
            await revoke_lease(self._parts, accessor, goal_id=call.goal_id, task_id=call.task_id)
        except TransientError as error:
            log.warning("lease not revoked yet", why=error.message)


async def revoke_lease(parts: Parts, accessor: str, *, goal_id: str, task_id: str) -> None:
    """Revoke one lease, close it in the ledger and put it on record.

    Raises:
        VaultUnavailable: it is still alive and still in the ledger.
    """
    await parts.vault.revoke(accessor)
    await parts.ledger.lease_closed(accessor)
    name = digest_of(accessor.encode())
    await parts.audit.append(
        AuditEvent(
            id=f"revoked/{name}",
            time=datetime.now(UTC),
            kind=AuditKind.CREDENTIAL_REVOKED,
            actor="worker",
            goal_id=goal_id,
            task_id=task_id,
            detail={"accessor": name},
        )
    )
