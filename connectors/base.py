"""What every connector shares: the table of its operations, and the way a call finds its method.

It knows no service, and neither Temporal nor Vault.
"""

import errno
from collections.abc import Awaitable, Callable, Mapping
from typing import ClassVar

from goalkeeper.contracts.connector import (
    Happened,
    OperationCall,
    OperationResult,
    Reconciliation,
)
from goalkeeper.domain.base import Model
from goalkeeper.domain.credential import Credentials
from goalkeeper.domain.errors import GoalkeeperError, NotFound, OperationFailed, StoreUnavailable
from goalkeeper.domain.operation import Operation

Handler = Callable[[OperationCall, Credentials], Awaitable[Model]]
"""A method that carries one operation out: validated inputs are in the call."""

Look = Callable[[OperationCall, Credentials], Awaitable[Reconciliation]]
"""A method that finds out what became of a lost attempt, and changes nothing."""

DID_NOT_HAPPEN = Reconciliation(Happened.NO)
CANNOT_TELL = Reconciliation(Happened.CANNOT_TELL)


def happened(outputs: Model) -> Reconciliation:
    """It took effect, and would have answered this."""
    return Reconciliation(Happened.YES, OperationResult(outputs))


def operations(service: str, *declared: Operation) -> Mapping[str, Operation]:
    """The operations of one service by name.

    Raises:
        ValueError: a name is there twice or belongs to another service.
    """
    table: dict[str, Operation] = {}
    for operation in declared:
        if operation.name in table or operation.name.partition(".")[0] != service:
            raise ValueError(f"operation '{operation.name}' does not fit into service '{service}'")
        table[operation.name] = operation
    return table


class ServiceConnector:
    """A connector whose method ``verb_object`` carries out ``service.verb_object``.

    A method ``look_for_verb_object`` says what became of a lost attempt at it.
    """

    service: ClassVar[str]
    operations: ClassVar[Mapping[str, Operation]]

    async def execute(self, call: OperationCall, credentials: Credentials) -> OperationResult:
        """Carry the operation out; implements `goalkeeper.contracts.connector.Connector`."""
        handler: Handler = getattr(self, self._verb(call))
        try:
            return OperationResult(await handler(call, credentials))
        except OSError as error:
            raise from_os_error(error, call.operation) from None

    async def reconcile(self, call: OperationCall, credentials: Credentials) -> Reconciliation:
        """Look what became of an attempt; `goalkeeper.contracts.connector.Reconciling`."""
        look: Look | None = getattr(self, f"look_for_{self._verb(call)}", None)
        if look is None:
            return CANNOT_TELL
        try:
            return await look(call, credentials)
        except OSError as error:
            raise from_os_error(error, call.operation) from None

    def _verb(self, call: OperationCall) -> str:
        if call.operation not in self.operations:
            raise NotFound(
                f"service '{self.service}' has no operation '{call.operation}'; "
                f"it has {', '.join(sorted(self.operations))}"
            )
        return call.operation.partition(".")[2]


def from_os_error(error: OSError, doing: str) -> GoalkeeperError:
    """Ours for what the operating system refused."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreUnavailable(f"'{doing}' found the disk full; free some space, then retry")
    return OperationFailed(
        f"'{doing}' was refused by the operating system: {error.strerror or type(error).__name__}"
    )
