"""The activities of `GoalWorkflow`, as thin as they can be.

Each accepts one model, has the governor and an attempt do the work, and returns one model.
"""

import asyncio
from collections import OrderedDict
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
    GrantMismatch,
    InvalidGoal,
    PermanentError,
    PolicyDenied,
)
from goalkeeper.domain.operation import Operation
from goalkeeper.domain.policy import Effect
from goalkeeper.policy import combine
from goalkeeper.telemetry import REFUSALS, task_context
from goalkeeper.temporal import first_run

_BEAT = timedelta(seconds=5)
_SHORTEST_LEASE = timedelta(minutes=1)
_LONGEST_LEASE = timedelta(hours=1)
_REMEMBERED = 512


_WORKFLOWS_OWN = frozenset(
    {
        AuditKind.APPROVAL_REQUESTED,
        AuditKind.APPROVAL_REFUSED,
        AuditKind.APPROVAL_EXPIRED,
        AuditKind.CONTROL,
        AuditKind.GOAL_ENDED,
    }
)


class GoalActivities:
    """Everything that a goal's workflow may have done."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._governor = Governor(parts)
        self._planner = Planner(parts, self._governor)
        self._first_runs: OrderedDict[str, str] = OrderedDict()

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
        return AuthoriseResult(
            verdict=combine(verdicts),
            policy_version=self._parts.policy.version,
            at=datetime.now(UTC),
        )

    @activity.defn(name=names.DECISION_KEYS)
    async def decision_keys(self, given: CleanUpInput) -> KeysResult:
        """The gateway's public keys, read anew."""
        return KeysResult(keys=dict(await self._governor.keys(fresh=True)))

    @activity.defn(name=names.RECORD)
    async def record(self, given: RecordInput) -> None:
        """Append what the workflow decided.

        Raises:
            GrantMismatch: an entry that is not this workflow's to write.
        """
        for event in given.events:
            await self._check_event(event)
        await self._parts.audit.append(*given.events)

    async def _check_event(self, event: AuditEvent) -> None:
        """A workflow writes in its own name, of its own goal and run, and only what it decides.

        Otherwise whoever may start a workflow could forge the gateway's entries, or take the id
        of an entry that is still to come.
        """
        if event.kind not in _WORKFLOWS_OWN:
            raise GrantMismatch(f"a workflow does not write '{event.kind.value}' entries")
        if event.actor != "workflow" and not event.actor.startswith("claimed:"):
            raise GrantMismatch(f"a workflow does not write as actor '{event.actor}'")
        await self._check_origin(event.goal_id, event.id.partition("/")[0])

    @activity.defn(name=names.EXECUTE)
    async def execute(self, given: ExecuteInput) -> ExecuteResult:
        """One governed attempt at one operation."""
        operation = self._parts.operation(given.action.operation)
        action = self._governor.actual(given.action, operation)
        with task_context(workflow_id=action.goal_id, task_id=action.task_id):
            work = self._work(action, given.asker, operation)
            try:
                await self._check_origin(action.goal_id, given.asker.run)
                first = await self._governor.allow(action, given.asker, given.grant, work.call.key)
            except PermanentError as error:
                await self._refused(action, error)
                raise
            if first:
                assert given.grant is not None
                await self._append(
                    action,
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
            try:
                work = await self._undoing(given, forward)
            except PermanentError as error:
                await self._refused(forward, error, undo=True)
                raise
            if work is None:
                return ExecuteResult()
            async with _alive():
                result = await Attempt(self._parts, work).run()
            await self._parts.ledger.undone(_key(forward, given.asker))
            return result

    async def _undoing(self, given: CompensateInput, forward: Action) -> Work | None:
        """What undoes the action; nothing where nothing is left to undo.

        Raises:
            GrantMismatch: this workflow did not do it, or did something else.
            PolicyDenied: policy refuses the operation that undoes it.
        """
        await self._check_origin(forward.goal_id, given.asker.run)
        effect = await self._parts.ledger.effect(_key(forward, given.asker))
        if effect is None or effect.compensation is None or effect.state == "undone":
            return None
        if effect.action_digest not in (forward.digest, given.action.digest):
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
        if verdict.effect is Effect.DENY:
            raise PolicyDenied(f"policy refuses to undo by '{name}': {'; '.join(verdict.reasons)}")
        return self._work(action, given.asker, operation, undo=True)

    @activity.defn(name=names.CLEAN_UP)
    async def clean_up(self, given: CleanUpInput) -> None:
        """Revoke leases and remove containers that lost attempts left.

        Raises:
            GrantMismatch: another workflow asks.
        """
        _check_goal(given.goal_id)
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
            origin=_attempt(action, undo),
            ttl=min(max(timeout, _SHORTEST_LEASE), _LONGEST_LEASE),
        )

    async def _check_origin(self, goal_id: str, run: str) -> None:
        """What a workflow asks for is of the goal that it is, in the chain of runs that it is in.

        Raises:
            GrantMismatch: another workflow asks, which could reuse what this goal was granted.
        """
        _check_goal(goal_id)
        if run != _origin() and run != await self._first_run(_origin()):
            raise GrantMismatch(f"it is said to belong to another run of goal '{goal_id}'")

    async def _first_run(self, run: str) -> str:
        """The first run of a chain that continued as new, as Temporal itself has it."""
        known = self._first_runs.get(run)
        if known is None:
            known = self._first_runs[run] = await first_run(activity.info().workflow_id or "", run)
            if len(self._first_runs) > _REMEMBERED:
                self._first_runs.popitem(last=False)
        return known

    async def _refused(self, action: Action, error: PermanentError, undo: bool = False) -> None:
        REFUSALS.labels(error.code).inc()
        await self._append(
            action,
            AuditKind.TASK_REFUSED,
            f"refused/{error.code}",
            {"code": error.code, "why": error.message[:500], "action_digest": action.digest},
            undo,
        )

    async def _append(
        self,
        action: Action,
        kind: AuditKind,
        name: str,
        detail: dict[str, Json],
        undo: bool = False,
    ) -> None:
        await self._parts.audit.append(
            AuditEvent(
                id=f"{_attempt(action, undo)}/{name}",
                time=datetime.now(UTC),
                kind=kind,
                actor="worker",
                goal_id=action.goal_id,
                task_id=action.task_id,
                attempt=activity.info().attempt,
                detail=detail,
            )
        )


def _attempt(action: Action, undo: bool = False) -> str:
    """Prefix of the ids of one attempt's audit events."""
    what = f"{action.task_id}.undo" if undo else action.task_id
    return f"{_origin()}/{what}.{action.generation}/{activity.info().attempt}"


def _key(action: Action, asker: Asker) -> str:
    return work_key(action.goal_id, asker.run, action.task_id, action.generation)


def _check_goal(goal_id: str) -> None:
    if activity.info().workflow_id != goal_id:
        raise GrantMismatch(f"it belongs to goal '{goal_id}', not to this workflow")


def _origin() -> str:
    return activity.info().workflow_run_id or "no-run"


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
