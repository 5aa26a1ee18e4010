"""The stage: goals in a driver, people who answer them, and what can be seen of it all.

It brings the parts together; it decides no answer and no outcome of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.bridge.proto.workflow_commands import WorkflowCommand

from goalkeeper.contracts.activities import LockRequest
from goalkeeper.contracts.goal import (
    QUERY_APPROVALS,
    QUERY_PROGRESS,
    SIGNAL_DECISION,
    SIGNAL_LOCK,
    WORKFLOW,
    DecisionSignal,
    GoalInput,
    LockGranted,
    OpenRequest,
    Progress,
)
from goalkeeper.domain.approval import Answer
from goalkeeper.domain.errors import NotFound, ServiceUnavailable
from goalkeeper.domain.goal import GoalResult
from goalkeeper.simulation.conversion import value_of
from goalkeeper.simulation.driver import Driver
from goalkeeper.simulation.execution import Execution
from goalkeeper.simulation.goal_world import GoalWorld, Operations, Planning
from goalkeeper.simulation.people import Answering, Gateway
from workflows.goal import GoalWorkflow

START = datetime(2026, 1, 1, tzinfo=UTC)
_WATCHED = 300
"""Goals with more tasks are looked at only when they end: each look costs as much as their size."""


@dataclass(frozen=True)
class Glance:
    """A goal as it was at one moment."""

    at: timedelta
    progress: Progress


@dataclass
class Asked:
    """A request, when people saw it and what they will answer."""

    at: timedelta
    request: OpenRequest
    answering: Answering


class Stage:
    """Goals and people on one clock.

    Args:
        planning: makes and judges plans.
        operations: what the tasks' operations do.
        answers: how people answer a request.
        seed: of every random choice.
        watched: keep every state of a goal that there was, not only the last.
        options: the driver's.
    """

    def __init__(
        self,
        planning: Planning,
        operations: Operations,
        answers: Callable[[OpenRequest], Answering],
        *,
        seed: int = 0,
        watched: bool = True,
        **options: Any,
    ) -> None:
        self._answers = answers
        self._watched = watched
        self.gateway = Gateway(seed)
        self.world = GoalWorld(
            planning, operations, self.gateway, self._lock_granted, self._result_of
        )
        workflows: Mapping[str, type] = {WORKFLOW: GoalWorkflow}
        self.driver = Driver(workflows, self.world, start=START, seed=seed, **options)
        self.driver.watchers.append(self._look)
        self.glances: dict[str, list[Glance]] = {}
        self.asked: dict[str, Asked] = {}
        self._heard = 0
        """Entries of the record that have been looked at: each request leaves one."""

    @property
    def elapsed(self) -> timedelta:
        """Since the start."""
        return self.driver.now - START

    def start(self, goal_id: str, goal: GoalInput) -> Execution:
        """Start a goal."""
        return self.driver.start(WORKFLOW, goal_id, goal)

    def last(self, goal_id: str) -> Progress:
        """A goal as it was last seen."""
        return self.glances[goal_id][-1].progress

    def _look(self, execution: Execution, commands: Sequence[WorkflowCommand]) -> None:
        goal_id = execution.workflow_id
        seen = self.glances.setdefault(goal_id, [])
        small = not seen or (self._watched and len(seen[-1].progress.tasks) <= _WATCHED)
        if small or any(c.WhichOneof("variant") in _ENDS for c in commands):
            progress = self.driver.query(goal_id, QUERY_PROGRESS, Progress)
            if not seen or progress != seen[-1].progress:
                seen.append(Glance(self.elapsed, progress))
        self._ask_people(goal_id)

    def _ask_people(self, goal_id: str) -> None:
        """Whoever is newly asked will answer, after a while."""
        heard = len(self.world.events)
        if heard == self._heard:
            return
        self._heard = heard
        for request in self.driver.query(goal_id, QUERY_APPROVALS, list[OpenRequest]):
            ident = request.request.id
            if request.closed is not None or ident in self.asked:
                continue
            answering = self._answers(request)
            self.asked[ident] = Asked(self.elapsed, request, answering)
            if answering.answer is not None:
                self._answer_later(request, answering.answer, answering.after)

    def _answer_later(self, request: OpenRequest, answer: Answer, after: timedelta) -> None:
        people = 1 if answer is Answer.DENY else request.needed
        for number in range(1, people + 1):

            def decide(number: int = number) -> None:
                envelope = self.gateway.decide(request, answer, self.driver.now, number=number)
                signal = DecisionSignal(envelope=envelope.model_dump(mode="json"))
                self.driver.signal(request.request.goal_id, SIGNAL_DECISION, signal)

            self.driver.after(after, decide)

    def _result_of(self, goal_id: str) -> GoalResult:
        execution = self.driver.executions.get(goal_id)
        if execution is None:
            raise NotFound(f"there is no goal '{goal_id}'")
        if not execution.closed:
            raise ServiceUnavailable(f"goal '{goal_id}' has not ended yet")
        if execution.failure is not None:
            raise execution.failure
        assert execution.result is not None
        result: GoalResult = value_of(execution.result, GoalResult)
        return result

    def _lock_granted(self, request: LockRequest, granted: LockGranted) -> None:
        self.driver.signal(request.goal_id, SIGNAL_LOCK, granted)


_ENDS = frozenset(
    {
        "complete_workflow_execution",
        "fail_workflow_execution",
        "cancel_workflow_execution",
        "continue_as_new_workflow_execution",
    }
)
