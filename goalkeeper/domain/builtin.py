"""The operations that the interpreter carries out itself, a wait and a child goal, as declared.

It says what may stand in their ``with:`` and what they answer; it carries nothing out.
"""

from collections.abc import Mapping

from pydantic import Field

from goalkeeper.domain.base import Duration, GoalId, Instant, Json, Model, Name, TaskId
from goalkeeper.domain.contract import CHILD, WAIT
from goalkeeper.domain.operation import Operation, Risk
from goalkeeper.domain.plan import GoalState


class WaitFor(Model):
    """A wait of a length of time."""

    duration: Duration = Field(alias="for")
    """How long."""


class WaitUntil(Model):
    """A wait until a point in time."""

    until: Instant
    """RFC 3339 with a zone; what is past is over at once."""


class WaitForSignal(Model):
    """A wait for an event."""

    signal: Name
    """The event's name."""
    timeout: Duration | None = None
    """The task fails when nothing came within it; without it the goal waits for ever."""


class Waited(Model):
    """What a wait for a time answers: nothing."""


class Event(Model):
    """What a wait for an event answers."""

    payload: Json = None
    """What the event brought."""


class ChildGoal(Model):
    """A goal that is part of another."""

    contract: Name
    """Which kind; an expression may name `inputs` alone."""
    inputs: dict[str, Json] = {}
    """What it is given."""


class ChildResult(Model):
    """What a child goal answers."""

    goal_id: GoalId
    state: GoalState
    tasks: dict[TaskId, Json]
    """The outputs of its tasks."""


def _wait(summary: str, inputs: type[Model], outputs: type[Model]) -> Operation:
    return Operation(WAIT, summary, inputs, outputs, Risk.READ, idempotent=True)


WAITS: Mapping[str, Operation] = {
    "for": _wait("Wait for a length of time.", WaitFor, Waited),
    "until": _wait("Wait until a point in time.", WaitUntil, Waited),
    "signal": _wait("Wait for an event.", WaitForSignal, Event),
}
"""The kinds of wait, by the word that tells them apart."""

CHILD_GOAL = Operation(
    CHILD,
    "Carry out another contract as a goal of its own.",
    ChildGoal,
    ChildResult,
    Risk.READ,
    idempotent=True,
)
