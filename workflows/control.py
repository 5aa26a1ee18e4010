"""What people may do to a going goal: the checks, and what each does to the record.

It changes the record and tells the scheduler; it neither records to the audit log nor decides how
the goal ends.
"""

import asyncio
from collections.abc import Sequence

from temporalio.exceptions import ApplicationError

from goalkeeper.contracts.activities import ReplanInput
from goalkeeper.contracts.goal import TaskChangeInput, TaskControlInput
from goalkeeper.domain.goal import Skip
from goalkeeper.domain.plan import BUILT_IN, WAIT, TaskState
from workflows import calls
from workflows.approvals import Approvals
from workflows.scheduler import Scheduler
from workflows.state import GoalRecord
from workflows.tasks import CANCELLED

_NOT_BEGUN = (TaskState.PENDING, TaskState.AWAITING_APPROVAL)
_AGAIN = (TaskState.FAILED, TaskState.CANCELLED)


class Control:
    """The hands of people on one goal."""

    def __init__(self, record: GoalRecord, approvals: Approvals, scheduler: Scheduler) -> None:
        self._record = record
        self._approvals = approvals
        self._scheduler = scheduler

    # Checks: each raises an `ApplicationError` that says why not.

    def may_cancel(self, task_id: str) -> None:
        """A task that has not ended may be cancelled."""
        state = self._state(task_id)
        if state not in (*_NOT_BEGUN, TaskState.RUNNING):
            raise conflict(f"task '{task_id}' is {state.value} and cannot be cancelled")

    def may_retry(self, task_id: str) -> None:
        """A task that failed or was cancelled may run again."""
        state = self._state(task_id)
        if state not in _AGAIN:
            raise conflict(
                f"task '{task_id}' is {state.value}; only a failed or cancelled one is retried"
            )
        self._must_know(task_id)

    def may_skip(self, control: TaskControlInput) -> None:
        """A task that does nothing at the moment may be skipped, for a reason."""
        state, task = self._state(control.task_id), self._record.by_id[control.task_id]
        waits = state is TaskState.RUNNING and task.operation == WAIT
        if state not in (*_NOT_BEGUN, *_AGAIN) and not waits:
            raise conflict(
                f"task '{control.task_id}' is {state.value}; only one that has not begun, waits, "
                "failed or was cancelled can be skipped"
            )
        if not control.reason:
            raise conflict("a task is skipped for a reason; give one")
        self._must_know(control.task_id)

    def may_change(self, control: TaskChangeInput) -> None:
        """An operation that has not begun may get other inputs."""
        state, task = self._state(control.task_id), self._record.by_id[control.task_id]
        if task.operation in BUILT_IN:
            raise conflict(f"'{task.id}' is no operation; only an operation's inputs are changed")
        if state not in _NOT_BEGUN or control.task_id in self._record.items:
            raise conflict(
                f"task '{task.id}' is {state.value}; only inputs of a task that has not begun are "
                "changed"
            )

    def _must_know(self, task_id: str) -> None:
        """What became of an item's lost attempt is not known: the item never runs blindly again."""
        for ident in self._record.instances(task_id):
            if self._record.state(ident) is TaskState.UNKNOWN:
                raise conflict(
                    f"what became of '{ident}' is not known, so '{task_id}' cannot run again or be "
                    "skipped as a whole; its other items can, each by its own name"
                )

    def _state(self, task_id: str) -> TaskState:
        if task_id not in self._record.tasks:
            raise ApplicationError(
                f"the goal has no task '{task_id}'", type="NotFound", non_retryable=True
            )
        if self._record.by_id[task_id].always:
            raise conflict(f"'{task_id}' always runs, once everything else is over")
        return self._record.state(task_id)

    # What they do.

    def cancel(self, task_id: str) -> None:
        """Stop one task, or all of its items."""
        for ident in self._whole(task_id):
            running = self._scheduler.running.get(ident)
            if running is not None:
                running.cancel()
            elif not self._record.settled(ident):
                self._record.set(ident, TaskState.CANCELLED, failure=CANCELLED)
                self._scheduler.settle(ident)

    def retry(self, task_id: str) -> None:
        """Run a task again, or those of its items that did not succeed."""
        ids = [i for i in self._whole(task_id) if not self._record.fulfilled(i)]
        for ident in ids:
            self._record.again(ident)
        self._scheduler.again(ids)

    async def skip(self, task_id: str, reason: str) -> None:
        """Pass over a task; what needs it goes on."""
        running = self._scheduler.running.get(task_id)
        settled = self._record.settled(task_id)
        for ident in self._record.instances(task_id):
            if not self._record.fulfilled(ident):
                self._record.skip(ident, Skip.PERSON, reason)
        self._record.skip(task_id, Skip.PERSON, reason)
        self._approvals.void(task_id, f"'{task_id}' was skipped", granted=False)
        if running is not None:
            # It finds itself skipped, and leaves it at that.
            running.cancel()
            await asyncio.wait([running])
        elif settled:
            self._scheduler.reconsider(task_id)
        else:
            self._scheduler.settle(task_id)
        parent = self._record.parent_of(task_id)
        if parent is not None and settled:
            self._scheduler.gather_again(parent)

    async def change(self, control: TaskChangeInput) -> None:
        """Give a task other inputs, and ask again about what had been approved otherwise.

        Raises:
            ApplicationError: the inputs are wrong or refused, or the task has begun meanwhile.
        """
        task = self._record.by_id[control.task_id]
        changed = await calls.replan(
            ReplanInput(
                asker=self._record.asker,
                goal_id=self._record.goal_id,
                environment=self._record.plan.environment,
                task=task,
                inputs=control.inputs,
            )
        )
        self.may_change(control)
        if self._record.by_id[control.task_id] is not task:
            raise conflict(f"task '{task.id}' was changed by somebody else meanwhile; look again")
        self._record.change(changed)
        askers = self._approvals.void(
            task.id, f"the inputs of '{task.id}' were changed", granted=True
        )
        # A gate that had let the task pass asks anew; one that still waits does so by itself.
        gates = [a for a in askers if self._record.state(a) is TaskState.SUCCEEDED]
        for gate in gates:
            self._record.set(gate, TaskState.PENDING, outputs=None, ended_at=None)
        self._scheduler.again(gates)

    def _whole(self, task_id: str) -> Sequence[str]:
        return self._record.instances(task_id) or [task_id]


def conflict(message: str) -> ApplicationError:
    """The goal is not in a state for that."""
    return ApplicationError(message, type="Conflict", non_retryable=True)
