"""The goal: what a person asks for, and what came of it."""

from enum import StrEnum

from goalkeeper.domain.base import Digest, GoalId, Json, Model, Name, TaskRef
from goalkeeper.domain.errors import from_code
from goalkeeper.domain.evidence import Evidence
from goalkeeper.domain.plan import GoalState, TaskState


class Skip(StrEnum):
    """Why a task was skipped."""

    CONDITION = "condition"
    """Its `when` was not met."""
    PERSON = "person"
    UPSTREAM = "upstream"
    """Its needs did not end as its run rule wants."""
    STOPPED = "stopped"
    """The goal stopped first."""


class Failure(Model):
    """Why a task or goal did not succeed."""

    code: str
    """A class name of `goalkeeper.domain.errors`."""
    message: str


class TaskStatus(Model):
    """Where one task stands: bounded, without secrets."""

    id: TaskRef
    operation: str
    state: TaskState = TaskState.PENDING
    generation: int = 0
    outputs: Json = None
    evidence: tuple[Evidence, ...] = ()
    failure: Failure | None = None
    skipped: Skip | None = None
    reason: str = ""
    """What the person said who skipped it."""
    reused: bool = False
    """The result is an earlier goal's."""
    started_at: str | None = None
    """RFC 3339."""
    ended_at: str | None = None


class GoalResult(Model):
    """What the workflow returns once a goal has ended."""

    goal_id: GoalId
    contract: Name
    state: GoalState
    plan_digest: Digest | None = None
    tasks: tuple[TaskStatus, ...] = ()
    failure: Failure | None = None

    def outputs(self, task_id: str) -> Json:
        """The outputs of one task.

        Raises:
            KeyError: the goal has no such task.
        """
        for task in self.tasks:
            if task.id == task_id:
                return task.outputs
        raise KeyError(task_id)

    def raise_for_state(self) -> "GoalResult":
        """This result, if the goal succeeded.

        Raises:
            GoalkeeperError: what the goal failed with, for example `ApprovalDenied`.
        """
        if self.state is GoalState.SUCCEEDED:
            return self
        if self.failure is not None:
            raise from_code(self.failure.code, self.failure.message)
        raise from_code("OperationFailed", f"goal '{self.goal_id}' ended as {self.state}")
