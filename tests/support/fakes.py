"""Fakes that implement the project's own protocols."""

import asyncio
import base64
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr

from goalkeeper.contracts.connector import Connector, OperationCall, OperationResult
from goalkeeper.domain.base import Json, Model
from goalkeeper.domain.credential import Credentials
from goalkeeper.domain.dsse import Signature
from goalkeeper.domain.errors import OperationFailed, ServiceUnavailable
from goalkeeper.domain.operation import Compensation, Operation, Risk


class LocalSigner:
    """A signer with a key of its own, as the gateway's would be."""

    def __init__(self, keyid: str = "decisions:v1") -> None:
        self._key = Ed25519PrivateKey.generate()
        self.keyid = keyid

    async def sign(self, message: bytes) -> Signature:
        """Sign with the local key."""
        return Signature(keyid=self.keyid, sig=base64.b64encode(self._key.sign(message)).decode())

    @property
    def public_keys(self) -> dict[str, str]:
        """Key id → base64 of the raw public key."""
        return {self.keyid: base64.b64encode(self._key.public_key().public_bytes_raw()).decode()}


@dataclass(frozen=True)
class FakeLease:
    """A lease as Vault would give it."""

    accessor: str
    secrets: Credentials


@dataclass
class FakeVault:
    """Lends secrets that it makes up, and remembers which are alive."""

    signer: LocalSigner = field(default_factory=LocalSigner)
    alive: dict[str, str] = field(default_factory=dict)
    lent: list[str] = field(default_factory=list)

    async def lease(
        self,
        ref_role: str,
        slots: Sequence[str],
        *,
        ttl: timedelta,
        meta: Mapping[str, str],
        opened: Callable[[str, datetime], Awaitable[None]],
    ) -> FakeLease:
        """A new secret for each slot."""
        accessor = secrets.token_hex(8)
        self.alive[accessor] = ref_role
        await opened(accessor, datetime.now(UTC) + ttl)
        values = {s: SecretStr(f"canary-{secrets.token_hex(8)}") for s in slots}
        self.lent.extend(v.get_secret_value() for v in values.values())
        return FakeLease(accessor, values)

    async def revoke(self, accessor: str) -> None:
        """Forget it."""
        self.alive.pop(accessor, None)

    async def public_keys(self) -> dict[str, str]:
        """The gateway's."""
        return self.signer.public_keys


class FakeInputs(Model):
    """What to do, and with what."""

    do: Literal["ok", "fail", "flaky", "hang", "late", "count"] = "ok"
    value: Json = None
    environment: str | None = None


class FakeOutputs(Model):
    """The value, handed on."""

    value: Json = None


class NoOutputs(Model):
    """Nothing."""


def _undo(inputs: Any, outputs: Any) -> Mapping[str, Json]:
    return {"value": outputs.value}


def _declare() -> dict[str, Operation]:
    def op(name: str, risk: Risk, **more: Any) -> Operation:
        idempotent = more.pop("idempotent", True)
        return Operation(
            f"fake.{name}", f"Fake {name}.", FakeInputs, FakeOutputs, risk, idempotent, **more
        )

    every = [
        op("read", Risk.READ),
        op("quick", Risk.READ, quick=True),
        op("write", Risk.WRITE, compensation=Compensation("fake.undo", _undo)),
        op("once", Risk.WRITE, idempotent=False),
        op("destroy", Risk.DESTRUCTIVE),
        op("undo", Risk.WRITE),
        op("privileged", Risk.PRIVILEGED),
        op("login", Risk.READ, credentials=("token",)),
        op("deploy", Risk.WRITE),
    ]
    return {o.name: o for o in every}


class FakeConnector:
    """Does as it is told, and remembers what it did in which order."""

    service: ClassVar[str] = "fake"
    operations: ClassVar[Mapping[str, Operation]] = _declare()

    def __init__(self) -> None:
        self.done: list[tuple[str, str, Json]] = []
        """(task id, operation, value), once for each side effect."""
        self.tries: Counter[str] = Counter()
        self.started = asyncio.Event()
        """Set when an attempt hangs."""
        self.cancelled: list[str] = []
        self.let = asyncio.Event()
        """Lets attempts go on that are told to be late."""

    async def execute(self, call: OperationCall, credentials: Credentials) -> OperationResult:
        """Succeed, fail, fail once, hang, fail once and late, or list the tries."""
        self.tries[call.task_id] += 1
        inputs: FakeInputs = call.inputs
        if credentials:
            token = credentials["token"].get_secret_value()
            call.log(f"using {token}\n")
            return OperationResult(FakeOutputs(value=f"logged in with {token}"))
        if inputs.do == "fail":
            raise OperationFailed(f"'{call.task_id}' was told to fail")
        if inputs.do == "flaky" and self.tries[call.task_id] == 1:
            raise ServiceUnavailable("not yet")
        if inputs.do == "count":
            return OperationResult(FakeOutputs(value=[*range(self.tries[call.task_id])]))
        if inputs.do == "late":
            self.started.set()
            await self.let.wait()
            if self.tries[call.task_id] == 1:
                raise OperationFailed("too late")
        if inputs.do == "hang":
            await self._hang(call.task_id)
        self.done.append((call.task_id, call.operation, inputs.value))
        return OperationResult(FakeOutputs(value=inputs.value))

    async def _hang(self, task_id: str) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.append(task_id)
            raise


@dataclass(frozen=True)
class FakeRegistry:
    """Connectors by service."""

    connectors: tuple[Connector, ...]

    @property
    def operations(self) -> Mapping[str, Operation]:
        """All of them."""
        return {n: o for c in self.connectors for n, o in c.operations.items()}

    def connector_for(self, operation: str) -> Connector:
        """By the part before the dot."""
        service = operation.split(".", 1)[0]
        return next(c for c in self.connectors if c.service == service)
