"""One workflow execution in a simulation: its runs one after the other, and what it has under way.

It keeps the books of Temporal's side of a workflow; what happens next is for the driver.
"""

from dataclasses import dataclass, field
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.bridge.proto.workflow_activation import WorkflowActivationJob
from temporalio.bridge.proto.workflow_commands import WorkflowCommand

from goalkeeper.simulation.agenda import Entry
from goalkeeper.simulation.attempts import Activities
from goalkeeper.simulation.conversion import AnyError, value_of
from goalkeeper.simulation.run import WorkflowRun


@dataclass
class Update:
    """An update that was sent, and its answer once there is one."""

    ident: str
    accepted: bool = False
    done: bool = False
    value: Payload | None = None
    error: AnyError | None = None

    def result(self, kind: type | None = None) -> Any:
        """The answer.

        Raises:
            AnyError: the update was rejected or failed.
        """
        if self.error is not None:
            raise self.error
        return None if self.value is None else value_of(self.value, kind)


@dataclass
class Execution:
    """A workflow execution."""

    workflow_id: str
    run: WorkflowRun
    activities: Activities
    parent: "tuple[Execution, int] | None" = None
    """Whose child it is, and under which number."""
    close_policy: int = 0
    """What becomes of it when its parent ends."""
    inbox: list[WorkflowActivationJob] = field(default_factory=list)
    held: list[WorkflowCommand] = field(default_factory=list)
    """Commands that the server gets once no local activity is left running."""
    timers: dict[int, Entry] = field(default_factory=dict)
    children: "dict[int, Execution]" = field(default_factory=dict)
    updates: dict[str, Update] = field(default_factory=dict)
    earlier: list[WorkflowRun] = field(default_factory=list)
    """Runs that continued as new."""
    events: int = 0
    """Of the current run's history, by and large."""
    closed: bool = False
    result: Payload | None = None
    failure: AnyError | None = None

    @property
    def runs(self) -> list[WorkflowRun]:
        """All of them, the first first."""
        return [*self.earlier, self.run]

    def take_jobs(self) -> list[WorkflowActivationJob]:
        """What the workflow may be told now.

        While a local activity runs its workflow task stays open, and everything else waits for
        the next one.
        """
        jobs, later = list(self.inbox), []
        if self.activities.any_local:
            jobs = [j for j in self.inbox if j.resolve_activity.is_local]
            later = [j for j in self.inbox if not j.resolve_activity.is_local]
        # The same list: activities have it.
        self.inbox[:] = later
        return jobs

    def end_run(self) -> None:
        """Drop what the run had under way: it is over."""
        for timer in self.timers.values():
            timer.drop()
        self.timers.clear()
        self.held.clear()
        self.activities.drop()
        self.run.end()
