"""The goals that the benchmarks submit, and how one is approved and timed.

It starts no server and compares nothing.
"""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from temporalio.client import WorkflowHandle

from goalkeeper.audit import AuditLog
from goalkeeper.bench.stand import APPROVER, Stand, finish, new_id
from goalkeeper.contracts.goal import (
    QUERY_APPROVALS,
    SIGNAL_DECISION,
    DecisionSignal,
    OpenRequest,
)
from goalkeeper.domain.approval import DECISION_TYPE, Answer, Decision
from goalkeeper.domain.audit import AuditKind
from goalkeeper.domain.contract import Contract
from goalkeeper.domain.dsse import seal
from goalkeeper.domain.errors import ServiceUnavailable

WRITE = "core.noop"
"""Takes the whole way of a change: policy, digest, ledger, two audit entries."""
READ = "core.echo"
"""Declares itself read-only and quick, and so runs as a local activity."""
PATIENCE = timedelta(seconds=60)


def contract_of(
    tasks: int, *, chained: bool, environment: str = "development", uses: str = WRITE
) -> Contract:
    """A contract of tasks that do nothing."""
    return Contract.model_validate(
        {
            "name": "bench",
            "environment": environment,
            "tasks": [
                {
                    "id": f"t{n}",
                    "uses": uses,
                    "needs": [f"t{n - 1}"] if chained and n else [],
                }
                for n in range(tasks)
            ],
        }
    )


def asking() -> Contract:
    """One task that must be approved."""
    return contract_of(1, chained=False, environment="production")


async def submitted(stand: Stand, contract: Contract) -> WorkflowHandle[Any, Any]:
    """A goal that was just submitted."""
    goal_id = new_id("goal")
    return await stand.submit(await stand.goal_input(contract, goal_id), goal_id)


async def goal_seconds(stand: Stand, contract: Contract) -> float:
    """Seconds that a goal takes, from its submission to its result."""
    goal_id = new_id("goal")
    goal = await stand.goal_input(contract, goal_id)
    began = time.perf_counter()
    await finish(await stand.submit(goal, goal_id))
    return time.perf_counter() - began


@dataclass(frozen=True)
class Asked:
    """What a decision names of the request that it answers."""

    goal_id: str
    request_id: str
    request_digest: str
    groups: tuple[str, ...]


async def asked(handle: WorkflowHandle[Any, Any]) -> Asked:
    """The goal's open request, once there is one.

    Raises:
        ServiceUnavailable: it did not ask in time.
    """
    try:
        async with asyncio.timeout(PATIENCE.total_seconds()):
            while True:
                found: list[OpenRequest] = await handle.query(
                    QUERY_APPROVALS, result_type=list[OpenRequest]
                )
                if found:
                    request = found[0].request
                    groups = request.requirement.groups
                    return Asked(request.goal_id, request.id, request.digest, groups)
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise ServiceUnavailable(
            f"the benchmark's goal '{handle.id}' did not ask for approval within {PATIENCE}"
        ) from None


def asked_on_record(audit: AuditLog, goal_id: str) -> Asked:
    """The same from the audit log: asking the goal itself would bring it into the worker's cache.

    Raises:
        ServiceUnavailable: the goal has asked for nothing.
    """
    for entry in audit.entries(goal_id=goal_id, kind=AuditKind.APPROVAL_REQUESTED):
        detail: dict[str, Any] = entry.event.detail
        groups = tuple(detail["groups"])
        return Asked(goal_id, detail["request"], detail["request_digest"], groups)
    raise ServiceUnavailable(f"the benchmark's goal '{goal_id}' has not asked for approval")


async def approved_seconds(
    stand: Stand, handle: WorkflowHandle[Any, Any], request: Asked, audit: AuditLog
) -> float:
    """Seconds until the attempt is on record: policy asked again, the grant verified and spent."""
    signal = await _approval(stand, request)
    began = time.time()
    await handle.signal(SIGNAL_DECISION, signal)
    await finish(handle)
    intent = next(audit.entries(goal_id=request.goal_id, kind=AuditKind.TASK_INTENT))
    return intent.event.time.timestamp() - began


async def _approval(stand: Stand, request: Asked) -> DecisionSignal:
    """A signed yes, as the gateway makes one."""
    yes = Decision(
        id=f"bench-{uuid4().hex}",
        request_id=request.request_id,
        request_digest=request.request_digest,
        goal_id=request.goal_id,
        answer=Answer.APPROVE,
        person=APPROVER,
        groups=request.groups,
        channel="bench",
        decided_at=datetime.now(UTC),
    )
    envelope = await seal(yes, DECISION_TYPE, stand.signer)
    return DecisionSignal(envelope=envelope.model_dump(mode="json"))
