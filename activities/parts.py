"""What activities work with, handed in by the worker.

It declares and holds; it opens nothing.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from goalkeeper.audit import AuditLog
from goalkeeper.catalogue import Catalogue
from goalkeeper.contracts.connector import Connector
from goalkeeper.contracts.goal import Pool
from goalkeeper.domain.credential import Credentials
from goalkeeper.domain.errors import InvalidGoal
from goalkeeper.domain.operation import Operation
from goalkeeper.evidence import EvidenceStore
from goalkeeper.identities import Identities
from goalkeeper.ledger import Ledger
from goalkeeper.policy import PolicyEngine


class Leased(Protocol):
    """A credential, alive until its accessor is revoked."""

    @property
    def accessor(self) -> str:
        """What revokes it."""
        ...

    @property
    def secrets(self) -> Credentials:
        """Slot → secret."""
        ...


class Leaser(Protocol):
    """Whoever lends credentials: `goalkeeper.vault.Vault`."""

    async def lease(
        self,
        ref_role: str,
        slots: Sequence[str],
        *,
        ttl: timedelta,
        meta: Mapping[str, str],
        opened: Callable[[str, datetime], Awaitable[None]],
    ) -> Leased:
        """Borrow what a role may read; `opened` is awaited before anything is read."""
        ...

    async def revoke(self, accessor: str) -> None:
        """End it; one that is unknown has ended."""
        ...

    async def public_keys(self) -> dict[str, str]:
        """The gateway's public keys."""
        ...


class Registry(Protocol):
    """The installed connectors."""

    @property
    def operations(self) -> Mapping[str, Operation]:
        """Every operation by its name."""
        ...

    def connector_for(self, operation: str) -> Connector:
        """Who carries it out."""
        ...


@dataclass(frozen=True)
class Parts:
    """Everything that an activity may touch."""

    registry: Registry
    policy: PolicyEngine
    identities: Identities
    catalogue: Catalogue
    vault: Leaser
    audit: AuditLog
    ledger: Ledger
    evidence: EvidenceStore
    window: int
    release: Callable[[str], Awaitable[None]]
    """Removes what a goal left in the sandbox."""
    pools: tuple[Pool, ...] = ()
    """The worker pools that have a task queue of their own."""

    def operation(self, name: str) -> Operation:
        """The declaration of an installed operation.

        Raises:
            InvalidGoal: no connector of this worker has it.
        """
        found = self.registry.operations.get(name)
        if found is None:
            raise InvalidGoal(
                f"no connector of this worker has the operation '{name}'. "
                "Was the plan made by another version? Submit the goal again."
            )
        return found
