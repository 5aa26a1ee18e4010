"""Somebody with access to Temporal and none to the gateway: a workflow of their own.

It may start any workflow and have any activity done on our task queue; it holds no key of ours.
"""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.client import WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import Worker

from goalkeeper.contracts import activities as names
from goalkeeper.contracts.activities import (
    Asker,
    CleanUpInput,
    CompensateInput,
    ExecuteInput,
    RecordInput,
    Step,
)
from goalkeeper.domain.approval import (
    DECISION_TYPE,
    SUBMISSION_TYPE,
    Action,
    Answer,
    ApprovalRequest,
    Decision,
    Grant,
    Requester,
    Submission,
)
from goalkeeper.domain.audit import AuditEvent
from goalkeeper.domain.dsse import Envelope, seal
from goalkeeper.domain.policy import Requirement
from tests.support.engine import Engine
from tests.support.fakes import FakeConnector, LocalSigner

NOTHING = "sha256:" + "0" * 64


@workflow.defn(name="GoalWorkflow", sandboxed=False)
class IntruderWorkflow:
    """Calls itself what ours is called, and has one activity done as it likes."""

    @workflow.run
    async def run(self, order: dict[str, Any]) -> Any:
        """Ask our worker for exactly this."""
        argument = dict(order["argument"])
        if (argument.get("asker") or {}).get("run") == "own":
            argument["asker"] = {**argument["asker"], "run": workflow.info().run_id}
        return await workflow.execute_activity(
            order["activity"],
            argument,
            task_queue=order["task_queue"],
            start_to_close_timeout=timedelta(seconds=20),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )


@dataclass(frozen=True)
class Case:
    """An action that was duly approved: what an attack starts from."""

    action: Action
    asker: Asker
    grant: Grant | None


@dataclass
class Intruder:
    """Runs orders and says how they ended."""

    engine: Engine
    task_queue: str

    async def execute(self, case: Case, *, workflow_id: str | None = None) -> Any:
        """Have ``connector.execute`` done for a workflow of that id: its answer or its error."""
        given = ExecuteInput(action=case.action, asker=case.asker, grant=case.grant)
        return await self._order(names.EXECUTE, given, workflow_id or case.action.goal_id)

    async def step(self, step: Step, *, workflow_id: str) -> Any:
        """The same, leaving the rest for the ledger to say."""
        return await self._order(names.EXECUTE, ExecuteInput(action=step), workflow_id)

    async def compensate(self, case: Case) -> Any:
        """Have ``connector.compensate`` done."""
        given = CompensateInput(action=case.action, asker=case.asker)
        return await self._order(names.COMPENSATE, given, case.action.goal_id)

    async def record(self, event: AuditEvent, *, workflow_id: str) -> Any:
        """Have ``audit.record`` append an entry."""
        return await self._order(names.RECORD, RecordInput(events=(event,)), workflow_id)

    async def clean_up(self, goal_id: str, *, workflow_id: str) -> Any:
        """Have ``goal.clean_up`` done for a goal."""
        return await self._order(names.CLEAN_UP, CleanUpInput(goal_id=goal_id), workflow_id)

    async def _order(self, activity: str, given: Any, workflow_id: str) -> Any:
        order = {
            "activity": activity,
            "argument": given.model_dump(mode="json"),
            "task_queue": self.engine.settings.task_queue,
        }
        try:
            return await self.engine.client.execute_workflow(
                "GoalWorkflow", order, id=workflow_id, task_queue=self.task_queue
            )
        except WorkflowFailureError as error:
            cause = error.cause.cause if isinstance(error.cause, ActivityError) else None
            if not isinstance(cause, ApplicationError):
                raise
            return f"{cause.type}: {cause.message}"

    async def case(
        self,
        operation: str = "fake.destroy",
        *,
        signer: LocalSigner | None = None,
        people: tuple[str, ...] = ("olive",),
        proven: bool = True,
        run: str = "own",
        action: dict[str, Any] | None = None,
        request: dict[str, Any] | None = None,
        decision: dict[str, Any] | None = None,
    ) -> Case:
        """An action, approved by real signatures; the changes were made before signing."""
        goal_id = f"case-{uuid.uuid4().hex[:12]}"
        acted = self._action(operation, goal_id, action or {})
        asker = await self._asker(goal_id, proven=proven, run=run)
        asked = self._request(acted, asker.requester, request or {})
        envelopes = [
            await self.decided(asked, person=p, signer=signer, **(decision or {})) for p in people
        ]
        return Case(acted, asker, Grant(request=asked, decisions=tuple(envelopes)))

    async def decided(
        self, request: ApprovalRequest, *, signer: LocalSigner | None = None, **changes: Any
    ) -> Envelope:
        """A decision as the gateway signs it, or somebody else."""
        fields: dict[str, Any] = {
            "id": f"decision-{uuid.uuid4().hex}",
            "request_id": request.id,
            "request_digest": request.digest,
            "goal_id": request.goal_id,
            "answer": Answer.APPROVE,
            "person": "olive",
            "groups": ("operators",),
            "reason": "it is time",
            "channel": "cli",
            "decided_at": datetime.now(UTC),
        }
        statement = Decision.model_validate({**fields, **changes})
        return await seal(statement, DECISION_TYPE, signer or self.engine.vault.signer)

    async def attested(
        self, goal_id: str, person: str = "dana", signer: LocalSigner | None = None
    ) -> Envelope:
        """The gateway's word, or somebody else's, on who submitted."""
        statement = Submission(
            goal_id=goal_id, person=person, input_digest=NOTHING, at=datetime.now(UTC)
        )
        return await seal(statement, SUBMISSION_TYPE, signer or self.engine.vault.signer)

    def _action(self, operation: str, goal_id: str, changes: dict[str, Any]) -> Action:
        declared = FakeConnector.operations[operation]
        fields: dict[str, Any] = {
            "goal_id": goal_id,
            "task_id": "act",
            "plan_digest": "sha256:" + "1" * 64,
            "operation": operation,
            "inputs": {"value": 1},
            "environment": "production",
            "risk": declared.risk,
            "compensation": declared.compensation.operation if declared.compensation else None,
            "policy_version": self.engine.parts.policy.version,
        }
        return Action.model_validate({**fields, **changes})

    async def _asker(self, goal_id: str, *, proven: bool, run: str) -> Asker:
        return Asker(
            requester=Requester(id="dana", proven=proven),
            attestation=await self.attested(goal_id) if proven else None,
            contract="test",
            run=run,
        )

    def _request(
        self, action: Action, requester: Requester, changes: dict[str, Any]
    ) -> ApprovalRequest:
        now = datetime.now(UTC)
        fields: dict[str, Any] = {
            "id": f"{action.goal_id}/act.0",
            "goal_id": action.goal_id,
            "task_id": "act",
            "contract": "test",
            "environment": "production",
            "requester": requester,
            "actions": (action,),
            "requirement": Requirement(groups=("operators",)),
            "created_at": now - timedelta(hours=3),
            "expires_at": now + timedelta(hours=1),
        }
        return ApprovalRequest.model_validate({**fields, **changes})


@asynccontextmanager
async def intruding(engine: Engine) -> AsyncIterator[Intruder]:
    """A worker for the intruder's workflow, on a task queue of its own."""
    queue = f"intruder-{uuid.uuid4().hex[:8]}"
    async with Worker(engine.client, task_queue=queue, workflows=[IntruderWorkflow]):
        yield Intruder(engine, queue)
