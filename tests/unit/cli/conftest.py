"""Running the command line inside a test, and a stand-in for the client behind it."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from goalkeeper.cli.app import run
from goalkeeper.cli.session import Session
from goalkeeper.client import Decided, GoalSummary, Trouble
from goalkeeper.contracts.goal import OpenRequest, Progress, Summary
from goalkeeper.domain.approval import Action, Answer, ApprovalRequest, Question, Requester
from goalkeeper.domain.errors import GoalkeeperError, NotFound
from goalkeeper.domain.goal import Failure, GoalResult, TaskStatus
from goalkeeper.domain.operation import Risk
from goalkeeper.domain.plan import GoalState, Plan, PlanTask, TaskState
from goalkeeper.domain.policy import Requirement

DIGEST = "sha256:" + "0" * 64


@dataclass(frozen=True)
class Ran:
    """What one command line did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, read as JSON."""
        return json.loads(self.out)


Cli = Callable[..., Ran]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """Runs a command line on a state folder of the test's own."""
    for name in ("GOALKEEPER_TOKEN", "GOALKEEPER_AS", "GOALKEEPER_CONFIG", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOALKEEPER_STATE", str(tmp_path))

    def command(*arguments: str) -> Ran:
        code = run(arguments)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return command


def open_request(
    goal_id: str = "g", question: Question = Question.RUN, **changes: Any
) -> OpenRequest:
    """An approval request for one merge, or the question what became of it."""
    now = datetime.now(UTC)
    action = Action(
        goal_id=goal_id,
        task_id="merge",
        plan_digest=DIGEST,
        operation="git.merge_branch",
        inputs={"branch": changes.pop("branch", "feature")},
        environment="production",
        risk=Risk.WRITE,
        policy_version=DIGEST,
    )
    request = ApprovalRequest(
        id=f"{goal_id}/{'approve.0' if question is Question.RUN else 'merge.0.outcome'}",
        goal_id=goal_id,
        task_id="approve" if question is Question.RUN else "merge",
        question=question,
        contract="deploy-branch",
        environment="production",
        requester=Requester(id="developer", proven=True),
        actions=(action,),
        requirement=Requirement(groups=("operators",)),
        created_at=now,
        expires_at=now + timedelta(hours=4),
    )
    return OpenRequest(request=request, digest=request.digest, needed=1, **changes)


def plan_of(*tasks: PlanTask) -> Plan:
    """A plan in production."""
    return Plan(
        contract="deploy-branch", contract_digest=DIGEST, environment="production", tasks=tasks
    )


def progress_of(state: GoalState = GoalState.RUNNING, **changes: Any) -> Progress:
    """A goal of two tasks, of which the first has failed."""
    tasks = (
        PlanTask(id="a", operation="core.noop"),
        PlanTask(id="b", operation="core.noop", needs=("a",)),
    )
    failed = Failure(code="CheckFailed", message="2 tests failed")
    defaults: dict[str, Any] = {
        "plan": plan_of(*tasks),
        "tasks": (
            TaskStatus(id="a", operation="core.noop", state=TaskState.FAILED, failure=failed),
            TaskStatus(id="b", operation="core.noop"),
        ),
    }
    return Progress(
        goal_id="g",
        contract="deploy-branch",
        state=state,
        version=1,
        requester=Requester(id="developer", proven=True),
        **{**defaults, **changes},
    )


class FakeGateway:
    """Knows the requests of its client."""

    def __init__(self, client: "FakeClient") -> None:
        self._client = client

    async def request(self, request_id: str) -> OpenRequest:
        """One request by id."""
        for asked in self._client.requests:
            if asked.request.id == request_id:
                return asked
        raise NotFound(f"there is no request '{request_id}'")


class FakeGoal:
    """One goal whose answers are set by the test."""

    def __init__(self, client: "FakeClient", goal_id: str) -> None:
        self._client = client
        self.id = goal_id

    async def troubles(self) -> tuple[Trouble, ...]:
        """As set."""
        return self._client.troubles

    async def progress(self) -> Progress:
        """As set."""
        if self._client.error:
            raise self._client.error
        return self._client.progress

    async def summary(self) -> Summary:
        """Of the progress that is set, with the locks that are set."""
        progress = await self.progress()
        return Summary(
            goal_id=self.id,
            contract=progress.contract,
            state=progress.state,
            version=progress.version,
            waits_for_locks=self._client.locks,
        )

    async def rerun(self, from_task: str, *, goal_id: str | None) -> "FakeGoal":
        """Remember, and be another goal."""
        self._client.commands.append(("rerun", self.id, from_task))
        return FakeGoal(self._client, goal_id or f"{self.id}--rerun-1")

    async def rollback(self, *, goal_id: str | None) -> "FakeGoal":
        """Remember, and be another goal."""
        self._client.commands.append(("rollback", self.id))
        return FakeGoal(self._client, goal_id or f"{self.id}--rollback-1")

    async def result(self) -> GoalResult:
        """As set."""
        return self._client.result

    def __getattr__(self, name: str) -> Any:
        async def command(*arguments: object, **options: object) -> None:
            self._client.commands.append((name, self.id, *arguments, *options.values()))

        return command


class FakeClient:
    """Implements what the commands use of `goalkeeper.client.Client`."""

    def __init__(self) -> None:
        self.requests: list[OpenRequest] = []
        self.progress = progress_of()
        self.result = GoalResult(goal_id="g", contract="c", state=GoalState.SUCCEEDED)
        self.error: GoalkeeperError | None = None
        self.troubles: tuple[Trouble, ...] = ()
        self.decisions: list[tuple[str, str, str, str | None]] = []
        self.commands: list[tuple[object, ...]] = []
        self.locks: tuple[str, ...] = ()
        self.submitted: list[tuple[str, Mapping[str, Any], str | None]] = []
        self.listed: list[GoalSummary] = []
        self.has_person = True

    async def __aenter__(self) -> "FakeClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def goal(self, goal_id: str) -> FakeGoal:
        """Any goal."""
        return FakeGoal(self, goal_id)

    async def goals(self, *, state: str | None, limit: int) -> AsyncIterator[GoalSummary]:
        """As set."""
        for goal in self.listed[:limit]:
            if state is None or goal.state == state:
                yield goal

    async def submit(
        self, contract: str, *, inputs: Mapping[str, Any], goal_id: str | None
    ) -> FakeGoal:
        """Remember."""
        self.submitted.append((contract, inputs, goal_id))
        return FakeGoal(self, goal_id or "g")

    async def inbox(self) -> list[OpenRequest]:
        """As set."""
        return self.requests

    def gateway(self) -> FakeGateway:
        """Of the same requests."""
        return FakeGateway(self)

    async def decide(
        self, request_id: str, answer: Answer, reason: str = "", *, digest: str | None = None
    ) -> Decided:
        """Remember."""
        self.decisions.append((request_id, answer.value, reason, digest))
        return Decided(
            decision_id="decision",
            request_id=request_id,
            request_digest=digest or "",
            answer=answer,
            person="operator",
            counted=True,
        )


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    """What every command of the test talks to."""
    fake = FakeClient()
    monkeypatch.setattr(Session, "client", lambda _: fake)
    return fake
