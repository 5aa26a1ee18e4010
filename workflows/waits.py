"""Waits: tasks that pass when a time has come or an event has arrived.

It waits and keeps events; an event proves nobody and approves nothing.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from pydantic import ValidationError
from temporalio import workflow

from goalkeeper.contracts.goal import EventSignal
from goalkeeper.domain.base import Json, canonical
from goalkeeper.domain.errors import InvalidGoal, OperationFailed
from goalkeeper.domain.plan import PlanTask, WaitInputs
from workflows.actions import inputs_of
from workflows.approvals import CarriedOver
from workflows.state import GoalRecord

_SOONEST = timedelta(milliseconds=1)
_EVENTS_KEPT = 100
_LARGEST_EVENT = 64 * 1024


class Waits:
    """The waits of one goal."""

    def __init__(self, record: GoalRecord, *, carrying: Callable[[], bool]) -> None:
        self._record = record
        self._carrying = carrying

    async def wait(self, task: PlanTask) -> Json:
        """The task's outputs once it is over.

        Raises:
            InvalidGoal: the inputs do not say what to wait for.
            OperationFailed: the event did not come in time.
            CarriedOver: the workflow continues as new.
        """
        wanted = _wanted(task.id, inputs_of(self._record, task.id))
        deadline = self._record.deadlines.get(task.id) or wanted.until
        if deadline is None and (length := wanted.duration or wanted.timeout) is not None:
            deadline = workflow.now() + length
        if deadline is not None:
            self._record.deadlines[task.id] = deadline
        left = max(deadline - workflow.now(), _SOONEST) if deadline is not None else None

        def over() -> bool:
            return wanted.signal in self._record.events or self._carrying()

        try:
            await workflow.wait_condition(over, timeout=left, timeout_summary=f"wait {task.id}")
        except TimeoutError:
            return self._timed_out(task.id, wanted)
        except asyncio.CancelledError:
            # A retry waits for its whole time again.
            self._record.deadlines.pop(task.id, None)
            raise
        if wanted.signal not in self._record.events:
            raise CarriedOver
        self._record.deadlines.pop(task.id, None)
        return {"payload": self._record.events[wanted.signal]}

    def _timed_out(self, task_id: str, wanted: WaitInputs) -> Json:
        self._record.deadlines.pop(task_id, None)
        if wanted.signal is None:
            return {}
        if wanted.signal in self._record.events:
            # It tied with the time-out.
            return {"payload": self._record.events[wanted.signal]}
        raise OperationFailed(
            f"the event '{wanted.signal}' did not come within {wanted.timeout}. Send it with "
            f"`goalkeeper signal {self._record.goal_id} {wanted.signal}`, or submit the goal again."
        )

    def arrived(self, signal: Json) -> str | None:
        """Keep an event; says why not, where it is none."""
        try:
            event = EventSignal.model_validate(signal)
            name = WaitInputs.model_validate({"signal": event.name}).signal
            size = len(canonical(event.payload))
        except (ValidationError, ValueError):
            return "an event that has no proper name or payload"
        if name is None or size > _LARGEST_EVENT:
            return f"the event '{name}' carries {size} bytes, and {_LARGEST_EVENT} are the most"
        if name not in self._record.events and len(self._record.events) >= _EVENTS_KEPT:
            return f"the event '{name}' is one too many: {_EVENTS_KEPT} names are kept"
        self._record.events[name] = event.payload
        self._record.version += 1
        return None


def _wanted(task_id: str, inputs: dict[str, Json]) -> WaitInputs:
    try:
        wanted = WaitInputs.model_validate(inputs)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(p) for p in first["loc"]) or "inputs"
        raise InvalidGoal(f"task '{task_id}': '{place}' is wrong: {first['msg']}") from None
    if sum(v is not None for v in (wanted.duration, wanted.until, wanted.signal)) != 1:
        raise InvalidGoal(f"task '{task_id}' waits for exactly one of: for, until, signal")
    return wanted
