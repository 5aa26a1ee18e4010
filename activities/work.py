"""What one attempt carries out: an action, who does it, and under which key.

It is put together from the action and from Temporal's word on the attempt; it does nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from pydantic import ValidationError
from temporalio import activity

from activities.caller import this_run
from activities.parts import Parts
from goalkeeper.contracts.activities import Asker, Step
from goalkeeper.contracts.connector import Connector, OperationCall, work_key
from goalkeeper.domain.approval import Action
from goalkeeper.domain.errors import InvalidGoal
from goalkeeper.domain.operation import Operation

_SHORTEST_LEASE = timedelta(minutes=1)
_LONGEST_LEASE = timedelta(hours=1)


@dataclass(frozen=True)
class Work:
    """What one attempt carries out."""

    action: Action
    operation: Operation
    connector: Connector
    call: OperationCall
    """Without its `log`: the attempt puts in one that redacts."""
    origin: str
    """Prefix of the audit events' ids: workflow run and attempt."""
    ttl: timedelta
    """For how long the credentials may live."""
    unwanted: Callable[[], bool] = field(default=lambda: False)
    """True when a cancellation is the goal's will, and no other attempt may follow."""


def work_of(parts: Parts, action: Action, asker: Asker, doing: str = "") -> Work:
    """The work that an action is, for the attempt that this activity is.

    Args:
        parts: who carries it out.
        action: exactly what runs.
        asker: which goal's run it belongs to.
        doing: other than the action itself: ``undo``, or ``look`` for what became of it.

    Raises:
        InvalidGoal: no connector has the operation, or it does not take the inputs.
    """
    info = activity.info()
    operation = parts.operation(action.operation)
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
        connector=parts.registry.connector_for(operation.name),
        call=OperationCall(
            goal_id=action.goal_id,
            task_id=action.task_id,
            generation=action.generation,
            attempt=info.attempt,
            operation=operation.name,
            inputs=inputs,
            environment=action.environment,
            run=asker.run,
            undo=doing == "undo",
            detaching=_detaching,
        ),
        origin=attempt_id(action, doing),
        ttl=min(max(timeout, _SHORTEST_LEASE), _LONGEST_LEASE),
        unwanted=_unwanted,
    )


def attempt_id(action: Action | Step, doing: str = "") -> str:
    """Prefix of the ids of one attempt's audit events.

    With when it began: of a local activity that goes on as an ordinary one, and of one that is
    scheduled anew to look what became of the last, attempts are counted from 1 again.
    """
    what = f"{action.task_id}.{doing}" if doing else action.task_id
    info = activity.info()
    began = round(info.started_time.timestamp() * 1000)
    return f"{this_run()}/{what}.{action.generation}/{info.attempt}.{began}"


def effect_key(action: Action, asker: Asker) -> str:
    """Under which key the ledger knows what the action did."""
    return work_key(action.goal_id, asker.run, action.task_id, action.generation)


def _detaching() -> bool:
    details = activity.cancellation_details()
    return details is not None and details.worker_shutdown


def _unwanted() -> bool:
    details = activity.cancellation_details()
    return details is not None and details.cancel_requested
