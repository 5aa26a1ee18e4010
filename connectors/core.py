"""Operations that touch nothing: for trying contracts and policies, and for benchmarks.

It may not have any effect.
"""

from connectors.base import DID_NOT_HAPPEN, ServiceConnector, operations
from goalkeeper.contracts.connector import OperationCall, Reconciliation
from goalkeeper.domain.base import Json, Model
from goalkeeper.domain.credential import Credentials
from goalkeeper.domain.operation import Operation, Risk


class Value(Model):
    """Any JSON value; what goes in comes out."""

    value: Json = None


class CoreConnector(ServiceConnector):
    """``core.noop`` takes the whole way of a write, ``core.echo`` the short one of a read."""

    service = "core"
    operations = operations(
        "core",
        Operation(
            name="core.noop",
            summary="Does nothing, and is treated like a change",
            inputs=Value,
            outputs=Value,
            risk=Risk.WRITE,
            idempotent=True,
        ),
        Operation(
            name="core.echo",
            summary="Answers the value that it is given",
            inputs=Value,
            outputs=Value,
            risk=Risk.READ,
            idempotent=True,
            quick=True,
        ),
    )

    async def noop(self, call: OperationCall, _: Credentials) -> Value:
        """Answer the value."""
        inputs: Value = call.inputs
        return inputs

    async def look_for_noop(self, _: OperationCall, __: Credentials) -> Reconciliation:
        """Nothing ever happens."""
        return DID_NOT_HAPPEN

    async def echo(self, call: OperationCall, _: Credentials) -> Value:
        """Answer the value."""
        inputs: Value = call.inputs
        return inputs
