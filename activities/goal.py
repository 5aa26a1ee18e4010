"""The activities of `GoalWorkflow`, as thin as they can be.

Each accepts one model, has the governor and an attempt do the work, and returns one model.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity

from activities.attempt import Attempt
from activities.caller import Callers, check_goal, this_goal, this_run
from activities.governor import Governor
from activities.leases import revoke_lease
from activities.parts import Parts
from activities.planning import Planner
from activities.undoing import undone_effect
from activities.work import Work, attempt_id, effect_key, work_of
from goalkeeper.contracts import activities as names
from goalkeeper.contracts.activities import (
    Asker,
    AuthoriseInput,
    AuthoriseResult,
    CleanUpInput,
    CompensateInput,
    ExecuteInput,
    ExecuteResult,
    HolderInput,
    KeysResult,
    PlanInput,
    RecordInput,
    ReplanInput,
    ResolveInput,
    Step,
)
from goalkeeper.contracts.goal import ChangedTask, PlannedGoal
from goalkeeper.domain.approval import Action, Answer, Grant
from goalkeeper.domain.audit import AuditEvent, AuditKind
from goalkeeper.domain.base import Json
from goalkeeper.domain.errors import GrantMismatch, PermanentError, PolicyDenied
from goalkeeper.domain.goal import GoalResult
from goalkeeper.domain.policy import Effect
from goalkeeper.histories import child_result
from goalkeeper.ledger import EffectState
from goalkeeper.policy import combine
from goalkeeper.telemetry import REFUSALS, task_context

_BEAT = timedelta(seconds=5)

_WORKFLOWS_OWN = frozenset(
    {
        AuditKind.APPROVAL_REQUESTED,
        AuditKind.APPROVAL_REFUSED,
        AuditKind.APPROVAL_EXPIRED,
        AuditKind.CONTROL,
        AuditKind.TASK_CHANGED,
        AuditKind.GOAL_ENDED,
        AuditKind.LOCK_GRANTED,
        AuditKind.LOCK_RELEASED,
        AuditKind.LOCK_BROKEN,
    }
)


class GoalActivities:
    """Everything that a goal's workflow may have done."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._callers = Callers()
        self._governor = Governor(parts, self._callers)
        self._planner = Planner(parts, self._governor, self._callers)

    @property
    def all(self) -> Sequence[Callable[..., Any]]:
        """What a worker registers."""
        return [
            self.plan,
            self.replan,
            self.authorise,
            self.decision_keys,
            self.record,
            self.execute,
            self.resolve,
            self.compensate,
            self.clean_up,
            self.child_result,
        ]

    @property
    def operations(self) -> Sequence[Callable[..., Any]]:
        """What a worker registers that only carries operations out, for a pool's own queue."""
        return [self.execute, self.compensate]

    @activity.defn(name=names.PLAN)
    async def plan(self, given: PlanInput) -> PlannedGoal:
        """Compile, pin and judge a goal.

        Raises:
            GrantMismatch: another workflow asks.
        """
        check_goal(given.goal_id)
        return await self._planner.plan(given, origin=this_run())

    @activity.defn(name=names.REPLAN)
    async def replan(self, given: ReplanInput) -> ChangedTask:
        """Validate, pin and judge a task with other inputs.

        Raises:
            GrantMismatch: another workflow asks.
        """
        await self._callers.check(given.goal_id, given.asker.run)
        return await self._planner.replan(given)

    @activity.defn(name=names.AUTHORISE)
    async def authorise(self, given: AuthoriseInput) -> AuthoriseResult:
        """Judge resolved actions together.

        Raises:
            GrantMismatch: another workflow asks.
        """
        verdicts = []
        for action in given.actions:
            check_goal(action.goal_id)
            actual = self._governor.actual(action, self._parts.operation(action.operation))
            verdicts.append(await self._governor.judge(actual, given.asker))
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
        await self._callers.check(event.goal_id, event.id.partition("/")[0])

    @activity.defn(name=names.EXECUTE)
    async def execute(self, given: ExecuteInput) -> ExecuteResult:
        """One governed attempt at one operation."""
        try:
            action, asker = await self._whole(given)
        except PermanentError as error:
            await self._refused(given.action, error)
            raise
        with task_context(workflow_id=action.goal_id, task_id=action.task_id):
            work = work_of(self._parts, action, asker)
            try:
                await self._callers.check(action.goal_id, asker.run)
                granted = await self._governor.allow(action, asker, given.grant, work.call.key)
            except PermanentError as error:
                await self._refused(action, error)
                raise
            if granted:
                assert given.grant is not None
                await self._spent(action, given.grant)
            if action.undoes is not None:
                return await self._roll_back(work, action.undoes)
            async with _alive():
                return await Attempt(self._parts, work).run()

    async def _whole(self, given: ExecuteInput) -> tuple[Action, Asker]:
        """The action as it would run, and on whose behalf; what is not said, the ledger knows."""
        action, asker, goal_id = given.action, given.asker, this_goal()
        if asker is None:
            asker = (await self._governor.planned(goal_id)).asker
        if not isinstance(action, Action):
            action = action.action(goal_id, await self._governor.planned(goal_id))
        return self._actual(action), asker

    async def _roll_back(self, work: Work, key: str) -> ExecuteResult:
        """One step of a rollback; nothing where somebody else has taken it already."""
        effect = await undone_effect(self._parts, self._callers, work.action)
        if effect.state is EffectState.UNDONE:
            return ExecuteResult()
        async with _alive():
            result = await Attempt(self._parts, work).run()
        await self._parts.ledger.undone(key)
        return result

    @activity.defn(name=names.RESOLVE)
    async def resolve(self, given: ResolveInput) -> ExecuteResult:
        """Write down what people say became of a lost attempt.

        What happened has no outputs and cannot be undone, since nobody knows what it answered;
        what did not happen is forgotten, so that it may run as a new action.

        Raises:
            GrantMismatch: another workflow asks, or people do not say so.
        """
        action = self._actual(given.action)
        with task_context(workflow_id=action.goal_id, task_id=action.task_id):
            try:
                await self._callers.check(action.goal_id, given.asker.run)
                answer = await self._governor.answer(action, given.asker, given.grant)
            except PermanentError as error:
                await self._refused(action, error)
                raise
            result = ExecuteResult(evidence=given.grant.request.evidence)
            await self._settle(work_of(self._parts, action, given.asker), answer, result)
            detail = {**_names(given.grant), "answer": answer.value}
            await self._append(action, AuditKind.TASK_RESOLVED, "resolved", detail)
            return result

    async def _settle(self, work: Work, answer: Answer, result: ExecuteResult) -> None:
        ledger, call, action = self._parts.ledger, work.call, work.action
        if answer is Answer.DID_NOT_HAPPEN:
            await ledger.abandon(call.key)
            return
        # The attempt may have been lost before it could claim its key.
        await ledger.begin(
            call.key,
            goal_id=call.goal_id,
            task_id=call.task_id,
            operation=action.operation,
            action_digest=action.digest,
            attempt=call.attempt,
        )
        await ledger.finish(call.key, result=result.model_dump(mode="json"), compensation=None)

    @activity.defn(name=names.COMPENSATE)
    async def compensate(self, given: CompensateInput) -> ExecuteResult:
        """Undo one action by what the ledger says it did.

        Of an attempt that was lost, its connector is asked first what became of it.
        """
        forward = self._actual(given.action)
        with task_context(workflow_id=forward.goal_id, task_id=forward.task_id):
            try:
                async with _alive():
                    work = await self._undoing(given, forward)
            except PermanentError as error:
                await self._refused(forward, error, "undo")
                raise
            if work is None:
                return ExecuteResult()
            async with _alive():
                result = await Attempt(self._parts, work).run()
            await self._parts.ledger.undone(effect_key(forward, given.asker))
            return result

    async def _undoing(self, given: CompensateInput, forward: Action) -> Work | None:
        """What undoes the action; nothing where nothing is left to undo.

        Raises:
            GrantMismatch: this workflow did not do it, or did something else.
            PolicyDenied: policy refuses the operation that undoes it.
            OutcomeUnknown: nobody can tell whether there is something to undo.
        """
        await self._callers.check(forward.goal_id, given.asker.run)
        key = effect_key(forward, given.asker)
        effect = await self._parts.ledger.effect(key)
        if effect is not None and effect.action_digest not in (
            forward.digest,
            given.action.digest,
        ):
            raise GrantMismatch(f"what '{forward.task_id}' did is not what is to be undone")
        if effect is not None and effect.state is EffectState.STARTED:
            lost = work_of(self._parts, forward, given.asker, "look")
            await Attempt(self._parts, lost).settle()
            effect = await self._parts.ledger.effect(key)
        if effect is None or effect.compensation is None or effect.state is EffectState.UNDONE:
            return None
        undo = effect.compensation
        operation = self._parts.operation(undo.operation)
        action = forward.model_copy(
            update={
                "operation": undo.operation,
                "inputs": undo.inputs,
                "risk": operation.risk,
                "compensation": None,
            }
        )
        verdict = await self._governor.judge(action, given.asker, compensating=True)
        if verdict.effect is Effect.DENY:
            why = "; ".join(verdict.reasons)
            raise PolicyDenied(f"policy refuses to undo by '{undo.operation}': {why}")
        return work_of(self._parts, action, given.asker, "undo")

    @activity.defn(name=names.CHILD_RESULT)
    async def child_result(self, given: HolderInput) -> GoalResult:
        """Wait for a child that an earlier run of this goal has started."""
        async with _alive():
            return await child_result(given.goal_id, activity.info().workflow_id or "")

    @activity.defn(name=names.CLEAN_UP)
    async def clean_up(self, given: CleanUpInput) -> None:
        """Revoke leases and remove containers that lost attempts left.

        Raises:
            GrantMismatch: another workflow asks.
        """
        check_goal(given.goal_id)
        for lease in await self._parts.ledger.open_leases(goal_id=given.goal_id):
            await revoke_lease(
                self._parts, lease.accessor, goal_id=lease.goal_id, task_id=lease.task_id
            )
        if given.containers:
            await self._parts.release(given.goal_id)

    def _actual(self, action: Action) -> Action:
        return self._governor.actual(action, self._parts.operation(action.operation))

    async def _refused(self, action: Action | Step, error: PermanentError, doing: str = "") -> None:
        REFUSALS.labels(error.code).inc()
        await self._append(
            action,
            AuditKind.TASK_REFUSED,
            f"refused/{error.code}",
            {"code": error.code, "why": error.message[:500]},
            doing,
        )

    async def _spent(self, action: Action, grant: Grant) -> None:
        """Say that a grant is spent: by each attempt, and kept once.

        The attempt that spent it may have died before it could say so.
        """
        await self._parts.audit.append(
            AuditEvent(
                id=f"{this_run()}/{action.task_id}.{action.generation}/spent",
                time=datetime.now(UTC),
                kind=AuditKind.GRANT_SPENT,
                actor="worker",
                goal_id=action.goal_id,
                task_id=action.task_id,
                detail={**_names(grant), "action_digest": action.digest},
            )
        )

    async def _append(
        self,
        action: Action | Step,
        kind: AuditKind,
        name: str,
        detail: dict[str, Json],
        doing: str = "",
    ) -> None:
        if isinstance(action, Action):
            detail = {**detail, "action_digest": action.digest}
        await self._parts.audit.append(
            AuditEvent(
                id=f"{attempt_id(action, doing)}/{name}",
                time=datetime.now(UTC),
                kind=kind,
                actor="worker",
                goal_id=action.goal_id if isinstance(action, Action) else this_goal(),
                task_id=action.task_id,
                attempt=activity.info().attempt,
                detail=detail,
            )
        )


def _names(grant: Grant) -> dict[str, Json]:
    return {"request": grant.request.id, "grant": grant.id}


@asynccontextmanager
async def _alive() -> Any:
    """Heartbeats while the body runs; a local activity has none."""
    if activity.info().is_local:
        yield
        return
    beat = asyncio.create_task(_beating(_BEAT))
    try:
        yield
    finally:
        beat.cancel()


async def _beating(every: timedelta) -> None:
    """Say that this attempt is alive until cancelled."""
    with suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(every.total_seconds())
            activity.heartbeat()
