"""One task of the interpreter: resolve, ask where needed, execute, keep the result.

It turns every way in which a task can end into a state; it knows nothing of other tasks' order.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError, is_cancelled_exception

from goalkeeper.contracts.activities import ExecuteInput, ExecuteResult, ResolveInput, Step
from goalkeeper.domain.approval import Action, Answer, Grant
from goalkeeper.domain.base import Json
from goalkeeper.domain.errors import GoalkeeperError
from goalkeeper.domain.evidence import Evidence
from goalkeeper.domain.goal import Failure, Skip
from goalkeeper.domain.operation import Risk
from goalkeeper.domain.plan import (
    APPROVAL,
    BUILT_IN,
    GOAL,
    WAIT,
    LockUse,
    PlanTask,
    TaskState,
    WhileWaiting,
)
from goalkeeper.domain.policy import Effect
from workflows import calls
from workflows.actions import action_of, approved_action, items_of, meets_condition
from workflows.approvals import Approvals, CarriedOver, Withdrawn
from workflows.children import ChildGoals
from workflows.ending import to_its_end
from workflows.locking import Locks
from workflows.state import HANDLERS, GoalRecord
from workflows.waits import Waits

CANCELLED = Failure(code="Cancelled", message="cancelled before it ended")
_LOST = "AttemptLost"
_UNKNOWN = "OutcomeUnknown"


class TaskRunner:
    """Carries single tasks out and writes down what became of them."""

    def __init__(
        self,
        record: GoalRecord,
        approvals: Approvals,
        locks: Locks,
        *,
        carrying: Callable[[], bool],
        cancelled: Callable[[], bool],
        stopping: Callable[[], bool],
        changed: Callable[[], None],
        resumed: Callable[[], Awaitable[None]],
        park: Callable[[str, bool], None],
        again: Callable[[Sequence[str]], None],
    ) -> None:
        """Take the goal's parts.

        Args:
            record: the goal.
            approvals: who asks people.
            locks: the goal's locks.
            carrying: whether the workflow is about to continue as new.
            cancelled: whether the goal was cancelled.
            stopping: whether nothing further starts in the goal.
            changed: told after each change that others may wait for.
            resumed: waits while the goal is paused.
            park: told when a task begins or ends to wait for something that is no work.
            again: makes tasks that have ended, or wait, pending for another time.
        """
        self._record = record
        self._approvals = approvals
        self._locks = locks
        self._goal_cancelled = cancelled
        self._stopping = stopping
        self._changed = changed
        self._resumed = resumed
        self._park = park
        self._again = again
        self._riskier: set[str] = set()
        """Tasks that policy asks about on their resolved inputs, although it let the plan pass."""
        self._locking = [t.id for t in record.plan.tasks if t.lock is not None]
        self._children = ChildGoals(record, carrying=carrying)
        self.waits = Waits(record, carrying=carrying)

    async def run(self, task_id: str) -> None:
        """Bring one ready task to an end, or to its instances, whatever happens; raises nothing."""
        task = self._record.by_id[task_id]
        try:
            await self._begin(task)
        except CarriedOver:
            return
        except Withdrawn:
            self._record.skip(task_id, Skip.STOPPED)
        except asyncio.CancelledError:
            self._cancelled(task_id)
        except GoalkeeperError as error:
            self._fail(task_id, Failure(code=error.code, message=error.message))
        except FailureError as error:
            self._activity_failed(task_id, error)
        if self._record.state(task_id) is not TaskState.SUCCEEDED or task.operation == APPROVAL:
            self._changed()
        if task.lock is not None:
            await self._give_back_locks()

    async def _begin(self, task: PlanTask) -> None:
        if not meets_condition(self._record, task):
            self._record.skip(task.id, Skip.CONDITION)
            return
        if task.lock is not None:
            with self._parked(task.id):
                await self._locks.acquire(task.id)
            if self._read_again(task):
                return
        else:
            self._locks.heard([task.id])
        if task.for_each is not None:
            await self._expand(task)
        elif task.operation == APPROVAL:
            await self._gate(task)
        elif task.operation == WAIT:
            self._running(task)
            with self._parked(task.id):
                self._succeeded(task, await self.waits.wait(task))
        elif task.operation == GOAL:
            started = self._record.state(task.id) is TaskState.RUNNING
            self._running(task)
            with self._parked(task.id):
                self._succeeded(task, await self._children.run(task, started=started))
            self._record.effects.append(task.id)
        else:
            await self._operation(task)

    def _running(self, task: PlanTask) -> None:
        if self._record.state(task.id) is not TaskState.RUNNING:
            self._record.set(task.id, TaskState.RUNNING)

    def _succeeded(self, task: PlanTask, outputs: Json) -> None:
        self._record.set(task.id, TaskState.SUCCEEDED, outputs=outputs)

    async def _expand(self, task: PlanTask) -> None:
        """Make the instances; where policy asks, ask once for all of them."""
        if task.id not in self._record.items:
            self._record.expand(task.id, items_of(self._record, task))
        verdict = self._record.verdict(task.id)
        if verdict is not None and verdict.effect is Effect.ASK and not self._granted(task):
            await self._ask(task, lambda: self._actions_of(task.id))
            if self._record.state(task.id) is TaskState.PENDING:
                return
        self._record.set(task.id, TaskState.RUNNING)
        self._changed()

    def _granted(self, task: PlanTask) -> bool:
        return all(self._record.approved(a) for a in self._actions_of(task.id))

    def _actions_of(self, task_id: str) -> list[Action]:
        """What a task would still run: one action, or one for each of its items."""
        task = self._record.by_id[task_id]
        if task.for_each is not None and task_id not in self._record.items:
            self._record.expand(task_id, items_of(self._record, task))
        ids = self._record.instances(task_id) if task.for_each is not None else [task_id]
        left = [i for i in ids if not self._record.settled(i)]
        return [action_of(self._record, i) for i in left]

    async def _gate(self, task: PlanTask) -> None:
        def actions() -> list[Action]:
            return [a for covered in task.covers for a in self._actions_of(covered)]

        def shown() -> dict[str, Json]:
            outputs = self._record.outputs()
            return {s: outputs[s] for s in task.show if s in outputs}

        grant = await self._ask(task, actions, shown)
        if self._record.state(task.id) is TaskState.PENDING:
            return
        people: list[Json] = list(self._record.asked[grant.request.id].envelopes) if grant else []
        self._succeeded(task, {"needed": grant is not None, "approved_by": people})

    async def _operation(self, task: PlanTask) -> None:
        if self._record.questioned(task.id) and not await self._find_out(task):
            return
        looked = False
        while True:
            action, grant = approved_action(self._record, task.id)
            if grant is None and self._asks(task):
                if await self._ask(task, lambda: [action_of(self._record, task.id)]) is not None:
                    continue
                if self._record.state(task.id) is TaskState.PENDING:
                    return
            try:
                result = await self._execute(task, action, grant)
            except FailureError as error:
                if is_cancelled_exception(error):
                    raise
                cause = calls.cause_of(error)
                lost = _may_have_happened(cause) and _once(task)
                if cause.type == "ApprovalNeeded" and grant is None:
                    # The resolved inputs made it riskier than the plan looked.
                    self._riskier.add(task.id)
                elif lost and not looked:
                    # The next attempt finds out what became of the last, before anything else.
                    looked = True
                elif not (lost or cause.type == _UNKNOWN):
                    raise
                elif not await self._find_out(task, action, cause):
                    return
                continue
            if result.compensable:
                self._record.effects.append(task.id)
            self._record.set(
                task.id,
                TaskState.SUCCEEDED,
                outputs=result.outputs,
                evidence=result.evidence,
            )
            return

    def _asks(self, task: PlanTask) -> bool:
        verdict = self._record.verdict(task.id)
        asks = verdict is not None and verdict.effect is Effect.ASK
        return asks or task.id in self._riskier

    async def _find_out(
        self, task: PlanTask, action: Action | None = None, cause: ApplicationError | None = None
    ) -> bool:
        """Ask people what became of a lost attempt; whether the task is to run again."""

        def asked() -> None:
            # Not before it is asked: what is unknown and asked of nobody stops the goal.
            if cause is not None:
                self._unknown(task, cause)
            self._changed()

        if cause is not None and self._goal_cancelled():
            # Nobody waits for an answer any more; a person finds it as it is.
            self._unknown(task, cause)
            return False
        with self._parked(task.id):
            try:
                said = await self._approvals.outcome(
                    task.id, action, _evidence_of(cause) if cause else (), asked=asked
                )
            except asyncio.CancelledError:
                if cause is not None and self._record.state(task.id) is TaskState.RUNNING:
                    # Before anybody was asked: it is not known all the same.
                    self._unknown(task, cause)
                raise
            except FailureError:
                if cause is None:
                    raise
                # Nobody can be asked: as an ordinary failure it could be retried blindly.
                self._unknown(task, cause)
                return False
        if said is None:
            return False
        answer, grant = said
        cut: list[bool] = []
        try:
            # What people have said counts also where the goal is cancelled meanwhile.
            await to_its_end(self._resolved(grant), lambda: cut.append(True))
        except FailureError as error:
            self._doubted(task, grant, calls.cause_of(error))
            return False
        if answer is Answer.HAPPENED:
            self._record.set(task.id, TaskState.SUCCEEDED, failure=None)
            return False
        if self._stopping() and not task.always and task.run not in HANDLERS:
            self._record.skip(task.id, Skip.STOPPED)
            return False
        self._record.again(task.id)
        if cut:
            raise asyncio.CancelledError
        self._changed()
        await self._resumed()
        return True

    async def _resolved(self, grant: Grant) -> bool:
        await calls.resolve(
            ResolveInput(action=grant.request.actions[0], asker=self._record.asker, grant=grant)
        )
        return True

    def _doubted(self, task: PlanTask, grant: Grant, cause: ApplicationError) -> None:
        """What people said does not count: it is as unknown as before, and asked of nobody."""
        self._record.asked[grant.request.id].closed = "withdrawn"
        why = f"what became of it is not known, and the answer does not count: {cause.message}"
        failure = Failure(code=_UNKNOWN, message=why[:2000])
        self._record.set(task.id, TaskState.UNKNOWN, failure=failure)

    def _unknown(self, task: PlanTask, cause: ApplicationError) -> None:
        self._record.set(
            task.id,
            TaskState.UNKNOWN,
            failure=Failure(code=_UNKNOWN, message=cause.message),
            evidence=_evidence_of(cause),
        )

    async def _ask(
        self,
        task: PlanTask,
        actions: Callable[[], list[Action]],
        shown: Callable[[], dict[str, Json]] = dict,
    ) -> Grant | None:
        """Ask people; afterwards the task is pending where it must begin again."""
        self._record.set(task.id, TaskState.AWAITING_APPROVAL)
        self._changed()
        with self._parked(task.id):
            async with self._locks_meanwhile(task):
                grant = await self._approvals.grant(task.id, actions, shown)
                await self._resumed()
            if task.lock is not None:
                await self._locks.acquire(task.id)
                if self._read_again(task):
                    return None
        return grant

    async def _execute(self, task: PlanTask, action: Action, grant: Grant | None) -> ExecuteResult:
        self._record.set(task.id, TaskState.RUNNING)
        if grant is not None:
            self._changed()
        step = Step.of(action, self._record.planned.policy_version)
        given = ExecuteInput(action=step, grant=grant)
        return await calls.execute(task, given, self._record.planned.pools)

    # Locks.

    @asynccontextmanager
    async def _locks_meanwhile(self, task: PlanTask) -> AsyncIterator[None]:
        """What becomes of the goal's locks while people are asked, as the contract says."""
        if task.lock is None:
            yield
            return
        letting_go = asyncio.ensure_future(self._let_go(task.lock))
        try:
            yield
        finally:
            letting_go.cancel()
            await asyncio.wait([letting_go])

    async def _let_go(self, lock: LockUse) -> None:
        if lock.while_waiting is WhileWaiting.HOLD:
            if lock.hold_for is None:
                return
            until = self._locks.hold_until or workflow.now() + lock.hold_for
            self._locks.hold_until = until
            await workflow.sleep(max(until - workflow.now(), timedelta(milliseconds=1)))
        # As long as another task of the goal works under it, it stays.
        while self._working():
            await workflow.wait_condition(lambda: not self._working())
        await self._locks.let_go()

    def _working(self) -> bool:
        return any(self._record.state(t) is TaskState.RUNNING for t in self._locking)

    def _read_again(self, task: PlanTask) -> bool:
        """What was read before somebody else had the lock, and feeds this task, is read anew.

        Returns:
            Whether there is such a task, so that this one begins again after it.
        """
        stale = [
            t
            for t in self._reads_before(task)
            if self._record.fulfilled(t) and self._locks.is_behind(t)
        ]
        if not stale:
            return False
        self._keep_what_ran()
        for ident in stale:
            self._record.again(ident)
        self._locks.heard(stale)
        self._record.set(task.id, TaskState.PENDING)
        # What is read now may be another list than the one that was asked about.
        self._record.forget_lists()
        self._again(stale)
        return True

    def _keep_what_ran(self) -> None:
        """Undoing names exactly what was done, which other readings would resolve otherwise."""
        record = self._record
        running = [t.id for t in record.in_state(TaskState.RUNNING)]
        for ident in (*record.effects, *running):
            task = record.by_id[ident]
            if task.operation not in BUILT_IN and task.for_each is None and ident not in record.ran:
                record.ran[ident] = approved_action(record, ident)[0]

    def _reads_before(self, task: PlanTask) -> list[str]:
        """What read under a lock for this task, and what has only worked on that since."""
        before: set[str] = set()
        queue = list(task.needs)
        while queue:
            need = queue.pop()
            if need not in before:
                before.add(need)
                queue += self._record.by_id[need].needs
        found: dict[str, None] = {}
        for other in self._record.plan.tasks:
            reads = other.risk is Risk.READ and other.operation not in BUILT_IN
            if other.id in before and reads and other.for_each is None:
                if other.lock is not None or any(n in found for n in other.needs):
                    found[other.id] = None
        return list(found)

    async def _give_back_locks(self) -> None:
        """Give the locks back once no task that names one is left."""
        if self._record.bad or not all(self._record.settled(t) for t in self._locking):
            return
        await self._locks.release()

    @contextmanager
    def _parked(self, task_id: str) -> Iterator[None]:
        self._park(task_id, True)
        try:
            yield
        finally:
            self._park(task_id, False)

    # Ends.

    def _activity_failed(self, task_id: str, error: FailureError) -> None:
        if is_cancelled_exception(error):
            self._cancelled(task_id)
            return
        cause = calls.cause_of(error)
        self._fail(task_id, Failure(code=cause.type or "InternalError", message=cause.message))

    def _cancelled(self, task_id: str) -> None:
        if not self._record.settled(task_id):
            # Else a person skipped it while it waited.
            self._note_effect(task_id)
            self._record.set(task_id, TaskState.CANCELLED, failure=CANCELLED)

    def _note_effect(self, task_id: str) -> None:
        """A task that ends badly may have had its effect nevertheless: the ledger will tell."""
        running = self._record.state(task_id) is TaskState.RUNNING
        if running and self._record.by_id[task_id].compensation is not None:
            self._record.effects.append(task_id)

    def _fail(self, task_id: str, failure: Failure) -> None:
        state = TaskState.UNKNOWN if failure.code == _UNKNOWN else TaskState.FAILED
        self._note_effect(task_id)
        self._record.set(task_id, state, failure=failure)


def _once(task: PlanTask) -> bool:
    return not task.idempotent and task.risk is not Risk.READ


def _may_have_happened(cause: ApplicationError) -> bool:
    """Whether the last attempt was lost, or failed after it had sent its operation."""
    told = cause.details[0] if cause.details else None
    sent = isinstance(told, dict) and told.get("sent") is True
    return cause.type == _LOST or (sent and not cause.non_retryable)


def _evidence_of(cause: ApplicationError) -> tuple[Evidence, ...]:
    """What a lost attempt left behind, as the activity's failure carries it."""
    found = cause.details[0] if cause.details else None
    listed = found.get("evidence") if isinstance(found, dict) else None
    return tuple(Evidence.model_validate(e) for e in listed or ())
