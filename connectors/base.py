"""What every connector shares: the table of its operations, and the way a call finds its method.

It knows no service, and neither Temporal nor Vault.
"""

import errno
from collections.abc import Awaitable, Callable, Mapping
from typing import ClassVar

from goalkeeper.contracts.connector import OperationCall, OperationResult
from goalkeeper.domain.base import Model
from goalkeeper.domain.credential import Credentials
from goalkeeper.domain.errors import GoalkeeperError, NotFound, OperationFailed, StoreUnavailable
from goalkeeper.domain.operation import Operation

Handler = Callable[[OperationCall, Credentials], Awaitable[Model]]
"""A method that carries one operation out: validated inputs are in the call."""


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
    """A connector whose method ``verb_object`` carries out ``service.verb_object``."""

    service: ClassVar[str]
    operations: ClassVar[Mapping[str, Operation]]

    async def execute(self, call: OperationCall, credentials: Credentials) -> OperationResult:
        """Carry the operation out; implements `goalkeeper.contracts.connector.Connector`."""
        if call.operation not in self.operations:
            raise NotFound(
                f"service '{self.service}' has no operation '{call.operation}'; "
                f"it has {', '.join(sorted(self.operations))}"
            )
        handler: Handler = getattr(self, call.operation.partition(".")[2])
        try:
            return OperationResult(await handler(call, credentials))
        except OSError as error:
            raise from_os_error(error, call.operation) from None


def from_os_error(error: OSError, doing: str) -> GoalkeeperError:
    """Ours for what the operating system refused."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreUnavailable(f"'{doing}' found the disk full; free some space, then retry")
    return OperationFailed(
        f"'{doing}' was refused by the operating system: {error.strerror or type(error).__name__}"
    )
