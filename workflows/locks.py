"""`LockWorkflow`: one named lock, its holders, and the goals that wait for it.

It grants, watches and frees; what a goal does with the lock is not its business, and it starts
nothing but the activities that look for holders and write the record.
"""

from datetime import timedelta
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError, FailureError

from goalkeeper.contracts.activities import HOLDS, HolderInput, HolderResult, LockRequest
from goalkeeper.contracts.goal import SIGNAL_LOCK, LockGranted
from goalkeeper.contracts.locks import (
    QUERY_VIEW,
    SIGNAL_ACQUIRE,
    SIGNAL_RELEASE,
    UPDATE_BREAK,
    WORKFLOW,
    ControlInput,
    LockClaim,
    LockInput,
    LockRelease,
    LockView,
    workflow_id,
)
from goalkeeper.domain.audit import AuditEvent, AuditKind
from goalkeeper.domain.base import Json
from workflows import calls

M = TypeVar("M", bound=BaseModel)

_WATCH = timedelta(minutes=1)
"""How often a held lock looks whether its holders still run."""
_AGAIN = timedelta(seconds=30)
"""How long to wait before writing to a record that could not be written."""
_LONGEST_QUEUE = 4000
"""What is carried over continue-as-new stays below Temporal's 2 MB."""


@workflow.defn(name=WORKFLOW, failure_exception_types=[ValidationError])
class LockWorkflow:
    """Gives one lock to one goal after the other, first come, first served."""

    @workflow.init
    def __init__(self, raw: Any = None, *_: Any) -> None:
        self._complaint = ""
        self._name = ""
        self._holders: list[LockClaim] = []
        self._queue: list[LockClaim] = []
        self._token = 0
        self._untold: list[LockClaim] = []
        """Holders that have not been told yet."""
        self._events: list[AuditEvent] = []
        """What has happened and is not on record yet."""
        self._suspicious = False
        """Somebody queues behind a holder that may be gone."""
        try:
            given = LockInput.model_validate(raw)
            self._complaint = _distrust(given)
        except ValidationError as error:
            self._complaint = f"{error.errors()[0]['msg']}"
        if not self._complaint:
            self._name, self._token = given.name, given.token
            self._holders, self._queue = list(given.holders), list(given.queue)

    @workflow.run
    async def run(self, raw: Any = None, *_: Any) -> None:
        """Serve until there is so much history that another run goes on."""
        if self._complaint:
            raise ApplicationError(
                f"this is no lock: {self._complaint}. Nobody starts a lock by hand: it starts "
                "when the first goal asks for it.",
                type="InvalidGoal",
                non_retryable=True,
            )
        # Holders that were carried over have been told. Whether they still run, the run before may
        # have been about to ask.
        self._suspicious = bool(self._holders and self._queue)
        while not workflow.info().is_continue_as_new_suggested():
            await self._settle()
            await self._watch()
        while self._busy() or not workflow.all_handlers_finished():
            await self._settle()
            await workflow.wait_condition(lambda: self._busy() or workflow.all_handlers_finished())
        workflow.continue_as_new(
            LockInput(
                name=self._name,
                holders=tuple(self._holders),
                queue=tuple(self._queue),
                token=self._token,
            )
        )

    # What happens by itself.

    def _busy(self) -> bool:
        return bool(self._events or self._untold)

    async def _settle(self) -> None:
        """Write down what has happened, then tell those who hold the lock now."""
        while self._busy():
            await self._put_on_record()
            if self._untold:
                await self._tell(self._untold.pop(0))

    async def _put_on_record(self) -> None:
        """A grant that is not on record is not given: the lock waits with its record."""
        while self._events:
            batch = tuple(self._events)
            try:
                await calls.record(*batch)
            except FailureError as error:
                workflow.logger.error("the lock waits for its record: %s", calls.cause_of(error))
                await workflow.sleep(_AGAIN)
                continue
            del self._events[: len(batch)]

    async def _tell(self, claim: LockClaim) -> None:
        if not self._holds(claim):
            return
        goal = workflow.get_external_workflow_handle(claim.goal_id)
        granted = LockGranted(name=self._name, token=self._token, claim=claim.claim)
        try:
            await goal.signal(SIGNAL_LOCK, granted)
        except FailureError:
            self._free(claim, "its goal is gone")

    async def _watch(self) -> None:
        """Wait until something happens; a free lock waits without a timer."""
        try:
            await workflow.wait_condition(
                lambda: self._busy() or self._suspicious,
                timeout=_WATCH if self._holders else None,
                timeout_summary="look for the holder",
            )
        except TimeoutError:
            self._suspicious = True
        if not self._suspicious:
            return
        self._suspicious = False
        for claim in tuple(self._holders):
            if not await self._runs(claim):
                self._free(claim, "its goal has ended")

    async def _runs(self, claim: LockClaim) -> bool:
        """Whether a holder is still going; yes, where nobody can tell."""
        try:
            found: HolderResult = await workflow.execute_local_activity(
                HOLDS,
                HolderInput(goal_id=claim.goal_id),
                result_type=HolderResult,
                start_to_close_timeout=timedelta(seconds=10),
                retry_policy=RetryPolicy(maximum_attempts=3),
            )
        except FailureError:
            return True
        return found.running

    # Who has it.

    def _holds(self, claim: LockClaim) -> bool:
        return any(_same(claim, h) for h in self._holders)

    def _grant_next(self) -> None:
        """Give a free lock to the first in the queue, and to others of the same family."""
        if not self._holders and self._queue:
            self._token += 1
            owner = self._queue[0].owner
            for claim in [c for c in self._queue if c.owner == owner]:
                self._queue.remove(claim)
                self._grant(claim)

    def _grant(self, claim: LockClaim) -> None:
        held = claim.model_copy(update={"since": workflow.now()})
        self._holders.append(held)
        self._untold.append(held)
        self._happened(AuditKind.LOCK_GRANTED, held)

    def _free(self, claim: LockClaim, why: str) -> None:
        """Take a claim away, wherever it stands; the next in the queue moves up."""
        if self._holds(claim):
            self._holders = [h for h in self._holders if not _same(claim, h)]
            self._happened(AuditKind.LOCK_RELEASED, claim, why=why)
        self._queue = [c for c in self._queue if not _same(claim, c)]
        self._grant_next()

    def _happened(
        self, kind: AuditKind, claim: LockClaim, actor: str = "workflow", **detail: Json
    ) -> None:
        lock = workflow.info().workflow_id
        self._events.append(
            AuditEvent(
                id=f"{workflow.info().first_execution_run_id}/{kind.value}/{workflow.uuid4()}",
                time=workflow.now(),
                kind=kind,
                actor=actor[:200],
                goal_id=lock,
                detail={
                    "lock": self._name,
                    "goal": claim.goal_id,
                    "owner": claim.owner,
                    "token": self._token,
                    **detail,
                },
            )
        )

    # What goals and people say.

    @workflow.signal(name=SIGNAL_ACQUIRE)
    def acquire(self, raw: Any = None, *_: Any) -> None:
        """Take a goal's claim; one that is known already changes nothing."""
        request = _parsed(LockRequest, raw)
        if request is None or self._complaint or request.name != self._name:
            return
        claim = LockClaim(
            goal_id=request.goal_id,
            owner=request.owner,
            since=workflow.now(),
            claim=request.claim,
        )
        for held in self._holders:
            if _same(claim, held):
                # It asks again, so perhaps it never heard.
                self._untold.append(held)
                return
        if any(_same(claim, c) for c in self._queue):
            self._suspicious = True
            return
        if any(h.owner == claim.owner for h in self._holders):
            self._grant(claim)
        elif len(self._queue) < _LONGEST_QUEUE:
            self._queue.append(claim)
            self._suspicious = bool(self._holders)
            self._grant_next()
        else:
            workflow.logger.error("the queue is full: '%s' has to ask again", claim.goal_id)

    @workflow.signal(name=SIGNAL_RELEASE)
    def release(self, raw: Any = None, *_: Any) -> None:
        """Take back what a goal gives back, or let it leave the queue."""
        release = _parsed(LockRelease, raw)
        if release is None or self._complaint:
            return
        for claim in (*self._holders, *self._queue):
            if claim.goal_id == release.goal_id and release.claim in (None, claim.claim):
                self._free(claim, "given back")

    @workflow.update(name=UPDATE_BREAK)
    async def break_lock(self, control: ControlInput) -> LockView:
        """Take the lock from its holders and give it to the next; answers once on record."""
        holders, self._holders = self._holders, []
        for claim in holders:
            self._happened(
                AuditKind.LOCK_BROKEN, claim, f"claimed:{control.actor}", reason=control.reason
            )
        # So that a holder that comes back sees that the lock was out of its hands.
        self._token += 1
        self._grant_next()
        await workflow.wait_condition(lambda: not self._events)
        return self.view()

    @break_lock.validator
    def _may_break(self, control: ControlInput) -> None:
        if not control.reason:
            raise ApplicationError(
                "say why the lock is broken: the reason goes on record",
                type="InvalidGoal",
                non_retryable=True,
            )
        if not self._holders:
            raise ApplicationError(
                f"lock '{self._name}' is free: there is nothing to break",
                type="Conflict",
                non_retryable=True,
            )

    @workflow.query(name=QUERY_VIEW)
    def view(self) -> LockView:
        """Who has the lock, and who waits."""
        return LockView(
            name=self._name,
            holders=tuple(self._holders),
            queue=tuple(self._queue),
            token=self._token,
        )


def _same(one: LockClaim, other: LockClaim) -> bool:
    return (one.goal_id, one.claim) == (other.goal_id, other.claim)


def _parsed(model: type[M], raw: Any) -> M | None:
    """What a signal says; nothing where it says nothing that can be understood."""
    try:
        return model.model_validate(raw)
    except ValidationError:
        workflow.logger.warning("ignored a signal that is no %s", model.__name__)
        return None


def _distrust(given: LockInput) -> str:
    """What is wrong with an input that validates: state comes from continue-as-new alone."""
    info = workflow.info()
    if info.workflow_id != workflow_id(given.name):
        return f"lock '{given.name}' has the workflow id '{workflow_id(given.name)}'"
    continued = bool(info.continued_run_id) and not info.cron_schedule and info.attempt == 1
    if not continued and (given.holders or given.queue or given.token):
        return "holders, queue and token are not for callers"
    return ""
