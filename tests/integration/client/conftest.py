"""A real Temporal server with the real `GoalWorkflow` on it; its activities are stand-ins.

What the activities do in earnest is tested where they live; here they plan two or three tasks
and wait until the test lets them go on.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from temporalio import activity
from temporalio.client import Client as Temporal
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from goalkeeper.client import Client
from goalkeeper.contracts import activities as names
from goalkeeper.contracts.activities import (
    AuthoriseInput,
    AuthoriseResult,
    CleanUpInput,
    CompensateInput,
    ExecuteInput,
    ExecuteResult,
    KeysResult,
    PlanInput,
    RecordInput,
)
from goalkeeper.contracts.goal import (
    SIGNAL_DECISION,
    OpenRequest,
    PlannedGoal,
    planning_queue,
)
from goalkeeper.domain.approval import DECISION_TYPE, Answer, Decision, Requester
from goalkeeper.domain.compiler import compile_contract
from goalkeeper.domain.contract import Contract
from goalkeeper.domain.dsse import Signature, seal
from goalkeeper.domain.operation import Risk
from goalkeeper.domain.plan import APPROVAL
from goalkeeper.domain.policy import Effect, Requirement, Verdict
from goalkeeper.embedded.ports import Ports
from goalkeeper.embedded.temporal import TemporalServer
from goalkeeper.settings import Settings
from goalkeeper.temporal import connect
from workflows.goal import GoalWorkflow

_VERSION = "sha256:" + "0" * 64
_SOON = timedelta(milliseconds=200)


class Signing:
    """The gateway's key, held by the test."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()

    @property
    def keys(self) -> dict[str, str]:
        """The public half."""
        return {"k": base64.b64encode(self._key.public_key().public_bytes_raw()).decode()}

    async def sign(self, message: bytes) -> Signature:
        """As the gateway would."""
        return Signature(keyid="k", sig=base64.b64encode(self._key.sign(message)).decode())


class Stage:
    """Stand-ins for the activities; a task's run waits for `go` where the test holds it."""

    def __init__(self) -> None:
        self.signing = Signing()
        self.held: dict[str, asyncio.Event] = {}
        self.failing: set[str] = set()
        self.planned: list[PlanInput] = []

    def hold(self, task_id: str) -> asyncio.Event:
        """Make a task wait for the event."""
        return self.held.setdefault(task_id, asyncio.Event())

    @activity.defn(name=names.PLAN)
    async def plan(self, given: PlanInput) -> PlannedGoal:
        """Compile; writing must be approved by one operator."""
        from connectors.registry import known_operations

        self.planned.append(given)
        assert given.goal.definition is not None
        plan = compile_contract(given.goal.definition, given.goal.inputs, known_operations())
        return PlannedGoal(
            plan=plan,
            plan_digest=plan.digest,
            requester=Requester(id="developer", proven=True),
            verdicts={
                t.id: _verdict(t.risk if t.operation != APPROVAL else Risk.READ) for t in plan.tasks
            },
            policy_version=_VERSION,
            decision_keys=self.signing.keys,
        )

    @activity.defn(name=names.AUTHORISE)
    async def authorise(self, given: AuthoriseInput) -> AuthoriseResult:
        """The same verdict again."""
        worst = max((a.risk for a in given.actions), key=list(Risk).index)
        return AuthoriseResult(
            verdict=_verdict(worst), policy_version=_VERSION, at=datetime.now(UTC)
        )

    @activity.defn(name=names.DECISION_KEYS)
    async def keys(self, _: CleanUpInput) -> KeysResult:
        """The public keys."""
        return KeysResult(keys=self.signing.keys)

    @activity.defn(name=names.RECORD)
    async def record(self, _: RecordInput) -> None:
        """Nowhere."""

    @activity.defn(name=names.EXECUTE)
    async def execute(self, given: ExecuteInput) -> ExecuteResult:
        """Wait where held, fail where told to, otherwise echo the inputs."""
        task = given.action.task_id
        while task in self.held and not self.held[task].is_set():
            activity.heartbeat()
            await asyncio.wait([asyncio.ensure_future(self.held[task].wait())], timeout=0.2)
        if task in self.failing:
            raise ApplicationError("2 tests failed", type="CheckFailed", non_retryable=True)
        return ExecuteResult(outputs=given.action.inputs)

    @activity.defn(name=names.COMPENSATE)
    async def compensate(self, _: CompensateInput) -> ExecuteResult:
        """Nothing to undo."""
        return ExecuteResult()

    @activity.defn(name=names.CLEAN_UP)
    async def clean_up(self, _: CleanUpInput) -> None:
        """Nothing is left."""

    async def decide(self, client: Client, asked: OpenRequest, answer: Answer) -> None:
        """What the gateway does once it knows the person."""
        decision = Decision(
            id=f"{asked.digest}-{answer}",
            request_id=asked.request.id,
            request_digest=asked.digest,
            goal_id=asked.request.goal_id,
            answer=answer,
            person="operator",
            groups=("operators",),
            reason="looked at it",
            channel="cli",
            decided_at=datetime.now(UTC),
        )
        envelope = await seal(decision, DECISION_TYPE, self.signing)
        handle = (await client.temporal()).get_workflow_handle(asked.request.goal_id)
        await handle.signal(SIGNAL_DECISION, {"envelope": envelope.model_dump(mode="json")})

    @asynccontextmanager
    async def worker(self, temporal: Temporal, queue: str) -> AsyncIterator[None]:
        """Serve goals for the length of the block."""
        every: list[Callable[..., Any]] = [
            self.plan,
            self.authorise,
            self.keys,
            self.record,
            self.execute,
            self.compensate,
            self.clean_up,
        ]
        planning = Worker(temporal, task_queue=planning_queue(queue), activities=[self.plan])
        goals = Worker(
            temporal,
            task_queue=queue,
            workflows=[GoalWorkflow],
            activities=every,
            max_heartbeat_throttle_interval=_SOON,
            default_heartbeat_throttle_interval=_SOON,
        )
        async with planning, goals:
            yield


def _verdict(risk: Risk) -> Verdict:
    if risk is Risk.READ:
        return Verdict(effect=Effect.ALLOW)
    return Verdict(effect=Effect.ASK, requirement=Requirement(groups=("operators",)))


def contract(*tasks: dict[str, object], name: str = "sample") -> Contract:
    """A contract of these tasks."""
    return Contract.model_validate({"name": name, "tasks": list(tasks)})


def echo(name: str, value: object, *needs: str) -> dict[str, object]:
    """A task that only reads."""
    return {"id": name, "uses": "core.echo", "with": {"value": value}, "needs": list(needs)}


def slow(name: str, *needs: str) -> dict[str, object]:
    """A task that only reads and takes its time: an ordinary activity, which can be held."""
    given = {"repository": "https://git.test/r", "branch": "b"}
    return {
        "id": name,
        "uses": "git.describe_branch",
        "with": given,
        "needs": list(needs),
        "credentials": {"token": "git-reader"},
    }


def write(name: str, *needs: str) -> dict[str, object]:
    """A task that writes, and so is asked about."""
    return {"id": name, "uses": "core.noop", "with": {"value": 1}, "needs": list(needs)}


def gate(name: str, *covers: str) -> dict[str, object]:
    """An approval."""
    return {"id": name, "uses": "approval", "covers": list(covers)}


@pytest.fixture(scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TemporalServer]:
    """One Temporal server for all of these tests."""
    temporal = TemporalServer(tmp_path_factory.mktemp("temporal"), Ports.free())
    await temporal.start()
    yield temporal
    await temporal.stop()


@pytest.fixture
def settings(server: TemporalServer, tmp_path: Path) -> Settings:
    """An installation on that server, with a state folder of the test's own."""
    return Settings(
        state=tmp_path,
        temporal_address=server.address,
        gateway_url="http://127.0.0.1:9",
        payload_encryption=False,
    )


@pytest.fixture
async def stage(settings: Settings) -> AsyncIterator[Stage]:
    """A worker with stand-ins."""
    it = Stage()
    async with it.worker(await connect(settings), settings.task_queue):
        yield it
        for event in it.held.values():
            event.set()


@pytest.fixture
async def gk(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    """A client in nobody's name."""
    monkeypatch.delenv("GOALKEEPER_TOKEN", raising=False)
    monkeypatch.delenv("GOALKEEPER_AS", raising=False)
    async with Client.connect(settings) as client:
        yield client
