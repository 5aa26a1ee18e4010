"""One workflow run: the SDK's own instance of it, fed by hand and written down turn by turn.

It keeps no time and answers nothing: what happens to a run is for the driver to say.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from temporalio.api.common.v1 import Payload, Payloads
from temporalio.bridge.proto.workflow_activation import (
    InitializeWorkflow,
    WorkflowActivation,
    WorkflowActivationJob,
)
from temporalio.bridge.proto.workflow_commands import WorkflowCommand
from temporalio.common import MetricMeter, Priority, TypedSearchAttributes
from temporalio.converter import DefaultFailureConverter
from temporalio.worker import UnsandboxedWorkflowRunner, WorkflowInstance, WorkflowInstanceDetails
from temporalio.workflow import Info, ParentInfo, RootInfo
from temporalio.workflow._definition import _Definition

from goalkeeper.simulation.conversion import error_of
from goalkeeper.temporal import SharedConverter

TASK_QUEUE = "simulation"
NAMESPACE = "simulation"


class SimulationBroken(AssertionError):
    """A workflow task failed: a defect of the workflow, not of the goal that it carries out."""


@dataclass(frozen=True)
class Turn:
    """One activation, and the commands that it made the workflow give."""

    activation: WorkflowActivation
    commands: tuple[WorkflowCommand, ...]
    local: bool = False
    """It only brought results of local activities: history keeps no clock of it."""


@dataclass(frozen=True)
class Identity:
    """Which run of which workflow."""

    workflow_id: str
    workflow_type: str
    run_id: str
    first_run_id: str
    continued_from: str | None = None
    parent: ParentInfo | None = None
    root: RootInfo | None = None


@dataclass
class WorkflowRun:
    """A run from its first activation to its last."""

    definition: type
    identity: Identity
    arguments: Sequence[Payload]
    seed: int
    started_at: datetime
    turns: list[Turn] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._instance = self.instance()

    def instance(self) -> WorkflowInstance:
        """A fresh instance, which has seen nothing yet."""
        details = WorkflowInstanceDetails(
            payload_converter_factory=SharedConverter,
            failure_converter_class=DefaultFailureConverter,
            interceptor_classes=[],
            defn=_Definition.must_from_class(self.definition),
            info=self._info(),
            randomness_seed=self.seed,
            extern_functions={
                "__temporal_get_metric_meter": lambda: MetricMeter.noop,
                "__temporal_assert_local_activity_valid": lambda _: None,
            },
            disable_eager_activity_execution=False,
            worker_level_failure_exception_types=[],
            patch_activation_callback=None,
            last_completion_result=Payloads(),
            last_failure=None,
        )

        async def create() -> WorkflowInstance:
            # The SDK wants a running loop here, and none afterwards.
            return UnsandboxedWorkflowRunner().create_instance(details)

        loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(create())
        finally:
            loop.close()

    def initial_job(self) -> WorkflowActivationJob:
        """What every run begins with."""
        init = InitializeWorkflow(
            workflow_type=self.identity.workflow_type,
            workflow_id=self.identity.workflow_id,
            arguments=self.arguments,
            randomness_seed=self.seed,
            first_execution_run_id=self.identity.first_run_id,
            continued_from_execution_run_id=self.identity.continued_from or "",
            attempt=1,
        )
        return WorkflowActivationJob(initialize_workflow=init)

    def activate(
        self,
        jobs: Iterable[WorkflowActivationJob],
        now: datetime,
        *,
        events: int,
        suggest: bool,
        local: bool = False,
    ) -> tuple[WorkflowCommand, ...]:
        """Tell the workflow what happened, and return what it wants done."""
        activation = WorkflowActivation(
            run_id=self.identity.run_id,
            jobs=jobs,
            history_length=events,
            continue_as_new_suggested=suggest,
        )
        activation.timestamp.FromDatetime(now)
        commands = perform(self._instance, activation)
        self.turns.append(Turn(activation, commands, local))
        return commands

    def ask(self, job: WorkflowActivationJob, now: datetime) -> WorkflowCommand:
        """Have a query answered; it leaves nothing in the record."""
        activation = WorkflowActivation(run_id=self.identity.run_id, jobs=[job])
        activation.timestamp.FromDatetime(now)
        [answer] = perform(self._instance, activation)
        return answer

    def end(self) -> None:
        """Take the instance down, as a worker does that drops it from its cache."""
        evict(self._instance, self.identity.run_id)

    def _info(self) -> Info:
        who = self.identity
        return Info(
            attempt=1,
            continued_run_id=who.continued_from,
            cron_schedule=None,
            execution_timeout=None,
            first_execution_run_id=who.first_run_id,
            headers={},
            namespace=NAMESPACE,
            original_execution_run_id=who.run_id,
            parent=who.parent,
            root=who.root,
            priority=Priority(),
            raw_memo={},
            retry_policy=None,
            run_id=who.run_id,
            run_timeout=None,
            search_attributes={},
            start_time=self.started_at,
            task_queue=TASK_QUEUE,
            task_timeout=timedelta(seconds=10),
            typed_search_attributes=TypedSearchAttributes([]),
            workflow_id=who.workflow_id,
            workflow_start_time=self.started_at,
            workflow_type=who.workflow_type,
        )


def perform(instance: WorkflowInstance, activation: Any) -> tuple[WorkflowCommand, ...]:
    """One activation of an instance.

    Raises:
        SimulationBroken: the workflow task failed.
    """
    completion = instance.activate(activation)
    if completion.HasField("failed"):
        failure = completion.failed.failure
        raise SimulationBroken(
            f"a workflow task of '{activation.run_id}' failed: {failure.message}\n"
            f"{failure.stack_trace}"
        ) from error_of(failure)
    return tuple(completion.successful.commands)


def evict(instance: WorkflowInstance, run_id: str) -> None:
    """Take an instance down as a worker does that drops it from its cache."""
    activation = WorkflowActivation(run_id=run_id)
    activation.jobs.add().remove_from_cache.SetInParent()
    instance.activate(activation)
