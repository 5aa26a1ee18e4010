"""Activities under way: attempts, time-outs, retries and cancellation by Temporal's rules.

It asks the world how an attempt goes; it never looks into what an activity is for.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from temporalio.api.failure.v1 import Failure
from temporalio.bridge.proto.workflow_activation import WorkflowActivationJob
from temporalio.bridge.proto.workflow_commands import ActivityCancellationType
from temporalio.exceptions import CancelledError, TimeoutError, TimeoutType

from goalkeeper.simulation.agenda import Agenda, Entry
from goalkeeper.simulation.conversion import (
    AnyError,
    activity_failure,
    crossed,
    failure_of,
    payloads,
)
from goalkeeper.simulation.world import ActivityCall, World, next_attempt


@dataclass
class Activity:
    """One activity that a workflow has scheduled."""

    workflow_id: str
    wanted: Any
    """The command: ``ScheduleActivity`` or ``ScheduleLocalActivity``."""
    local: bool
    inbox: list[WorkflowActivationJob]
    deadline: datetime | None
    """Of all attempts together."""
    attempt: int = 0
    running: bool = False
    """An attempt is at work, as opposed to waiting for its turn."""
    entry: Entry | None = None
    """Its next step."""

    @property
    def call(self) -> ActivityCall:
        """The current attempt as the world sees it."""
        return ActivityCall(
            workflow_id=self.workflow_id,
            activity_type=self.wanted.activity_type,
            activity_id=self.wanted.activity_id,
            arguments=self.wanted.arguments,
            attempt=self.attempt,
            local=self.local,
        )

    def seen(self, error: AnyError) -> Failure:
        """An error as the workflow sees it: a local activity's comes without a wrapping."""
        if self.local:
            return failure_of(error)
        return activity_failure(self.wanted.activity_type, self.wanted.activity_id, error)


class Activities:
    """Every activity that one workflow run has under way, by its sequence number."""

    def __init__(self, agenda: Agenda, world: World) -> None:
        self._agenda = agenda
        self._world = world
        self._open: dict[int, Activity] = {}

    @property
    def any_local(self) -> bool:
        """Whether a local activity runs, which keeps its workflow task open."""
        return any(a.local for a in self._open.values())

    def schedule(
        self, workflow_id: str, wanted: Any, inbox: list[WorkflowActivationJob], *, local: bool
    ) -> None:
        """Begin with a first attempt; the answer goes into the inbox."""
        whole = _given(wanted.schedule_to_close_timeout)
        deadline = None if whole is None else self._agenda.now + whole
        activity = Activity(workflow_id, wanted, local, inbox, deadline)
        self._open[wanted.seq] = activity
        self._attempt(activity)

    def cancel(self, seq: int) -> None:
        """The workflow wants an activity to stop."""
        activity = self._open.get(seq)
        if activity is None:
            return
        waits = activity.wanted.cancellation_type == _WAIT and activity.running
        if not waits:
            self._cancelled(activity)
            return
        notices = self._world.cancelling(activity.call)
        assert activity.entry is not None
        # An attempt that ends before it notices ends as it would have.
        if activity.entry.at > self._agenda.now + notices:
            activity.entry.drop()
            activity.entry = self._agenda.after(notices, lambda: self._cancelled(activity))

    def drop(self) -> None:
        """The run is over: nobody wants the answers any more."""
        for activity in self._open.values():
            if activity.entry is not None:
                activity.entry.drop()
        self._open.clear()

    def _attempt(self, activity: Activity) -> None:
        activity.attempt += 1
        activity.running = True
        attempt = self._world.attempt(activity.call, self._agenda.now)
        limit = self._limit(activity)
        if limit is not None and attempt.takes > limit:
            self._later(activity, limit, lambda: self._failed(activity, _timed_out()))
            return

        def end() -> None:
            try:
                result = attempt.finish()
            except Exception as error:
                self._failed(activity, crossed(error))
            else:
                self._succeeded(activity, result)

        self._later(activity, attempt.takes, end)

    def _limit(self, activity: Activity) -> timedelta | None:
        """How long the attempt may take."""
        own = _given(activity.wanted.start_to_close_timeout)
        if activity.deadline is None:
            return own
        left = activity.deadline - self._agenda.now
        return left if own is None else min(own, left)

    def _later(self, activity: Activity, delay: timedelta, action: Any) -> None:
        # Within a workflow task, what local activities answer comes before anything else.
        activity.entry = self._agenda.after(delay, action, late=not activity.local)

    def _succeeded(self, activity: Activity, result: Any) -> None:
        [payload] = payloads(result)
        self._resolve(activity).result.completed.result.CopyFrom(payload)

    def _failed(self, activity: Activity, error: AnyError) -> None:
        activity.running = False
        wait = next_attempt(activity.wanted.retry_policy, activity.attempt, error)
        if wait is not None and activity.deadline is not None:
            wait = wait if self._agenda.now + wait < activity.deadline else None
        if wait is None:
            self._resolve(activity).result.failed.failure.CopyFrom(activity.seen(error))
        else:
            self._later(activity, wait, lambda: self._attempt(activity))

    def _cancelled(self, activity: Activity) -> None:
        seen = activity.seen(CancelledError("Activity cancelled"))
        self._resolve(activity).result.cancelled.failure.CopyFrom(seen)

    def _resolve(self, activity: Activity) -> Any:
        if activity.entry is not None:
            activity.entry.drop()
        del self._open[activity.wanted.seq]
        job = WorkflowActivationJob()
        job.resolve_activity.seq = activity.wanted.seq
        job.resolve_activity.is_local = activity.local
        activity.inbox.append(job)
        return job.resolve_activity


_WAIT = ActivityCancellationType.WAIT_CANCELLATION_COMPLETED


def _given(duration: Duration) -> timedelta | None:
    """A time-out of a command, where one is set."""
    return duration.ToTimedelta() or None


def _timed_out() -> TimeoutError:
    return TimeoutError(
        "activity StartToClose timeout",
        type=TimeoutType.START_TO_CLOSE,
        last_heartbeat_details=[],
    )
