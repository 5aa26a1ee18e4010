"""The activities of `GoalWorkflow`, as thin as they can be.

Each accepts one model, has the governor and an attempt do the work, and returns one model.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import activity

from activities.attempt import Attempt, Work, beating, revoke_lease
from activities.governor import Governor
from activities.parts import Parts
from activities.planning import Planner
from goalkeeper.contracts import activities as names
from goalkeeper.contracts.activities import (
    Asker,
    AuthoriseInput,
    AuthoriseResult,
    CleanUpInput,
    CompensateInput,
    ExecuteInput,
    ExecuteResult,
    KeysResult,
    PlanInput,
    RecordInput,
)
from goalkeeper.contracts.connector import OperationCall, work_key
from goalkeeper.contracts.goal import PlannedGoal
from goalkeeper.domain.approval import Action
from goalkeeper.domain.audit import AuditEvent, AuditKind
from goalkeeper.domain.base import Json
from goalkeeper.domain.errors import (
    ApprovalNeeded,
    GrantMismatch,
    InvalidGoal,
    PermanentError,
    PolicyDenied,
)
from goalkeeper.domain.operation import Operation
from goalkeeper.domain.policy import Effect
from goalkeeper.policy import combine
from goalkeeper.telemetry import REFUSALS, task_context

_BEAT = timedelta(seconds=5)
_SHORTEST_LEASE = timedelta(minutes=1)
_LONGEST_LEASE = timedelta(hours=1)


class GoalActivities:
    """Everything that a goal's workflow may have done."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._governor = Governor(parts)
        self._planner = Planner(parts, self._governor)

    @property
    def all(self) -> Sequence[Callable[..., Any]]:
        """What a worker registers."""
        return [
            self.plan,
            self.authorise,
            self.decision_keys,
            self.record,
            self.execute,
            self.compensate,
            self.clean_up,
        ]

    @activity.defn(name=names.PLAN)
    async def plan(self, given: PlanInput) -> PlannedGoal:
        """Compile, pin and judge a goal."""
        return await self._planner.plan(given, origin=_origin())

    @activity.defn(name=names.AUTHORISE)
    async def authorise(self, given: AuthoriseInput) -> AuthoriseResult:
        """Judge resolved actions together."""
        verdicts = [
            await self._governor.judge(
                self._governor.actual(a, self._parts.operation(a.operation)), given.asker
            )
            for a in given.actions
        ]
        return AuthoriseResult(verdict=combine(verdicts), policy_version=self._parts.policy.version)

    @activity.defn(name=names.DECISION_KEYS)
    async def decision_keys(self, given: CleanUpInput) -> KeysResult:
        """The gateway's public keys, read anew."""
        return KeysResult(keys=dict(await self._governor.keys(fresh=True)))

    @activity.defn(name=names.RECORD)
    async def record(self, given: RecordInput) -> None:
        """Append what the workflow decided."""
        await self._parts.audit.append(*given.events)

    @activity.defn(name=names.EXECUTE)
    async def execute(self, given: ExecuteInput) -> ExecuteResult:
        """One governed attempt at one operation."""
        operation = self._parts.operation(given.action.operation)
        action = self._governor.actual(given.action, operation)
        with task_context(workflow_id=action.goal_id, task_id=action.task_id):
            work = self._work(action, given.asker, operation)
            try:
                _check_workflow(action)
                first = await self._governor.allow(action, given.asker, given.grant, work.call.key)
            except PermanentError as error:
                await self._refused(work, error)
                raise
            if first:
                assert given.grant is not None
                await self._append(
                    work,
                    AuditKind.GRANT_SPENT,
                    "spent",
                    {
                        "request": given.grant.request.id,
                        "grant": given.grant.id,
                        "action_digest": action.digest,
                    },
                )
            async with _alive():
                return await Attempt(self._parts, work).run()

    @activity.defn(name=names.COMPENSATE)
    async def compensate(self, given: CompensateInput) -> ExecuteResult:
        """Undo one action by what the ledger says it did."""
        forward = self._governor.actual(given.action, self._parts.operation(given.action.operation))
        with task_context(workflow_id=forward.goal_id, task_id=forward.task_id):
            _check_workflow(forward)
            key = work_key(forward.goal_id, given.asker.run, forward.task_id, forward.generation)
            effect = await self._parts.ledger.effect(key)
            if effect is None or effect.compensation is None or effect.state == "undone":
                return ExecuteResult()
            if (
                effect.action_digest != forward.digest
                and effect.action_digest != given.action.digest
            ):
                raise GrantMismatch(f"what '{forward.task_id}' did is not what is to be undone")
            name, inputs = effect.compensation
            operation = self._parts.operation(name)
            action = forward.model_copy(
                update={
                    "operation": name,
                    "inputs": dict(inputs),
                    "risk": operation.risk,
                    "compensation": None,
                }
            )
            verdict = await self._governor.judge(action, given.asker, compensating=True)
            work = self._work(action, given.asker, operation, undo=True)
            if verdict.effect is Effect.DENY:
                error = PolicyDenied(
                    f"policy refuses to undo by '{name}': {'; '.join(verdict.reasons)}"
                )
                await self._refused(work, error)
                raise error
            async with _alive():
                result = await Attempt(self._parts, work).run()
            await self._parts.ledger.undone(key)
            return result

    @activity.defn(name=names.CLEAN_UP)
    async def clean_up(self, given: CleanUpInput) -> None:
        """Revoke leases and remove containers that lost attempts left."""
        for lease in await self._parts.ledger.open_leases(goal_id=given.goal_id):
            await revoke_lease(
                self._parts, lease.accessor, goal_id=lease.goal_id, task_id=lease.task_id
            )
        await self._parts.release(given.goal_id)

    def _work(self, action: Action, asker: Asker, operation: Operation, undo: bool = False) -> Work:
        info = activity.info()
        try:
            inputs = operation.inputs.model_validate(action.inputs)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(p) for p in first["loc"])
            raise InvalidGoal(
                f"task '{action.task_id}': input '{place}' is wrong: {first['msg']}"
            ) from None
        timeout = info.start_to_close_timeout or _SHORTEST_LEASE
        what = f"{action.task_id}.undo" if undo else action.task_id
        return Work(
            action=action,
            operation=operation,
            connector=self._parts.registry.connector_for(operation.name),
            call=OperationCall(
                goal_id=action.goal_id,
                task_id=action.task_id,
                generation=action.generation,
                attempt=info.attempt,
                operation=operation.name,
                inputs=inputs,
                environment=action.environment,
                run=asker.run,
                undo=undo,
                detaching=_detaching,
            ),
            origin=f"{_origin()}/{what}.{action.generation}/{info.attempt}",
            ttl=min(max(timeout, _SHORTEST_LEASE), _LONGEST_LEASE),
        )

    async def _refused(self, work: Work, error: PermanentError) -> None:
        REFUSALS.labels(error.code).inc()
        if isinstance(error, ApprovalNeeded):
            return
        await self._append(
            work,
            AuditKind.TASK_REFUSED,
            "refused",
            {"code": error.code, "why": error.message[:500], "action_digest": work.action.digest},
        )

    async def _append(
        self, work: Work, kind: AuditKind, name: str, detail: dict[str, Json]
    ) -> None:
        await self._parts.audit.append(
            AuditEvent(
                id=f"{work.origin}/{name}",
                time=datetime.now(UTC),
                kind=kind,
                actor="worker",
                goal_id=work.call.goal_id,
                task_id=work.call.task_id,
                attempt=work.call.attempt,
                detail=detail,
            )
        )


def _origin() -> str:
    return activity.info().workflow_run_id or "no-run"


def _check_workflow(action: Action) -> None:
    """An action runs for the goal that it names, and for no other workflow."""
    if activity.info().workflow_id != action.goal_id:
        raise GrantMismatch(f"the action belongs to goal '{action.goal_id}', not to this workflow")


def _detaching() -> bool:
    details = activity.cancellation_details()
    return details is not None and details.worker_shutdown


@asynccontextmanager
async def _alive() -> Any:
    """Heartbeats while the body runs; a local activity has none."""
    if activity.info().is_local:
        yield
        return
    beat = asyncio.create_task(beating(activity.heartbeat, _BEAT))
    try:
        yield
    finally:
        beat.cancel()
