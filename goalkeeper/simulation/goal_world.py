"""The world of simulated goals: every activity of `GoalWorkflow`, in memory.

It holds workflows to what the real activities hold them to (policy, grants, the ledger) and does
nothing; how plans are made and what operations answer is handed in.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from temporalio.api.common.v1 import Payload

from goalkeeper.contracts import activities as names
from goalkeeper.contracts.activities import (
    Asker,
    AuthoriseInput,
    AuthoriseResult,
    CompensateInput,
    ExecuteInput,
    ExecuteResult,
    GoalOnRecord,
    HolderInput,
    KeysResult,
    LockRequest,
    PlanInput,
    RecordInput,
    ReplanInput,
    ResolveInput,
    Step,
)
from goalkeeper.contracts.goal import ChangedTask, LockGranted, PlannedGoal
from goalkeeper.domain.approval import Action, Grant, Requester, verify_grant, verify_outcome
from goalkeeper.domain.audit import AuditEvent
from goalkeeper.domain.base import GoalId, Json
from goalkeeper.domain.errors import (
    ApprovalNeeded,
    Conflict,
    GoalkeeperError,
    GrantMismatch,
    GrantSpent,
    PolicyDenied,
)
from goalkeeper.domain.goal import GoalResult
from goalkeeper.domain.policy import Effect, Verdict
from goalkeeper.policy import combine
from goalkeeper.simulation.people import Gateway
from goalkeeper.simulation.rollback import key_of, plan_rollback, within
from goalkeeper.simulation.world import ActivityCall, Attempt

_AT_ONCE = timedelta()
_LOOKS_AGAIN = timedelta(seconds=1)
"""Whoever waits for a goal that another run had started looks whether it has ended."""


@dataclass(frozen=True)
class Deed:
    """What an operation does in a simulation."""

    takes: timedelta
    outputs: Json = None
    error: Exception | None = None
    compensable: bool = False


class Operations(Protocol):
    """What stands in for the connectors."""

    def perform(self, action: Action, attempt: int) -> Deed:
        """How an attempt at an action goes."""
        ...

    def undo(self, action: Action, attempt: int) -> Deed:
        """How an attempt at undoing it goes."""
        ...


class Planning(Protocol):
    """What stands in for planning and policy."""

    def plan(self, given: PlanInput, gateway: Gateway) -> PlannedGoal:
        """A judged plan."""
        ...

    def judge(self, action: Action, asker: Asker) -> tuple[Verdict, str]:
        """Policy's verdict, and policy's version."""
        ...


@dataclass(frozen=True)
class Work:
    """One piece of work, whatever the number of attempts at it."""

    goal_id: GoalId
    task_id: str
    generation: int

    @classmethod
    def of(cls, action: Action) -> "Work":
        """That of an action."""
        return cls(action.goal_id, action.task_id, action.generation)


@dataclass
class GoalWorld:
    """See the module."""

    planning: Planning
    operations: Operations
    gateway: Gateway
    grant_lock: Callable[[LockRequest, LockGranted], None]
    """Tells a goal that it has a lock."""
    result_of: Callable[[GoalId], GoalResult]
    """The result of a goal that has ended."""
    events: list[AuditEvent] = field(default_factory=list)
    """The record, each id once."""
    begun: list[Work] = field(default_factory=list)
    """Work in the order in which its first attempts began."""
    done: list[Work] = field(default_factory=list)
    """Work that succeeded, in order."""
    undone: list[Work] = field(default_factory=list)
    """Work that was undone, in order."""
    resolved: list[Work] = field(default_factory=list)
    spent: dict[str, Work] = field(default_factory=dict)
    cleaned: Counter[str] = field(default_factory=Counter)
    locks: dict[str, str] = field(default_factory=dict)
    """Lock → the goal that has it."""
    tokens: Counter[str] = field(default_factory=Counter)
    _effects: dict[Work, Action] = field(default_factory=dict)
    """What can be undone."""
    _known: set[str] = field(default_factory=set)
    _planned: dict[str, PlannedGoal] = field(default_factory=dict)
    """What the ledger would keep of each goal."""

    def attempt(self, call: ActivityCall, now: datetime) -> Attempt:
        """An attempt at one of the goal's activities."""
        match call.activity_type:
            case names.PLAN:
                return _at_once(self._plan, call.argument(PlanInput))
            case names.AUTHORISE:
                return _at_once(self._authorise, call.argument(AuthoriseInput), now)
            case names.DECISION_KEYS:
                return _at_once(lambda: KeysResult(keys=self.gateway.keys))
            case names.RECORD:
                return _at_once(self._record, call.argument(RecordInput))
            case names.EXECUTE:
                return self._execute(self._whole(call), call.attempt, now)
            case names.REPLAN:
                return _at_once(self._replan, call.argument(ReplanInput))
            case names.RESOLVE:
                return _at_once(self._resolve, call.argument(ResolveInput))
            case names.LOCK:
                return _at_once(self._lock, call.argument(LockRequest))
            case names.CHILD_RESULT:
                child = call.argument(HolderInput).goal_id
                return Attempt(_LOOKS_AGAIN, lambda: self.result_of(child))
            case names.COMPENSATE:
                return self._compensate(call.argument(CompensateInput), call.attempt)
            case names.CLEAN_UP:
                return _at_once(self._clean_up, call.workflow_id)
        raise AssertionError(f"the simulation knows no activity '{call.activity_type}'")

    def cancelling(self, call: ActivityCall) -> timedelta:
        """A running operation notices with its next heartbeat."""
        return timedelta(seconds=5)

    def signalled(self, workflow_id: str, name: str, arguments: Sequence[Payload]) -> bool:
        """A lock is given back."""
        lock = workflow_id.removeprefix("goalkeeper-lock-")
        if lock == workflow_id:
            return False
        self.locks.pop(lock, None)
        return True

    def _whole(self, call: ActivityCall) -> ExecuteInput:
        """The input with what the worker would take from its ledger and from the operation."""
        given, planned = call.argument(ExecuteInput), self._planned[call.workflow_id]
        asker = Asker(requester=planned.requester, contract=planned.plan.contract, run="simulation")
        step = given.action
        assert isinstance(step, Step)
        [task] = [t for t in planned.plan.tasks if t.id == step.task_id.partition(".")[0]]
        action = step.action(
            call.workflow_id,
            GoalOnRecord(
                asker=asker,
                plan_digest=planned.plan_digest,
                environment=planned.plan.environment,
                policy_version=planned.policy_version,
            ),
        )
        known = {"risk": task.risk, "compensation": task.compensation}
        action = action.model_copy(update=known)
        return given.model_copy(update={"action": action, "asker": asker})

    def _plan(self, given: PlanInput) -> PlannedGoal:
        planned = self._planned[given.goal_id] = self._made(given)
        return planned

    def _made(self, given: PlanInput) -> PlannedGoal:
        undo = given.goal.rollback
        if undo is None:
            return self.planning.plan(given, self.gateway)
        left = {w: a for w, a in self._effects.items() if w not in self.undone}
        effects = [a for w, a in left.items() if within(w.goal_id, undo)]
        requester = Requester(id=given.goal.requester)
        return plan_rollback(undo, effects, requester, self.gateway.keys)

    def _authorise(self, given: AuthoriseInput, now: datetime) -> AuthoriseResult:
        judged = [self.planning.judge(a, given.asker) for a in given.actions]
        return AuthoriseResult(
            verdict=combine(verdict for verdict, _ in judged),
            policy_version=judged[0][1],
            at=now,
        )

    def _record(self, given: RecordInput) -> None:
        for event in given.events:
            if event.id not in self._known:
                self._known.add(event.id)
                self.events.append(event)

    def _execute(self, given: ExecuteInput, attempt: int, now: datetime) -> Attempt:
        action = given.action
        assert isinstance(action, Action)
        work = Work.of(action)
        if action.undoes is not None:
            done = next(w for w, a in self._effects.items() if key_of(a) == action.undoes)
            return self._undo(done, attempt)
        try:
            self._allow(given, now)
        except GoalkeeperError as error:
            return _fails(error)
        if attempt == 1:
            self.begun.append(work)
        deed = self.operations.perform(action, attempt)

        def finish() -> ExecuteResult:
            if deed.error is not None:
                raise deed.error
            self.done.append(work)
            if deed.compensable:
                self._effects[work] = action
            return ExecuteResult(outputs=deed.outputs, compensable=deed.compensable)

        return Attempt(deed.takes, finish)

    def _allow(self, given: ExecuteInput, now: datetime) -> None:
        """As the worker's governor: what is not allowed does not run, whatever a workflow says."""
        action, grant = given.action, given.grant
        assert isinstance(action, Action)
        assert given.asker is not None
        verdict, version = self.planning.judge(action, given.asker)
        if verdict.effect is Effect.DENY:
            raise PolicyDenied(f"policy refuses '{action.operation}': {'; '.join(verdict.reasons)}")
        if verdict.requirement is None:
            return
        if grant is None:
            raise ApprovalNeeded(f"policy asks for people: {'; '.join(verdict.reasons)}")
        if action.policy_version != version:
            raise GrantMismatch("policy has changed since it was approved")
        self._spend(grant, action, now)

    def _spend(self, grant: Grant, action: Action, now: datetime) -> None:
        decisions = verify_grant(grant, action, self.gateway.keys)
        key, work = f"{grant.id}/{action.digest}", Work.of(action)
        last = max(d.decided_at for d in decisions)
        if key not in self.spent and now > last + grant.request.requirement.valid_for:
            raise GrantMismatch(f"the approval '{grant.request.id}' has aged out")
        if self.spent.setdefault(key, work) != work:
            raise GrantSpent(f"the approval '{grant.request.id}' was used for something else")

    def _replan(self, given: ReplanInput) -> ChangedTask:
        inputs = {**given.task.inputs, **given.inputs}
        kept = [p for p in given.task.bindings if p.split("/")[1] not in given.inputs]
        bound = {p: given.task.bindings[p] for p in kept}
        task = given.task.model_copy(update={"inputs": inputs, "bindings": bound})
        action = Action(
            goal_id=given.goal_id,
            task_id=task.id,
            plan_digest="sha256:" + "0" * 64,
            operation=task.operation,
            inputs=inputs,
            environment=given.environment,
            risk=task.risk,
            credentials=task.credentials,
            policy_version="sha256:" + "0" * 64,
        )
        verdict, _ = self.planning.judge(action, given.asker)
        if verdict.effect is Effect.DENY:
            raise PolicyDenied(f"policy refuses it: {'; '.join(verdict.reasons)}")
        return ChangedTask(task=task, verdict=verdict)

    def _resolve(self, given: ResolveInput) -> ExecuteResult:
        verify_outcome(given.grant, given.action, self.gateway.keys)
        self.resolved.append(Work.of(given.action))
        return ExecuteResult()

    def _lock(self, given: LockRequest) -> None:
        holder = self.locks.setdefault(given.name, given.owner)
        if holder != given.owner:
            raise Conflict(f"lock '{given.name}' is held by '{holder}' for ever in a simulation")
        self.tokens[given.name] += 1
        self.grant_lock(given, _granted(given, self.tokens[given.name]))

    def _compensate(self, given: CompensateInput, attempt: int) -> Attempt:
        work = Work.of(given.action)
        if work not in self._effects or work in self.undone:
            return _at_once(ExecuteResult)
        if self._effects[work].digest != given.action.digest:
            return _fails(GrantMismatch("what is to be undone is not what was done"))
        return self._undo(work, attempt)

    def _undo(self, work: Work, attempt: int) -> Attempt:
        deed = self.operations.undo(self._effects[work], attempt)

        def finish() -> ExecuteResult:
            if deed.error is not None:
                raise deed.error
            if work not in self.undone:
                self.undone.append(work)
            return ExecuteResult()

        return Attempt(deed.takes, finish)

    def _clean_up(self, goal_id: str) -> None:
        self.cleaned[goal_id] += 1


def _granted(given: LockRequest, token: int) -> LockGranted:
    return LockGranted(name=given.name, token=token, claim=given.claim)


def _at_once(function: Callable[..., Any], *arguments: Any) -> Attempt:
    return Attempt(_AT_ONCE, lambda: function(*arguments))


def _fails(error: Exception) -> Attempt:
    def finish() -> None:
        raise error

    return Attempt(_AT_ONCE, finish)
