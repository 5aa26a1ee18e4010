"""The ways in: the Python client, and Temporal's own command line on the same goals."""

import asyncio
import json
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from deploy.demo.hosting import DemoHost
from goalkeeper.client import Client
from goalkeeper.contracts.goal import SIGNAL_DECISION, OpenRequest
from goalkeeper.domain.approval import DECISION_TYPE, Answer, Decision
from goalkeeper.domain.audit import AuditKind
from goalkeeper.domain.base import Json
from goalkeeper.domain.contract import Contract
from goalkeeper.domain.dsse import seal
from goalkeeper.domain.plan import GoalState, TaskState
from goalkeeper.embedded.temporal import find_binary
from goalkeeper.settings import Settings
from tests.support.fakes import LocalSigner
from tests.support.live import asked, decide, ended, recorded, until

RISKY = Contract.model_validate(
    {
        "name": "risky",
        "environment": "production",
        "tasks": [{"id": "change", "uses": "core.noop", "with": {"value": "changed"}}],
    }
)
"""The smallest goal that people are asked about."""


@dataclass(frozen=True)
class Answered:
    """How the `temporal` command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output, as asked for by ``--output json``."""
        return json.loads(self.out)


class TemporalCli:
    """The real `temporal` command against the stack's server."""

    def __init__(self, settings: Settings) -> None:
        self._address = settings.temporal_address
        self._task_queue = settings.task_queue
        token = (settings.state / "tokens" / "developer").read_text().strip()
        self._environ = {
            "TEMPORAL_CODEC_ENDPOINT": f"{settings.gateway_url}/codec",
            "TEMPORAL_CODEC_AUTH": f"Bearer {token}",
        }

    async def __call__(self, *arguments: str) -> Answered:
        """Run it to its end."""
        process = await asyncio.create_subprocess_exec(
            *(str(find_binary()), "workflow", *arguments, "--address", self._address),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **self._environ},
        )
        out, err = await process.communicate()
        return Answered(process.returncode or 0, out.decode(), err.decode())

    async def start(self, given: Json) -> str:
        """Start a goal as the README says; its id."""
        goal_id = f"cli-{secrets.token_hex(4)}"
        started = await self(
            *("start", "--type", "GoalWorkflow", "--task-queue", self._task_queue),
            *("--workflow-id", goal_id, "--input", json.dumps(given)),
        )
        assert started.code == 0, started.err
        return goal_id

    async def result(self, goal_id: str) -> Answered:
        """Wait for a goal's end."""
        return await self("result", "--workflow-id", goal_id, "--output", "json")

    async def signal(self, goal_id: str, given: Json) -> None:
        """Signal a decision past the gateway."""
        sent = await self(
            *("signal", "--workflow-id", goal_id),
            *("--name", SIGNAL_DECISION, "--input", json.dumps(given)),
        )
        assert sent.code == 0, sent.err


@pytest.fixture
def temporal(stack: Settings) -> TemporalCli:
    """The command line of Temporal."""
    return TemporalCli(stack)


async def test_a_file_is_read_through_the_python_client(
    developer: Client, git_host: DemoHost
) -> None:
    """The smallest useful goal: the content, and the commit that it is of."""
    goal = await developer.submit("read-file", repository=git_host.url, path="README.md")
    result = await ended(goal)
    assert result.state is GoalState.SUCCEEDED, result.failure
    read = result.outputs("read")
    assert isinstance(read, dict)
    assert f"{read['content']}".strip() == git_host.repository.read("README.md").strip()
    assert read["commit"] == git_host.repository.head("main")


async def test_a_file_is_read_through_temporals_own_command(
    temporal: TemporalCli, git_host: DemoHost, stack: Settings
) -> None:
    """The same goal by `temporal workflow start`; the requester stays unproven on record."""
    inputs: Json = {"repository": git_host.url, "path": "goalkeeper-app.json"}
    goal_id = await temporal.start({"contract": "read-file", "inputs": inputs})
    answered = await temporal.result(goal_id)
    assert answered.code == 0, answered.err
    result = answered.json["result"]
    assert result["state"] == "Succeeded"
    content = result["tasks"][0]["outputs"]["content"]
    assert json.loads(content) == json.loads(git_host.repository.read("goalkeeper-app.json"))
    (planned,) = recorded(stack, goal_id, AuditKind.GOAL_PLANNED)
    assert planned.actor == "claimed:unknown"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"contrct": "read-file", "inputs": {}},
            ["contrct", "Known keys: contract, definition, inputs"],
        ),
        ({"contract": "read-flie"}, ["'read-flie'", "read-file"]),
        ({"contract": "read-file", "inputs": {"pth": "x"}}, ["'pth'", "path"]),
        ("read-file", ["the goal's input is wrong", '{"contract": "read-file"']),
    ],
    ids=["misspelt key", "misspelt contract", "misspelt input", "no object"],
)
async def test_bad_input_by_temporals_own_command_fails_with_what_to_write(
    temporal: TemporalCli, given: Json, told: list[str]
) -> None:
    """The workflow fails at once, not its task for ever, and says what would be right."""
    answered = await temporal.result(await temporal.start(given))
    assert answered.code != 0
    closed = answered.json["closeEvent"]["workflowExecutionFailedEventAttributes"]
    failure = closed["failure"]["encodedAttributes"]["message"]
    for words in told:
        assert words in failure, failure
    assert "Traceback" not in failure


def _forged(request: OpenRequest) -> Decision:
    return Decision(
        id="forged-decision",
        request_id=request.request.id,
        request_digest=request.digest,
        goal_id=request.request.goal_id,
        answer=Answer.APPROVE,
        person="operator",
        groups=("operators",),
        reason="trust me",
        channel="cli",
        decided_at=datetime.now(UTC),
    )


async def test_a_raw_signal_is_recorded_and_changes_nothing(
    temporal: TemporalCli, developer: Client, operator: Client, stack: Settings
) -> None:
    """Neither a bare word nor a decision under another key counts; the gateway's own does."""
    goal = await developer.submit(RISKY)
    request = await asked(goal)
    # Under the gateway's own key id, with a key that anybody can make.
    forged = await seal(_forged(request), DECISION_TYPE, LocalSigner())
    lies: list[Json] = [
        {"approved": True, "person": "operator"},
        {"envelope": forged.model_dump(mode="json")},
        "yes",
    ]
    for lie in lies:
        await temporal.signal(goal.id, lie)

    async def all_refused() -> bool:
        return len((await goal.progress()).refused_decisions) == len(lies)

    await until(all_refused, "the refusal of every made-up decision")
    progress = await goal.progress()
    assert progress.state is GoalState.AWAITING_APPROVAL
    (still,) = progress.requests
    assert (still.closed, still.approved_by) == (None, ())
    assert [t.state for t in progress.tasks] == [TaskState.AWAITING_APPROVAL]
    assert len(recorded(stack, goal.id, AuditKind.APPROVAL_REFUSED)) == len(lies)
    assert recorded(stack, goal.id, AuditKind.TASK_INTENT) == []

    await decide(operator, request)
    result = await ended(goal)
    assert result.state is GoalState.SUCCEEDED, result.failure
