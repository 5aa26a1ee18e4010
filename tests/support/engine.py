"""An engine for goals: real Temporal, real stores, fake connector and Vault."""

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.protobuf.json_format import ParseDict
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError

from activities.parts import Parts
from connectors.core import CoreConnector
from goalkeeper.audit import AuditLog
from goalkeeper.catalogue import Catalogue
from goalkeeper.contracts.goal import (
    QUERY_PROGRESS,
    SIGNAL_DECISION,
    WORKFLOW,
    DecisionSignal,
    GoalInput,
    OpenRequest,
    Progress,
)
from goalkeeper.domain.approval import (
    DECISION_TYPE,
    SUBMISSION_TYPE,
    Answer,
    ApprovalRequest,
    Decision,
    Submission,
)
from goalkeeper.domain.contract import Contract
from goalkeeper.domain.dsse import Envelope, seal
from goalkeeper.domain.goal import GoalResult
from goalkeeper.evidence import EvidenceStore
from goalkeeper.identities import Identities
from goalkeeper.ledger import Ledger
from goalkeeper.payloads import PayloadKeys
from goalkeeper.policy import PolicyEngine
from goalkeeper.settings import Settings, load_settings
from goalkeeper.telemetry import tracing
from goalkeeper.temporal import connect
from goalkeeper.worker import running_workers
from tests.support.fakes import FakeConnector, FakeRegistry, FakeVault, LocalSigner

IDENTITIES = """
version: "1"
people:
  - {id: dana, name: Dana, groups: [developers], token_digest: "sha256:%s"}
  - {id: olive, name: Olive, groups: [operators], token_digest: "sha256:%s"}
  - {id: oscar, name: Oscar, groups: [operators], token_digest: "sha256:%s"}
""" % ("a" * 64, "b" * 64, "c" * 64)  # noqa: UP031 - braces are YAML's here


def plan_of(*tasks: dict[str, Any], environment: str = "development") -> Contract:
    """A contract from task dictionaries, as YAML would give them."""
    return Contract.model_validate({"name": "test", "environment": environment, "tasks": tasks})


@dataclass
class Engine:
    """A worker on a task queue of its own, and what it works with."""

    client: Client
    settings: Settings
    parts: Parts
    vault: FakeVault
    fake: FakeConnector

    async def submit(
        self, contract: Contract | str, *, requester: str | None = "dana", **inputs: Any
    ) -> WorkflowHandle[Any, Any]:
        """Start a goal under a new id."""
        goal_id = f"test-{uuid.uuid4().hex[:12]}"
        return await self.start(
            await self.goal_input(contract, goal_id, requester=requester, **inputs), goal_id
        )

    async def goal_input(
        self, contract: Contract | str, goal_id: str, *, requester: str | None, **inputs: Any
    ) -> GoalInput:
        """The workflow's input, its requester attested as the gateway would."""
        if isinstance(contract, str):
            goal = GoalInput(contract=contract, inputs=inputs)
        else:
            goal = GoalInput(definition=contract, inputs=inputs)
        return goal if requester is None else await self.attested(goal, goal_id, requester)

    async def attested(self, goal: GoalInput, goal_id: str, requester: str = "dana") -> GoalInput:
        """A workflow's input with the gateway's word on who asks."""
        statement = Submission(
            goal_id=goal_id, person=requester, input_digest=goal.digest, at=datetime.now(UTC)
        )
        envelope = await seal(statement, SUBMISSION_TYPE, self.vault.signer)
        return goal.model_copy(update={"requester": requester, "attestation": envelope})

    async def start(self, goal: Any, goal_id: str | None = None) -> WorkflowHandle[Any, Any]:
        """Start the workflow with any input at all."""
        return await self.client.start_workflow(
            WORKFLOW,
            goal,
            id=goal_id or f"test-{uuid.uuid4().hex[:12]}",
            task_queue=self.settings.task_queue,
        )

    async def progress(self, handle: WorkflowHandle[Any, Any]) -> Progress:
        """What the goal says of itself."""
        answer: Progress = await handle.query(QUERY_PROGRESS, result_type=Progress)
        return answer

    async def until(
        self, handle: WorkflowHandle[Any, Any], condition: Callable[[Progress], bool]
    ) -> Progress:
        """Wait for a condition on the goal's progress."""
        async with asyncio.timeout(30):
            while True:
                progress = await self.progress(handle)
                if condition(progress):
                    return progress
                await asyncio.sleep(0.02)

    async def asked(self, handle: WorkflowHandle[Any, Any]) -> OpenRequest:
        """The goal's open request, once there is one."""
        progress = await self.until(handle, lambda p: any(r.closed is None for r in p.requests))
        return next(r for r in progress.requests if r.closed is None)

    async def decide(
        self,
        handle: WorkflowHandle[Any, Any],
        request: ApprovalRequest,
        *,
        person: str = "olive",
        groups: tuple[str, ...] = ("operators",),
        answer: Answer = Answer.APPROVE,
        reason: str = "",
        signer: LocalSigner | None = None,
        **changes: Any,
    ) -> Envelope:
        """Sign a decision as the gateway does, and signal it."""
        fields: dict[str, Any] = {
            "id": f"decision-{uuid.uuid4().hex}",
            "request_id": request.id,
            "request_digest": request.digest,
            "goal_id": request.goal_id,
            "answer": answer,
            "person": person,
            "groups": groups,
            "reason": reason,
            "channel": "cli",
            "decided_at": datetime.now(UTC),
        }
        decision = Decision.model_validate({**fields, **changes})
        envelope = await seal(decision, DECISION_TYPE, signer or self.vault.signer)
        await self.signal(handle, DecisionSignal(envelope=envelope.model_dump(mode="json")))
        return envelope

    async def signal(self, handle: WorkflowHandle[Any, Any], argument: Any) -> None:
        """Send ``decision_made`` with anything at all."""
        await handle.signal(SIGNAL_DECISION, argument)

    async def result(self, handle: WorkflowHandle[Any, Any]) -> GoalResult:
        """What came of the goal, from Temporal's result or from the failure's details."""
        async with asyncio.timeout(60):
            try:
                return GoalResult.model_validate(await handle.result())
            except WorkflowFailureError as error:
                cause = error.cause
                if isinstance(cause, ApplicationError) and cause.details:
                    return GoalResult.model_validate(cause.details[0])
                raise

    def kinds(self, goal_id: str) -> list[str]:
        """The audit events of a goal, by kind and in order."""
        return [e.event.kind.value for e in self.parts.audit.entries(goal_id=goal_id)]


def make_parts(
    folder: Path,
    vault: FakeVault,
    fake: FakeConnector,
    policy: str | None = None,
    contracts: tuple[Path, ...] = (),
) -> Parts:
    """Real stores in a folder, fake connector and Vault."""
    people = folder / "identities.yaml"
    people.write_text(IDENTITIES)
    people.chmod(0o600)

    async def release(goal_id: str) -> None:
        """Nothing runs in a sandbox here."""

    return Parts(
        registry=FakeRegistry((fake, CoreConnector())),
        policy=PolicyEngine(policy) if policy else PolicyEngine.load(),
        identities=Identities.load(people),
        catalogue=Catalogue(contracts),
        vault=vault,
        audit=AuditLog.open(folder / "audit.sqlite"),
        ledger=Ledger.open(folder / "ledger.sqlite"),
        evidence=EvidenceStore(folder / "evidence"),
        window=200,
        release=release,
    )


@asynccontextmanager
async def running_engine(
    address: str,
    folder: Path,
    *,
    policy: str | None = None,
    keys: PayloadKeys | None = None,
    **settings: Any,
) -> AsyncIterator[Engine]:
    """A worker with fresh stores for the length of the block; encrypted where keys are given."""
    chosen = load_settings(
        folder,
        environ={},
        temporal_address=address,
        task_queue=f"test-{uuid.uuid4().hex[:8]}",
        payload_encryption=keys is not None,
        **settings,
    )
    vault, fake = FakeVault(), FakeConnector()
    parts = make_parts(folder, vault, fake, policy, chosen.contracts)
    client = await connect(chosen, interceptors=tracing(chosen, "test"), keys=keys)
    try:
        async with running_workers(chosen, client, parts):
            yield Engine(client, chosen, parts, vault, fake)
    finally:
        await parts.audit.aclose()
        await parts.ledger.aclose()


async def history_text(handle: WorkflowHandle[Any, Any]) -> str:
    """A workflow's whole history as text, payloads decoded."""
    history: dict[str, Any] = json.loads((await handle.fetch_history()).to_json())
    await _open_payloads(history, handle._client.data_converter)
    return _decoded(history)


async def _open_payloads(value: Any, converter: DataConverter) -> None:
    """Put what is sealed or lies elsewhere into its place."""
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict) and isinstance(inner.get("data"), str):
            payloads = Payloads(payloads=[ParseDict(inner, Payload())])
            # As the SDK does for the payloads of failures: it has no public way for a single one.
            await converter._transform_inbound_payloads(payloads)
            inner["data"] = base64.b64encode(payloads.payloads[0].data).decode()
        elif isinstance(inner, dict | list):
            await _open_payloads(inner, converter)


def _decoded(value: Any) -> str:
    if isinstance(value, dict):
        if isinstance(value.get("data"), str):
            try:
                return base64.b64decode(value["data"]).decode(errors="replace")
            except ValueError:
                return str(value["data"])
        return "\n".join(_decoded(v) for v in value.values())
    if isinstance(value, list):
        return "\n".join(_decoded(v) for v in value)
    return str(value)
