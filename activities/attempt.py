"""One governed attempt: from the durable intent to the durable outcome.

It carries out what the governor has let pass; it never decides whether it may.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from threading import Lock
from time import monotonic
from typing import Any, TypeVar

import structlog
from pydantic import SecretStr

from activities.parts import Parts
from goalkeeper.contracts.activities import ExecuteResult
from goalkeeper.contracts.connector import (
    Connector,
    Happened,
    OperationCall,
    OperationResult,
    Reconciling,
)
from goalkeeper.domain.approval import Action
from goalkeeper.domain.audit import AuditEvent, AuditKind
from goalkeeper.domain.base import Json, digest_of
from goalkeeper.domain.credential import Redactor
from goalkeeper.domain.errors import (
    GoalkeeperError,
    OutcomeUnknown,
    PermanentError,
    RateLimited,
    TransientError,
)
from goalkeeper.domain.evidence import Evidence
from goalkeeper.domain.operation import Operation, Risk
from goalkeeper.evidence import OutputStream
from goalkeeper.telemetry import LEASES, TASK_SECONDS, TASKS

log = structlog.get_logger(__name__)

R = TypeVar("R")


@dataclass(frozen=True)
class Work:
    """What one attempt carries out."""

    action: Action
    operation: Operation
    connector: Connector
    call: OperationCall
    """Without its `log`: the attempt puts in one that redacts."""
    origin: str
    """Prefix of the audit events' ids: workflow run and attempt."""
    ttl: timedelta
    """For how long the credentials may live."""


class Attempt:
    """Carries one piece of work out once."""

    def __init__(self, parts: Parts, work: Work) -> None:
        self._parts = parts
        self._work = work
        self._digest = work.action.digest
        self._redactor = Redactor()
        self._leases: list[str] = []
        self._secrets: dict[str, SecretStr] | None = None
        self._fresh = False
        """This attempt is the one that may have an effect: no earlier one is known to be lost."""
        self._stream: OutputStream | None = None
        self._opening = Lock()
        """Connectors may log from threads."""
        self._evidence: list[Evidence] = []

    async def run(self) -> ExecuteResult:
        """Intent, lease, call, evidence, outcome, revocation.

        Raises:
            GoalkeeperError: redacted, and on record.
        """
        work = self._work
        began = monotonic()
        outcome = "failed"
        try:
            earlier = await self._begin()
            if earlier is not None:
                outcome = "found"
                return earlier
            self._fresh = True
            await self._record(AuditKind.TASK_INTENT, "intent", self._intent())
            result = await self._finish(await self._execute())
            outcome = "succeeded"
            return result
        except asyncio.CancelledError:
            outcome = "detached" if work.call.detaching() else "cancelled"
            await self._close_stream()
            await self._record(AuditKind.TASK_OUTCOME, "outcome", {"outcome": outcome})
            raise
        except GoalkeeperError as error:
            raise await self._failed(error) from None
        finally:
            await self._revoke_all()
            TASKS.labels(work.operation.name, outcome).inc()
            TASK_SECONDS.labels(work.operation.name).observe(monotonic() - began)

    @property
    def _has_effect(self) -> bool:
        return self._work.operation.risk is not Risk.READ

    async def _begin(self) -> ExecuteResult | None:
        """The result of an earlier attempt, if one got so far."""
        work, call = self._work, self._work.call
        if call.attempt > 1:
            await self._revoke_lost()
        if not self._has_effect:
            return None
        effect = await self._parts.ledger.begin(
            call.key,
            goal_id=call.goal_id,
            task_id=call.task_id,
            operation=work.operation.name,
            action_digest=self._digest,
            attempt=call.attempt,
        )
        if effect is None or (effect.state == "started" and work.operation.idempotent):
            return None
        if effect.state == "started":
            return await self._reconcile()
        return ExecuteResult.model_validate(effect.result)

    async def _reconcile(self) -> ExecuteResult | None:
        work = self._work
        if isinstance(work.connector, Reconciling):
            credentials = await self._lease()
            found = await self._guarded(work.connector.reconcile(self._armed(), credentials))
            if found.happened is Happened.YES and found.result is not None:
                return await self._finish(found.result)
            if found.happened is Happened.NO:
                return None
        raise OutcomeUnknown(
            f"an earlier attempt at '{work.operation.name}' was lost in the middle, and whether it "
            "took effect is not known. It is not run again: look at the target, then submit what "
            "is missing."
        )

    async def _execute(self) -> OperationResult:
        credentials = await self._lease()
        return await self._guarded(self._work.connector.execute(self._armed(), credentials))

    async def _guarded(self, doing: Awaitable[R]) -> R:
        """What a connector answers; of what it raises unexpectedly, nothing but the kind."""
        try:
            return await doing
        except (GoalkeeperError, asyncio.CancelledError):
            raise
        except Exception as error:
            operation = self._work.operation.name
            log.error(
                "connector broke",
                operation=operation,
                error=type(error).__name__,
                text=self._redactor.text(str(error))[:500],
                exc_info=not self._leases,
            )
            raise TransientError(
                f"'{operation}' broke with an unexpected {type(error).__name__}; "
                "the worker's log has the details"
            ) from None

    def _armed(self) -> OperationCall:
        return replace(self._work.call, log=self._write)

    def _write(self, text: str) -> None:
        with self._opening:
            if self._stream is None:
                call = self._work.call
                self._stream = self._parts.evidence.stream(
                    call.goal_id, call.task_id, call.generation
                )
        line = self._redactor.text(text)
        self._stream.write(line if line.endswith("\n") else line + "\n")

    async def _lease(self) -> Mapping[str, SecretStr]:
        if self._secrets is not None:
            # Leased already, to find out what became of a lost attempt.
            return self._secrets
        work, call = self._work, self._work.call
        slots: dict[str, list[str]] = {}
        for slot, role in sorted(work.action.credentials.items()):
            slots.setdefault(role, []).append(slot)
        secrets: dict[str, SecretStr] = {}
        for role, names in slots.items():
            lease = await self._parts.vault.lease(
                role,
                names,
                ttl=work.ttl,
                meta={"goal": call.goal_id, "task": call.task_id, "attempt": str(call.attempt)},
                opened=self._opened(role),
            )
            secrets.update(lease.secrets)
        self._redactor = Redactor(secrets.values())
        self._secrets = secrets
        return secrets

    def _opened(self, role: str) -> Callable[[str, datetime], Any]:
        async def opened(accessor: str, expires_at: datetime) -> None:
            call = self._work.call
            await self._parts.ledger.lease_opened(
                accessor,
                role=role,
                goal_id=call.goal_id,
                task_id=call.task_id,
                holder=call.key,
                expires_at=expires_at,
            )
            self._leases.append(accessor)
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

    async def _finish(self, result: OperationResult) -> ExecuteResult:
        """Store evidence and outcome before the workflow hears of it."""
        work = self._work
        outputs: Any = self._redactor.json(result.outputs.model_dump(mode="json"))
        for attachment in result.attachments:
            self._evidence.append(
                await self._parts.evidence.put(
                    self._redactor.content(attachment.content),
                    name=attachment.name,
                    media_type=attachment.media_type,
                )
            )
        await self._close_stream()
        undo = work.operation.compensation
        answer = ExecuteResult(
            outputs=outputs,
            evidence=tuple(self._evidence),
            compensable=self._has_effect and undo is not None,
        )
        if self._has_effect:
            inputs: Any = undo.inputs(work.call.inputs, result.outputs) if undo else None
            inputs = self._redactor.json(inputs)
            await self._parts.ledger.finish(
                work.call.key,
                result=answer.model_dump(mode="json"),
                compensation=(undo.operation, inputs) if undo and inputs is not None else None,
            )
        await self._record(AuditKind.TASK_OUTCOME, "outcome", self._outcome("succeeded", outputs))
        return answer

    async def _failed(self, error: GoalkeeperError) -> GoalkeeperError:
        await self._close_stream()
        error = _rewritten(error, self._redactor.text(error.message))
        detail = self._outcome("failed", None)
        detail["failure"] = {"code": error.code, "message": error.message[:500]}
        if (
            self._fresh
            and self._has_effect
            and isinstance(error, PermanentError)
            and not isinstance(error, OutcomeUnknown)
        ):
            await self._parts.ledger.abandon(self._work.call.key)
        await self._record(AuditKind.TASK_OUTCOME, "outcome", detail)
        return error

    async def _close_stream(self) -> None:
        if self._stream is not None:
            self._evidence.append(await self._stream.close())
            self._stream = None

    async def _revoke_all(self) -> None:
        for accessor in self._leases:
            await self._revoke(accessor)
            LEASES.dec()

    async def _revoke_lost(self) -> None:
        """What an attempt of the same work left behind when its worker died."""
        call = self._work.call
        for lease in await self._parts.ledger.open_leases(
            goal_id=call.goal_id, task_id=call.task_id
        ):
            if lease.holder == call.key:
                await self._revoke(lease.accessor)

    async def _revoke(self, accessor: str) -> None:
        """Revoke now, or leave it to the goal's clean-up, which retries until it is done."""
        try:
            await revoke_lease(
                self._parts,
                accessor,
                goal_id=self._work.call.goal_id,
                task_id=self._work.call.task_id,
            )
        except TransientError as error:
            log.warning("lease not revoked yet", why=error.message)

    def _intent(self) -> dict[str, Json]:
        action = self._work.action
        return {
            "operation": action.operation,
            "action_digest": self._digest,
            "environment": action.environment,
            "risk": action.risk.value,
            "roles": [*sorted(action.credentials.values())],
        }

    def _outcome(self, outcome: str, outputs: Json) -> dict[str, Json]:
        detail: dict[str, Json] = {
            "outcome": outcome,
            "operation": self._work.operation.name,
            "action_digest": self._digest,
        }
        if outputs is not None:
            detail["outputs_digest"] = digest_of(outputs)
        if self._evidence:
            detail["evidence"] = [e.digest for e in self._evidence]
        return detail

    async def _record(self, kind: AuditKind, name: str, detail: dict[str, Json]) -> None:
        call = self._work.call
        await self._parts.audit.append(
            AuditEvent(
                id=f"{self._work.origin}/{name}",
                time=datetime.now(UTC),
                kind=kind,
                actor="worker",
                goal_id=call.goal_id,
                task_id=call.task_id,
                attempt=call.attempt,
                detail=detail,
            )
        )


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


def _rewritten(error: GoalkeeperError, message: str) -> GoalkeeperError:
    """The same error with another text."""
    if isinstance(error, RateLimited):
        return RateLimited(message, retry_after=error.retry_after)
    return type(error)(message)


async def beating(beat: Callable[[], None], every: timedelta) -> None:
    """Say that this attempt is alive until cancelled."""
    with suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(every.total_seconds())
            beat()
