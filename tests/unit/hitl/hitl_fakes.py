"""Stand-ins for goals that count as the workflow does, an audit log and a signer."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr

from goalkeeper.contracts.goal import OpenRequest, Progress, Summary
from goalkeeper.domain.approval import (
    Action,
    Answer,
    ApprovalRequest,
    Question,
    Requester,
    needed_approvals,
    verify_decision,
)
from goalkeeper.domain.audit import AuditEvent, AuditKind
from goalkeeper.domain.base import Json
from goalkeeper.domain.dsse import Envelope, Signature
from goalkeeper.domain.errors import GrantMismatch, NotFound, ServiceUnavailable
from goalkeeper.domain.goal import TaskStatus
from goalkeeper.domain.operation import Risk
from goalkeeper.domain.plan import GoalState, TaskState
from goalkeeper.domain.policy import Requirement
from goalkeeper.identities import token_digest

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ZERO = "sha256:" + "0" * 64
TOKENS = {name: f"token-of-{name}-{'x' * 30}" for name in ("dev", "ops", "root", "guest")}
GROUPS = {"dev": ["developers", "operators"], "ops": ["operators"], "root": ["operators"]}


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> datetime:
        """The time."""
        return self.time

    def forward(self, by: timedelta) -> None:
        """Move on."""
        self.time += by


class LocalSigner:
    """A key in memory."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.keys = {"local:v1": base64.b64encode(public).decode()}

    async def sign(self, message: bytes) -> Signature:
        """Sign with the key in memory."""
        return Signature(keyid="local:v1", sig=base64.b64encode(self._key.sign(message)).decode())


@dataclass
class FakeEntry:
    """One leaf."""

    index: int
    event: AuditEvent


class FakeEvidence:
    """A store of artifacts in a dictionary."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}

    async def get(self, digest: str) -> bytes:
        """By its digest."""
        if digest not in self.stored:
            raise NotFound(f"there is no evidence '{digest}'")
        return self.stored[digest]


class FakeLog:
    """An audit log in a list."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    async def append(self, *events: AuditEvent) -> tuple[int, ...]:
        """Keep what is new; an id that is known keeps its first event."""
        known = {e.id for e in self.events}
        self.events += [e for e in events if e.id not in known]
        return tuple(i for e in events for i, k in enumerate(self.events) if k.id == e.id)

    def entry(self, key: str, /) -> FakeEntry:
        """By the event's id."""
        for index, event in enumerate(self.events):
            if event.id == key:
                return FakeEntry(index, event)
        raise NotFound(f"no entry '{key}'")

    def entries(
        self, *, goal_id: str | None = None, kind: AuditKind | None = None
    ) -> Iterator[FakeEntry]:
        """In order."""
        for index, event in enumerate(self.events):
            if goal_id in (None, event.goal_id) and kind in (None, event.kind):
                yield FakeEntry(index, event)

    def of_kind(self, kind: AuditKind) -> list[AuditEvent]:
        """All events of a kind."""
        return [e for e in self.events if e.kind is kind]


@dataclass
class FakeRequest:
    """A request and what was counted for it."""

    request: ApprovalRequest
    approved_by: list[str] = field(default_factory=list)
    closed: str | None = None


class FakeGoals:
    """Goals that verify and count decisions by the same function as the real workflow."""

    def __init__(self, keys: dict[str, str]) -> None:
        self._keys = keys
        self.asked: dict[str, FakeRequest] = {}
        self.signals: list[Envelope] = []
        self.refused: list[str] = []
        self.temporal_down = False
        self.standing: Progress | None = None
        """How goals stand; None: two tasks, of which one has succeeded."""
        self.locks: tuple[str, ...] = ()
        """What goals wait for."""
        self.surveys = 0
        """How often the inbox was read."""
        self.deaf = False
        """Takes signals and does not count them, as a goal whose worker is down."""
        self.silent: set[str] = set()
        """Goals that do not answer queries."""

    def ask(self, request: ApprovalRequest) -> ApprovalRequest:
        """Open a request, in place of one with the same id."""
        self.asked[request.id] = FakeRequest(request)
        return request

    async def approvals(self, goal_id: str) -> list[OpenRequest]:
        """Open and closed ones."""
        self._up()
        if goal_id in self.silent:
            raise ServiceUnavailable(f"goal '{goal_id}' does not answer")
        found = [a for a in self.asked.values() if a.request.id.startswith(goal_id + "/")]
        if not found:
            raise NotFound(f"there is no goal '{goal_id}'")
        return [
            OpenRequest(
                request=a.request,
                digest=a.request.digest,
                needed=needed_approvals(a.request),
                approved_by=tuple(a.approved_by),
                closed=a.closed,
            )
            for a in found
        ]

    async def progress(self, goal_id: str) -> Progress:
        """As set, or a goal of two tasks."""
        if self.standing is not None:
            return self.standing
        requests = await self.approvals(goal_id)
        return Progress(
            goal_id=goal_id,
            contract="deploy-branch",
            environment="production",
            state=GoalState.AWAITING_APPROVAL,
            version=1,
            requester=requests[0].request.requester,
            tasks=(
                TaskStatus(id="test", operation="sandbox.run", state=TaskState.SUCCEEDED),
                TaskStatus(id="merge", operation="git.merge_branch"),
            ),
            requests=tuple(requests),
        )

    async def summary(self, goal_id: str) -> Summary:
        """In short."""
        progress = await self.progress(goal_id)
        return Summary(
            goal_id=goal_id,
            contract=progress.contract,
            state=progress.state,
            version=progress.version,
            waits_for_locks=self.locks,
        )

    async def deliver(self, goal_id: str, envelope: Envelope) -> None:
        """Take a signal, and count it unless deaf."""
        self._up()
        self.signals.append(envelope)
        if not self.deaf:
            self._count(envelope)

    async def waiting(self, limit: int) -> list[str]:
        """Every goal that has asked."""
        self.surveys += 1
        self._up()
        return list({a.request.id.split("/")[0]: 0 for a in self.asked.values()})[:limit]

    async def reachable(self) -> bool:
        """Whether Temporal is up."""
        return not self.temporal_down

    def _up(self) -> None:
        if self.temporal_down:
            raise ServiceUnavailable("Temporal does not answer")

    def _count(self, envelope: Envelope) -> None:
        for asked in self.asked.values():
            try:
                decision = verify_decision(envelope, asked.request, self._keys)
            except GrantMismatch as error:
                self.refused.append(error.message)
                continue
            if asked.closed is not None:
                self.refused.append(f"closed already: {asked.closed}")
            elif decision.answer is Answer.DENY:
                asked.closed = "denied"
            elif decision.person not in asked.approved_by:
                asked.approved_by.append(decision.person)
                if len(asked.approved_by) >= needed_approvals(asked.request):
                    lost = asked.request.question is Question.OUTCOME
                    asked.closed = "answered" if lost else "approved"


def an_action(task_id: str = "merge", goal_id: str = "goal-1", **inputs: Json) -> Action:
    """A merge into production, or whatever the test makes of it."""
    return Action(
        goal_id=goal_id,
        task_id=task_id,
        plan_digest=ZERO,
        operation="git.merge_branch",
        inputs=inputs or {"branch": "feature", "commit": "c0ffee"},
        environment="production",
        risk=Risk.WRITE,
        policy_version=ZERO,
    )


def a_request(
    goal_id: str = "goal-1",
    *actions: Action,
    requester: str = "dev",
    proven: bool = True,
    expires_in: timedelta = timedelta(hours=4),
    shown: dict[str, Json] | None = None,
    created_at: datetime = NOON,
    **requirement: object,
) -> ApprovalRequest:
    """A request of dev's that one operator must approve within four hours."""
    return ApprovalRequest(
        id=f"{goal_id}/approve.0",
        goal_id=goal_id,
        task_id="approve",
        contract="deploy-branch",
        environment="production",
        requester=Requester(id=requester, proven=proven),
        actions=actions or (an_action(goal_id=goal_id),),
        requirement=Requirement.model_validate({"groups": ("operators",), **requirement}),
        reasons=("A change in production needs an operator.",),
        shown=shown or {},
        created_at=created_at,
        expires_at=created_at + expires_in,
    )


def an_outcome(goal_id: str = "goal-1", *, approvals: int = 1) -> ApprovalRequest:
    """What became of a merge that was lost? One operator must say."""
    asked = a_request(goal_id, approvals=approvals)
    return asked.model_copy(
        update={
            "id": f"{goal_id}/merge.0.outcome",
            "task_id": "merge",
            "question": Question.OUTCOME,
            "reasons": ("The worker was lost before it could say what became of it.",),
        }
    )


def write_identities(file: Path) -> Path:
    """Four people: dev and ops and root are operators, guest is in no group."""
    people = [
        {
            "id": name,
            "name": name.title(),
            "groups": GROUPS.get(name, []),
            "token_digest": token_digest(SecretStr(token)),
        }
        for name, token in TOKENS.items()
    ]
    file.write_text(yaml.safe_dump({"version": "1", "people": people}))
    return file
