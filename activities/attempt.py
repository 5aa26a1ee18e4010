"""One governed attempt: from the durable intent to the durable outcome.

It carries out what the governor has let pass; it never decides whether it may.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from threading import Lock
from time import monotonic
from typing import Any, TypeVar

import structlog
from pydantic import SecretStr
from rfc8785 import CanonicalizationError

from activities.leases import Leases
from activities.parts import Parts
from activities.work import Work
from goalkeeper.contracts.activities import ExecuteResult
from goalkeeper.contracts.connector import (
    Happened,
    OperationCall,
    OperationResult,
    Reconciling,
)
from goalkeeper.domain.audit import AuditEvent, AuditKind
from goalkeeper.domain.base import Json, canonical, digest_of
from goalkeeper.domain.credential import Redactor
from goalkeeper.domain.errors import (
    GoalkeeperError,
    OperationFailed,
    OutcomeUnknown,
    PermanentError,
    RateLimited,
    StoreUnavailable,
    TransientError,
)
from goalkeeper.domain.evidence import Evidence
from goalkeeper.domain.operation import Risk
from goalkeeper.evidence import OutputStream
from goalkeeper.ledger import Effect, EffectState, Undo
from goalkeeper.telemetry import TASK_SECONDS, TASKS

log = structlog.get_logger(__name__)

R = TypeVar("R")

OUTPUTS_LIMIT = 1024 * 1024
"""Bytes of one operation's outputs: they travel through history and into expressions."""
_LOOK_SECONDS = 20
_PAUSE, _LONGEST_PAUSE = 1.0, 30.0


class Attempt:
    """Carries one piece of work out once."""

    def __init__(self, parts: Parts, work: Work) -> None:
        self._parts = parts
        self._work = work
        self._digest = work.action.digest
        self._redactor = Redactor()
        self._leases = Leases(parts, work.call, work.action.credentials, work.ttl, self._record)
        self._sent = False
        """The connector was called: from here on the effect may have happened."""
        self._stream: OutputStream | None = None
        self._opening = Lock()
        """Connectors may log from threads."""
        self._evidence: list[Evidence] = []

    async def run(self) -> ExecuteResult:
        """Intent, lease, claim, call, evidence, outcome, revocation.

        Raises:
            GoalkeeperError: redacted, and on record.
        """
        work = self._work
        began = monotonic()
        outcome = "failed"
        try:
            result, outcome = await self._carry_out()
            return result
        except asyncio.CancelledError:
            outcome = "detached" if work.call.detaching() else "cancelled"
            found = await self._recorded(self._interrupted())
            if found is None:
                await self._close_stream()
                await self._record(AuditKind.TASK_OUTCOME, "outcome", {"outcome": outcome})
                raise
            outcome = "succeeded"
            return found
        except GoalkeeperError as error:
            raise await self._failed(error) from None
        finally:
            await self._leases.give_back()
            TASKS.labels(work.operation.name, outcome).inc()
            TASK_SECONDS.labels(work.operation.name).observe(monotonic() - began)

    async def settle(self) -> bool:
        """Find out what became of a lost attempt, and write it down; True when it took effect.

        Raises:
            OutcomeUnknown: nobody can tell.
        """
        try:
            found = await self._recorded(self._look())
        finally:
            await self._leases.give_back()
        if found is None:
            await self._parts.ledger.abandon(self._work.call.key)
        return found is not None

    @property
    def _has_effect(self) -> bool:
        return self._work.operation.risk is not Risk.READ

    async def _carry_out(self) -> tuple[ExecuteResult, str]:
        call = self._work.call
        earlier: Effect | None = None
        if call.attempt > 1:
            await self._leases.revoke_lost()
            if self._has_effect:
                earlier = await self._parts.ledger.known(call.key, action_digest=self._digest)
        found = await self._found(earlier)
        if found is not None:
            return found, "found"
        credentials, earlier = await self._prepare(fresh=self._has_effect and earlier is None)
        found = await self._found(earlier)
        if found is not None:
            return found, "found"
        self._sent = True
        result = await self._guarded(self._work.connector.execute(self._armed(), credentials))
        return await self._finish(result), "succeeded"

    async def _prepare(self, *, fresh: bool) -> tuple[Mapping[str, SecretStr], Effect | None]:
        """All that is to be durable before the effect; a fresh one's key is claimed.

        Claimed last: what fails before has had no effect, and must not look as if.
        """
        if not fresh or self._work.action.credentials:
            await self._intend()
            credentials = await self._borrow()
            return credentials, await self._claim() if fresh else None
        # Side by side: with nothing to borrow, only the intent itself can still fail.
        claim = asyncio.create_task(self._claim())
        try:
            await self._intend()
        except BaseException:
            await self._withdraw(claim)
            raise
        return {}, await claim

    async def _withdraw(self, claim: "asyncio.Task[Effect | None]") -> None:
        """Take a claim back that was made for nothing."""
        claim.cancel()
        await asyncio.wait([claim])
        if not claim.cancelled() and claim.exception() is None and claim.result() is None:
            await self._parts.ledger.abandon(self._work.call.key)

    async def _intend(self) -> None:
        action = self._work.action
        detail: dict[str, Json] = {
            "operation": action.operation,
            "action_digest": self._digest,
            "environment": action.environment,
            "risk": action.risk.value,
            "roles": [*sorted(action.credentials.values())],
        }
        await self._record(AuditKind.TASK_INTENT, "intent", detail)

    async def _claim(self) -> Effect | None:
        call = self._work.call
        return await self._parts.ledger.begin(
            call.key,
            goal_id=call.goal_id,
            task_id=call.task_id,
            operation=self._work.operation.name,
            action_digest=self._digest,
            attempt=call.attempt,
        )

    async def _found(self, earlier: Effect | None) -> ExecuteResult | None:
        """The result of an earlier attempt, if one got so far; None: this one is to run."""
        if earlier is None:
            return None
        if earlier.state is EffectState.STARTED:
            return None if self._work.operation.idempotent else await self._look()
        if isinstance(earlier.result, dict) and "failure" in earlier.result:
            raise OperationFailed(str(earlier.result["failure"]))
        result = ExecuteResult.model_validate(earlier.result)
        self._evidence.extend(result.evidence)
        # The attempt that did it may have died before it could write this down.
        await self._record(
            AuditKind.TASK_OUTCOME, "outcome", self._outcome("found", digest_of(result.outputs))
        )
        return result

    async def _look(self) -> ExecuteResult | None:
        """What an attempt that was lost has done; None: nothing.

        Raises:
            OutcomeUnknown: the connector cannot tell.
        """
        connector = self._work.connector
        if isinstance(connector, Reconciling):
            credentials = await self._borrow()
            found = await self._guarded(connector.reconcile(self._armed(), credentials))
            if found.happened is Happened.YES and found.result is not None:
                return await self._finish(found.result)
            if found.happened is Happened.NO:
                return None
        raise OutcomeUnknown(
            f"an attempt at '{self._work.operation.name}' was lost in the middle, and whether it "
            "took effect is not known. It is not run again: look at the target, then say what "
            "happened."
        )

    async def _interrupted(self) -> ExecuteResult | None:
        """After a cancellation in mid effect: what it did, since nobody will look again.

        Raises:
            OutcomeUnknown: nobody can tell, and the operation is not idempotent.
        """
        if not (self._sent and self._has_effect and self._work.unwanted()):
            return None
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                found = await self._look()
        except (GoalkeeperError, TimeoutError) as error:
            if self._work.operation.idempotent:
                return None
            if isinstance(error, OutcomeUnknown):
                raise
            raise OutcomeUnknown(
                f"'{self._work.operation.name}' was cancelled in the middle, and its service does "
                "not say whether it took effect"
            ) from None
        if found is None:
            await self._parts.ledger.abandon(self._work.call.key)
        return found

    async def _recorded(self, doing: Awaitable[R]) -> R:
        """What is answered; an error redacted, and on record."""
        try:
            return await doing
        except GoalkeeperError as error:
            raise await self._failed(error) from None

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
                exc_info=not self._leases.any,
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

    async def _borrow(self) -> Mapping[str, SecretStr]:
        secrets = await self._leases.borrow()
        self._redactor = Redactor(secrets.values())
        return secrets

    async def _finish(self, result: OperationResult) -> ExecuteResult:
        """Store evidence and outcome before the workflow hears of it."""
        outputs: Any = self._redactor.json(result.outputs.model_dump(mode="json"))
        for attachment in result.attachments:
            content = self._redactor.content(attachment.content)
            await self._keep(content, attachment.name, attachment.media_type)
        await self._close_stream()
        digest, why = _carried(outputs)
        if why:
            whole = json.dumps(outputs, indent=1).encode()
            await self._keep(whole, "outputs.json", "application/json")
            why = f"'{self._work.operation.name}' answered {why}. The whole answer is kept as "
            why += f"evidence {self._evidence[-1].digest}."
        undo = self._undo(result)
        answer = ExecuteResult(
            outputs=None if why else outputs,
            evidence=tuple(self._evidence),
            compensable=undo is not None,
        )
        done: Json = {"failure": why} if why else answer.model_dump(mode="json")
        storing = [self._patiently(lambda: self._store(done, undo))] if self._has_effect else []
        if why:
            await asyncio.gather(*storing)
            raise OperationFailed(why)
        detail = self._outcome("succeeded", digest)
        await asyncio.gather(
            *storing,
            self._patiently(lambda: self._record(AuditKind.TASK_OUTCOME, "outcome", detail)),
        )
        return answer

    async def _store(self, done: Json, undo: Undo | None) -> None:
        """Write into the ledger that it happened."""
        await self._parts.ledger.finish(self._work.call.key, result=done, compensation=undo)

    def _undo(self, result: OperationResult) -> Undo | None:
        """How to undo it, with all that this needs."""
        work = self._work
        declared = work.operation.compensation if self._has_effect else None
        if declared is None:
            return None
        inputs = dict(declared.inputs(work.call.inputs, result.outputs))
        return Undo(
            operation=declared.operation,
            inputs=self._redactor.json(inputs),
            environment=work.action.environment,
            credentials=dict(work.action.credentials),
        )

    async def _keep(self, content: bytes, name: str, media_type: str) -> None:
        put = self._parts.evidence.put
        kept = await self._patiently(lambda: put(content, name=name, media_type=media_type))
        self._evidence.append(kept)

    async def _patiently(self, doing: Callable[[], Awaitable[R]]) -> R:
        """Repeat until the store is there, where an effect would be forgotten otherwise.

        As an error it would end the attempt, and of an operation that is not idempotent nobody
        would know any more what became of it.
        """
        pause = _PAUSE
        while True:
            try:
                return await doing()
            except StoreUnavailable as error:
                if not self._has_effect:
                    raise
                log.error("outcome not stored yet", why=error.message)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _failed(self, error: GoalkeeperError) -> GoalkeeperError:
        """The error as the workflow may see it, once it is on record."""
        call = self._work.call
        if isinstance(error, OutcomeUnknown) and self._stream is None:
            left = await self._parts.evidence.left(call.goal_id, call.task_id, call.generation)
            self._evidence.extend([left] if left else [])
        await self._close_stream()
        error = _rewritten(error, self._redactor.text(error.message))
        if self._evidence:
            error.details["evidence"] = [e.model_dump(mode="json") for e in self._evidence]
        if self._sent and self._has_effect:
            if not isinstance(error, PermanentError):
                error.details["sent"] = True
            elif not isinstance(error, OutcomeUnknown):
                # A permanent error is the connector's word that nothing has changed.
                await self._parts.ledger.abandon(call.key)
        detail = self._outcome("failed", None)
        detail["failure"] = {"code": error.code, "message": error.message[:500]}
        recording = partial(self._record, AuditKind.TASK_OUTCOME, "outcome", detail)
        if isinstance(error, OutcomeUnknown) or "sent" in error.details:
            # As an error of the store it would read as if nothing had been sent.
            await self._patiently(recording)
        else:
            await recording()
        return error

    async def _close_stream(self) -> None:
        if self._stream is None:
            return
        stream, self._stream = self._stream, None
        try:
            self._evidence.append(await stream.close())
        except StoreUnavailable as error:
            if not self._has_effect:
                raise
            # What an operation printed matters less than that it took effect.
            log.error("output not stored", why=error.message)

    def _outcome(self, outcome: str, outputs_digest: str | None) -> dict[str, Json]:
        detail: dict[str, Json] = {
            "outcome": outcome,
            "operation": self._work.operation.name,
            "action_digest": self._digest,
        }
        if outputs_digest is not None:
            detail["outputs_digest"] = outputs_digest
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


def _carried(outputs: Json) -> tuple[str, str]:
    """The digest of outputs, or why they cannot be handed on."""
    try:
        raw = canonical(outputs)
    except (CanonicalizationError, ValueError):
        return "", "what JSON cannot carry exactly: a number beyond 2^53, say, or broken text"
    if len(raw) > OUTPUTS_LIMIT:
        most = OUTPUTS_LIMIT // 1024
        return "", f"{len(raw) // 1024} KiB, and at most {most} KiB can be handed to other tasks"
    return digest_of(raw), ""


def _rewritten(error: GoalkeeperError, message: str) -> GoalkeeperError:
    """The same error with another text."""
    if isinstance(error, RateLimited):
        return RateLimited(message, retry_after=error.retry_after)
    return type(error)(message)
