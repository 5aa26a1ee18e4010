"""Simulating one goal: from its input and a scenario to what happened when, and to whom.

It returns models and prints nothing.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from itertools import pairwise

from temporalio.exceptions import ApplicationError, CancelledError

from goalkeeper.contracts.goal import SIGNAL_EVENT, EventSignal, GoalInput, OpenRequest, Progress
from goalkeeper.domain.approval import Answer, Question
from goalkeeper.domain.base import Json, Model, Name, TaskRef
from goalkeeper.domain.goal import Failure, TaskStatus
from goalkeeper.domain.operation import Operation
from goalkeeper.domain.plan import WAIT, GoalState, Plan, TaskState
from goalkeeper.simulation.execution import Execution
from goalkeeper.simulation.people import Answering
from goalkeeper.simulation.planning import RealPlanning
from goalkeeper.simulation.scenario import Scenario, ScenarioOperations
from goalkeeper.simulation.stage import Stage

GOAL_ID = "simulated"
_EVENT_AFTER = timedelta(minutes=5)


class Moment(Model):
    """A task, or with an empty name the goal, that moved to another state."""

    at: timedelta
    task_id: str
    state: str
    note: str = ""


class AskedPeople(Model):
    """A request: whom it asks, when, until when, and what they answered."""

    at: timedelta
    request_id: str
    task_id: TaskRef
    question: Question
    actions: tuple[str, ...]
    """``TASK OPERATION`` each."""
    groups: tuple[Name, ...]
    needed: int
    reasons: tuple[str, ...]
    expires_after: timedelta
    silence: str
    """What becomes of it when nobody answers."""
    answer: Answer | None
    answered_after: timedelta | None


class Simulated(Model):
    """What came of a simulation."""

    state: GoalState
    failure: Failure | None = None
    took: timedelta
    stuck: bool = False
    """It still waits for something that never comes."""
    plan: Plan | None = None
    tasks: tuple[TaskStatus, ...] = ()
    moments: tuple[Moment, ...] = ()
    asked: tuple[AskedPeople, ...] = ()
    undone: tuple[TaskRef, ...] = ()
    """In the order in which it was undone."""
    critical_path: tuple[TaskRef, ...] = ()
    """The tasks that the time went by on, the first first."""

    def in_state(self, state: TaskState) -> tuple[str, ...]:
        """The tasks that ended in a state."""
        return tuple(t.id for t in self.tasks if t.state is state)


def simulate(
    goal: GoalInput,
    planning: RealPlanning,
    scenario: Scenario,
    operations: Mapping[str, Operation],
    *,
    seed: int = 0,
) -> Simulated:
    """Carry a goal out with the real interpreter and nothing behind it."""

    def answers(asked: OpenRequest) -> Answering:
        request = asked.request
        mine = scenario if request.goal_id == GOAL_ID else Scenario()
        return mine.answering(request.task_id, request.question)

    stage = Stage(planning, ScenarioOperations(GOAL_ID, scenario, operations), answers, seed=seed)
    stage.driver.watchers.append(_Herald(stage, scenario).look)
    execution = stage.start(GOAL_ID, goal)
    stage.driver.run()
    stuck = not execution.closed
    stage.driver.close()
    return _told(stage, execution, stuck)


class _Herald:
    """Sends the events that goals wait for."""

    def __init__(self, stage: Stage, scenario: Scenario) -> None:
        self._stage = stage
        self._scenario = scenario
        self._sent: set[tuple[str, str]] = set()

    def look(self, execution: Execution, _: object) -> None:
        """Send what a task has begun to wait for, after a while."""
        goal_id = execution.workflow_id
        progress = self._stage.last(goal_id)
        states = {t.id: t.state for t in progress.tasks}
        for task in progress.plan.tasks if progress.plan else ():
            name = task.inputs.get("signal") if task.operation == WAIT else None
            if isinstance(name, str) and states.get(task.id) is TaskState.RUNNING:
                self._send(goal_id, name)

    def _send(self, goal_id: str, name: str) -> None:
        if (goal_id, name) in self._sent or name in self._scenario.unheard:
            return
        self._sent.add((goal_id, name))
        event = EventSignal(name=name, payload=self._scenario.events.get(name))
        driver = self._stage.driver
        driver.after(_EVENT_AFTER, lambda: _ignore(driver.signal(goal_id, SIGNAL_EVENT, event)))


def _ignore(_: Json) -> None:
    """An event that nobody waits for any more is lost."""


def _told(stage: Stage, execution: Execution, stuck: bool) -> Simulated:
    progress = stage.last(GOAL_ID)
    state, failure = progress.state, progress.failure
    if isinstance(execution.failure, CancelledError):
        state = GoalState.CANCELLED
    elif isinstance(execution.failure, ApplicationError) and failure is None:
        error = execution.failure
        failure = Failure(code=error.type or "InternalError", message=error.message)
    glances = stage.glances[GOAL_ID]
    return Simulated(
        state=state,
        failure=failure,
        took=glances[-1].at,
        stuck=stuck,
        plan=progress.plan,
        tasks=progress.tasks,
        moments=tuple(_moments(stage)),
        asked=tuple(_asked(stage, progress)),
        undone=tuple(w.task_id for w in stage.world.undone if w.goal_id == GOAL_ID),
        critical_path=critical_path(progress),
    )


def _moments(stage: Stage) -> Iterator[Moment]:
    glances = stage.glances[GOAL_ID]
    yield Moment(at=glances[0].at, task_id="", state=glances[0].progress.state.value)
    for before, now in pairwise(glances):
        old = {t.id: t for t in before.progress.tasks}
        for task in now.progress.tasks:
            known = old.get(task.id)
            if task.state is TaskState.PENDING and known is None:
                continue
            if known is None or (known.state, known.generation) != (task.state, task.generation):
                yield Moment(at=now.at, task_id=task.id, state=task.state.value, note=_note(task))
        if before.progress.state is not now.progress.state:
            yield Moment(at=now.at, task_id="", state=now.progress.state.value)


def _note(task: TaskStatus) -> str:
    if task.failure is not None:
        return f"{task.failure.code}: {task.failure.message}"
    return {
        "condition": "its condition is not met",
        "person": "a person skipped it",
        "upstream": "its needs did not end as it wants",
        "stopped": "the goal stopped first",
    }.get(task.skipped or "", "")


def _asked(stage: Stage, progress: Progress) -> Iterator[AskedPeople]:
    for asked in stage.asked.values():
        request, answering = asked.request.request, asked.answering
        expires = request.expires_at - request.created_at
        late = answering.answer is None or answering.after >= expires
        yield AskedPeople(
            at=asked.at,
            request_id=request.id,
            task_id=request.task_id,
            question=request.question,
            actions=tuple(f"{a.task_id} {a.operation}" for a in request.actions),
            groups=request.requirement.groups,
            needed=asked.request.needed,
            reasons=request.reasons,
            expires_after=expires,
            silence=(
                "stays unknown, and the goal fails without undoing anything"
                if request.question is Question.OUTCOME
                else "denied"
            ),
            answer=None if late else answering.answer,
            answered_after=None if late else answering.after,
        )


def critical_path(progress: Progress) -> tuple[str, ...]:
    """From the task that ended last back along the needs that ended last.

    A task that always runs waits for all that do not, whether it needs them or not.
    """
    if progress.plan is None:
        return ()
    ends = {t.id: t.ended_at for t in progress.tasks if t.ended_at and not t.skipped}
    ordinary = tuple(t.id for t in progress.plan.tasks if not t.always)
    needs = {t.id: ordinary if t.always and not t.needs else t.needs for t in progress.plan.tasks}
    path: list[str] = []
    left = [t for t in needs if t in ends]
    while left:
        last = max(left, key=lambda t: ends[t] or "")
        path.append(last)
        left = [n for n in needs[last] if n in ends]
    return tuple(reversed(path))
