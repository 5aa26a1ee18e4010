"""A stand-in for the interpreter: a workflow that does what a test says, on real Temporal.

It has the interpreter's name and calls the real activities, so that what they ask Temporal about
their workflow has an answer.
"""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel
from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError
from temporalio.worker import Worker

from activities.goal import GoalActivities
from activities.parts import Parts
from goalkeeper.contracts import activities as names
from goalkeeper.contracts.activities import Asker, ExecuteInput, ExecuteResult, PlanInput
from goalkeeper.contracts.goal import WORKFLOW, GoalInput, PlannedGoal
from goalkeeper.domain.approval import SUBMISSION_TYPE, Action, Submission
from goalkeeper.domain.dsse import Envelope, seal
from goalkeeper.domain.goal import GoalResult, TaskStatus
from goalkeeper.domain.plan import BUILT_IN, GoalState, PlanTask, TaskState
from goalkeeper.settings import load_settings
from goalkeeper.temporal import connect
from tests.support.engine import make_parts
from tests.support.fakes import FakeConnector, FakeVault

R = TypeVar("R", bound=BaseModel)
Script = Callable[["StandIn", GoalInput], Awaitable[Any]]

SCRIPTS: dict[str, Script] = {}
"""What the workflow of an id does; else it plans its goal and carries it out."""


@workflow.defn(name=WORKFLOW, sandboxed=False)
class StandIn:
    """Plans, and runs task after task."""

    @workflow.run
    async def run(self, goal: GoalInput) -> Any:
        """Do as the test says; fail with an activity's own error."""
        script: Script = SCRIPTS.get(workflow.info().workflow_id, carry_out)
        try:
            return await script(self, goal)
        except (ActivityError, ChildWorkflowError) as error:
            raise (error.cause or error) from None

    async def act(self, name: str, given: BaseModel, answer: type[R]) -> R:
        """Have one of our activities done."""
        result: R = await workflow.execute_activity(
            name,
            given,
            result_type=answer,
            task_queue=QUEUE,
            start_to_close_timeout=timedelta(seconds=30),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )
        return result

    async def plan(self, goal: GoalInput) -> PlannedGoal:
        """Plan this workflow's goal."""
        given = PlanInput(goal_id=workflow.info().workflow_id, goal=goal)
        return await self.act(names.PLAN, given, PlannedGoal)

    async def execute(self, planned: PlannedGoal, task: PlanTask) -> ExecuteResult:
        """Carry one task out."""
        given = ExecuteInput(action=action_of(planned, task), asker=asker_of(planned))
        return await self.act(names.EXECUTE, given, ExecuteResult)

    async def child(self, goal: GoalInput, ident: str) -> Any:
        """A child goal."""
        return await workflow.execute_child_workflow(WORKFLOW, goal, id=ident)


QUEUE = f"activities-{uuid.uuid4().hex[:8]}"


def action_of(planned: PlannedGoal, task: PlanTask) -> Action:
    """What a task without expressions runs."""
    return Action(
        goal_id=workflow.info().workflow_id,
        task_id=task.id,
        plan_digest=planned.plan_digest,
        operation=task.operation,
        inputs=task.inputs,
        environment=planned.plan.environment,
        risk=task.risk,
        credentials=task.credentials,
        compensation=task.compensation,
        undoes=task.undoes,
        policy_version=planned.policy_version,
    )


def asker_of(planned: PlannedGoal) -> Asker:
    """On whose behalf."""
    return Asker(
        requester=planned.requester,
        attestation=planned.attestation,
        contract=planned.plan.contract,
        run=workflow.info().first_execution_run_id,
    )


async def carry_out(self: StandIn, goal: GoalInput) -> dict[str, Any]:
    """Plan and run every operation; the first failure ends it."""
    planned = await self.plan(goal)
    done = {s.id: s for s in planned.reused}
    failure = None
    for task in planned.plan.tasks:
        state, outputs = TaskState.SUCCEEDED, None
        if task.id in done or failure is not None:
            continue
        if task.operation not in BUILT_IN:
            try:
                outputs = (await self.execute(planned, task)).outputs
            except ActivityError as error:
                failure, state = error.cause, TaskState.FAILED
        done[task.id] = TaskStatus(
            id=task.id, operation=task.operation, state=state, outputs=outputs
        )
    result = GoalResult(
        goal_id=workflow.info().workflow_id,
        contract=planned.plan.contract,
        state=GoalState.FAILED if failure else GoalState.SUCCEEDED,
        plan_digest=planned.plan_digest,
        tasks=tuple(
            done.get(t.id, TaskStatus(id=t.id, operation=t.operation)) for t in planned.plan.tasks
        ),
    ).model_dump(mode="json")
    if failure is not None:
        assert isinstance(failure, ApplicationError)
        raise ApplicationError(failure.message, result, type=failure.type, non_retryable=True)
    return result


@dataclass
class Desk:
    """Starts goals and says how they ended."""

    client: Client
    parts: Parts
    vault: FakeVault
    fake: FakeConnector

    def new(self) -> str:
        """A goal id that nobody has."""
        return f"act-{uuid.uuid4().hex[:12]}"

    async def attested(self, goal: GoalInput, goal_id: str, person: str = "dana") -> GoalInput:
        """The input with the gateway's word on who submitted it."""
        statement = Submission(
            goal_id=goal_id, person=person, input_digest=goal.digest, at=datetime.now(UTC)
        )
        envelope: Envelope = await seal(statement, SUBMISSION_TYPE, self.vault.signer)
        return goal.model_copy(update={"requester": person, "attestation": envelope})

    async def start(
        self, goal: GoalInput, goal_id: str, script: Script | None = None
    ) -> WorkflowHandle[Any, Any]:
        """Start a goal."""
        if script is not None:
            SCRIPTS[goal_id] = script
        return await self.client.start_workflow(WORKFLOW, goal, id=goal_id, task_queue=QUEUE)

    async def run(
        self, goal: GoalInput, goal_id: str | None = None, script: Script | None = None
    ) -> Any:
        """Run a goal to its end: its result, or ``CODE: message`` of its failure."""
        handle = await self.start(goal, goal_id or self.new(), script)
        try:
            return await handle.result()
        except WorkflowFailureError as error:
            cause: Any = error.cause
            while not isinstance(cause, ApplicationError):
                cause = cause.cause
            return f"{cause.type}: {cause.message}"

    @property
    def done(self) -> list[tuple[str, str, Any]]:
        """(task, operation, value) of every effect."""
        return self.fake.done


@asynccontextmanager
async def desk_of(address: str, folder: Path) -> AsyncIterator[Desk]:
    """A worker with fresh stores."""
    settings = load_settings(
        folder, environ={}, temporal_address=address, task_queue=QUEUE, payload_encryption=False
    )
    vault, fake = FakeVault(), FakeConnector()
    parts = make_parts(folder, vault, fake)
    client = await connect(settings)
    try:
        async with Worker(
            client, task_queue=QUEUE, workflows=[StandIn], activities=GoalActivities(parts).all
        ):
            yield Desk(client, parts, vault, fake)
    finally:
        await parts.audit.aclose()
        await parts.ledger.aclose()
