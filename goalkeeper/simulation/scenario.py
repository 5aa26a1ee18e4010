"""The scenario: what goes otherwise than well in a simulation, and how long things take.

It is read by what stands in for connectors and people; it runs nothing.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, TypeVar

from pydantic import Field

from goalkeeper.domain.approval import Action, Answer, Question
from goalkeeper.domain.base import Json, Model, Name, TaskRef
from goalkeeper.domain.errors import InvalidGoal, OutcomeUnknown, from_code
from goalkeeper.domain.operation import Operation, Risk
from goalkeeper.domain.plan import ErrorCode, Plan
from goalkeeper.simulation.examples import example
from goalkeeper.simulation.goal_world import Deed
from goalkeeper.simulation.people import Answering

T = TypeVar("T")

Takes = Annotated[timedelta, Field(ge=timedelta(0), le=timedelta(days=365))]

_SANDBOX = timedelta(minutes=1)
_QUICK = timedelta(milliseconds=100)
_READ = timedelta(seconds=2)
_WRITE = timedelta(seconds=10)


class Scenario(Model):
    """By task, or by one item of a task that runs for each of a list."""

    failures: dict[TaskRef, ErrorCode] = {}
    """Every attempt fails with this error."""
    lost: frozenset[TaskRef] = frozenset()
    """The first time, nobody can tell what became of the attempt."""
    answers: dict[TaskRef, Answering] = {}
    """To the question whether it may run; otherwise people approve."""
    outcomes: dict[TaskRef, Answering] = {}
    """To the question what became of it; otherwise people say that it happened."""
    durations: dict[TaskRef, Takes] = {}
    outputs: dict[TaskRef, Json] = {}
    events: dict[Name, Json] = {}
    """What events that are waited for carry."""
    unheard: frozenset[Name] = frozenset()
    """Events that never come."""

    @property
    def tasks(self) -> set[str]:
        """Every task that is named."""
        named = (self.failures, self.lost, self.answers, self.outcomes)
        return {t for part in (*named, self.durations, self.outputs) for t in part}

    def answering(self, task_id: str, question: Question) -> Answering:
        """How people answer the question of a task."""
        if question is Question.OUTCOME:
            return _of(self.outcomes, task_id) or Answering(answer=Answer.HAPPENED)
        return _of(self.answers, task_id) or Answering()


class ScenarioOperations:
    """Operations as a scenario has them; those of child goals go well."""

    def __init__(self, goal_id: str, scenario: Scenario, known: Mapping[str, Operation]) -> None:
        self._goal_id = goal_id
        self._scenario = scenario
        self._known = known

    def perform(self, action: Action, attempt: int) -> Deed:
        """An attempt at an operation."""
        operation = self._known[action.operation]
        scenario = self._scenario if action.goal_id == self._goal_id else Scenario()
        takes = _of(scenario.durations, action.task_id)
        if takes is None:
            takes = usual_duration(operation)
        failure = _of(scenario.failures, action.task_id)
        if failure is not None:
            return Deed(takes, error=from_code(failure, "it fails in this simulation"))
        lost = {action.task_id, action.task_id.partition(".")[0]} & scenario.lost
        if lost and action.generation == 0:
            why = OutcomeUnknown("the attempt is lost in this simulation")
            return Deed(takes, error=why)
        outputs = _of(scenario.outputs, action.task_id)
        return Deed(
            takes,
            outputs=example(operation.outputs) if outputs is None else outputs,
            compensable=operation.compensation is not None,
        )

    def undo(self, action: Action, attempt: int) -> Deed:
        """Undoing goes well."""
        compensation = self._known[action.operation].compensation
        undoing = self._known.get(compensation.operation) if compensation else None
        return Deed(usual_duration(undoing) if undoing else _WRITE)


def usual_duration(operation: Operation) -> timedelta:
    """What an operation is taken to need where nothing else is said."""
    if operation.name.startswith("sandbox."):
        return _SANDBOX
    if operation.quick:
        return _QUICK
    return _READ if operation.risk is Risk.READ else _WRITE


def check_scenario(scenario: Scenario, plan: Plan) -> None:
    """Refuse a scenario that names tasks which the plan does not have.

    Raises:
        InvalidGoal: it does.
    """
    known = {t.id for t in plan.tasks}
    wrong = sorted(t for t in scenario.tasks if t.partition(".")[0] not in known)
    if wrong:
        raise InvalidGoal(
            f"the plan has no task '{wrong[0]}'; it has {', '.join(sorted(known)[:20])}"
        )


def _of(values: Mapping[str, T], task_id: str) -> T | None:
    """What is said of a task, or of the task that it is an item of."""
    found = values.get(task_id)
    return values.get(task_id.partition(".")[0]) if found is None else found
