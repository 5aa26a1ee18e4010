"""Past goals as the audit log has them, and `goalkeeper policy replay` on them."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from goalkeeper.audit import AuditLog
from goalkeeper.cli.past import on_record, with_plans
from goalkeeper.client import Client
from goalkeeper.domain.audit import AuditEvent, AuditKind
from goalkeeper.domain.errors import NotFound, ServiceUnavailable
from goalkeeper.domain.operation import Risk
from goalkeeper.domain.plan import PlanTask
from goalkeeper.domain.policy import Effect, Requirement, Verdict
from goalkeeper.policy.replaying import PastGoal
from tests.unit.cli.conftest import Cli, FakeClient, plan_of, progress_of

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[AuditLog]:
    """Where `cli` looks for it."""
    opened = AuditLog.open(tmp_path / "audit" / "audit.sqlite")
    yield opened
    await opened.aclose()


class Record:
    """Writes what a worker and a workflow would."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log
        self._number = 0

    async def planned(self, goal_id: str, *asks: str, ago: timedelta = DAY, **changes: Any) -> None:
        """A goal by Dana, who is proven."""
        detail: dict[str, Any] = {
            "contract": "deploy",
            "environment": "production",
            "requester": {"id": "dana", "proven": True},
            "asks": list(asks),
        }
        kind = changes.pop("kind", AuditKind.GOAL_PLANNED)
        await self._add(kind, goal_id, "", {**detail, **changes}, ago=ago)

    async def intent(
        self, goal_id: str, task: str, *, doing: str = "", ago: timedelta = DAY, **changes: Any
    ) -> None:
        """One attempt at a deployment."""
        detail = {
            "operation": "apps.deploy",
            "environment": "production",
            "risk": "write",
            "roles": ["deployer"],
        }
        ident = f"run/{task}{doing}.0/1/intent"
        await self._add(
            AuditKind.TASK_INTENT, goal_id, task, {**detail, **changes}, ago=ago, ident=ident
        )

    async def requested(self, goal_id: str, task: str, needed: int, question: str = "run") -> None:
        """People were asked."""
        detail = {"question": question, "needed": needed, "groups": ["operators"]}
        await self._add(AuditKind.APPROVAL_REQUESTED, goal_id, task, detail)

    async def _add(
        self,
        kind: AuditKind,
        goal_id: str,
        task: str,
        detail: dict[str, Any],
        *,
        ago: timedelta = DAY,
        ident: str = "",
    ) -> None:
        self._number += 1
        await self._log.append(
            AuditEvent(
                id=f"{self._number}/{ident}",
                time=NOW - ago,
                kind=kind,
                actor="worker",
                goal_id=goal_id,
                task_id=task,
                detail=detail,
            )
        )


@pytest.fixture
def record(log: AuditLog) -> Record:
    """To fill the log with."""
    return Record(log)


def read(log: AuditLog, ago: timedelta = 2 * DAY) -> dict[str, PastGoal]:
    """The goals since then."""
    found = on_record(log, NOW - ago, {"dana": ("developers",)})
    return {g.goal_id: g for g in found}


async def test_a_goal_is_read_with_its_requester_and_actions(log: AuditLog, record: Record) -> None:
    """A task that was tried twice is one action."""
    await record.planned("a", "deploy", "approve")
    await record.intent("a", "deploy")
    await record.intent("a", "deploy")
    goal = read(log)["a"]
    assert (goal.contract, goal.requester.id, goal.groups) == ("deploy", "dana", ("developers",))
    (action,) = goal.actions
    assert (action.operation, action.risk, action.roles) == (
        "apps.deploy",
        Risk.WRITE,
        ("deployer",),
    )
    assert (action.was, action.asked, action.unknown) == (Effect.ASK, None, None)


async def test_only_goals_of_the_time_asked_for_are_read(log: AuditLog, record: Record) -> None:
    """What an older goal did since then is not half told."""
    await record.planned("old", ago=3 * DAY)
    await record.planned("just-before", ago=2 * DAY + timedelta(minutes=5))
    await record.planned("new")
    await record.intent("old", "deploy")
    assert list(read(log)) == ["new"]
    assert set(read(log, 4 * DAY)) == {"old", "just-before", "new"}


async def test_who_was_asked_is_read_without_the_one_more_for_the_unproven(
    log: AuditLog, record: Record
) -> None:
    """And the question what became of a lost attempt is another."""
    await record.planned("proven")
    await record.requested("proven", "deploy", 2)
    await record.planned("claimed", requester={"id": "dana", "proven": False})
    await record.requested("claimed", "deploy", 2)
    await record.planned("lost")
    await record.requested("lost", "deploy", 1, "outcome")
    for goal_id in ("proven", "claimed", "lost"):
        await record.intent(goal_id, "deploy")
    goals = read(log)
    asked = {g: goals[g].actions[0].asked for g in goals}
    assert asked["proven"] == Requirement(approvals=2, groups=("operators",))
    assert asked["claimed"] == Requirement(approvals=1, groups=("operators",))
    assert goals["lost"].actions[0].was is Effect.ALLOW
    assert goals["claimed"].groups == ()


async def test_items_of_a_list_were_asked_about_as_their_task(
    log: AuditLog, record: Record
) -> None:
    """The plan's verdict is the task's."""
    await record.planned("a", "scan")
    await record.intent("a", "scan.3")
    await record.intent("a", "other.3")
    assert [a.was for a in read(log)["a"].actions] == [Effect.ASK, Effect.ALLOW]


async def test_undoing_is_told_from_doing(log: AuditLog, record: Record) -> None:
    """A rollback undoes, if it is known who asked for it."""
    await record.planned("a", "deploy")
    await record.intent("a", "deploy")
    await record.intent("a", "deploy", doing=".undo", operation="apps.restore")
    await record.planned("b", contract="rollback")
    await record.intent("b", "step")
    await record.planned("c", contract="rollback", requester={"id": "x"})
    await record.intent("c", "step")
    goals = read(log)
    assert [(x.compensating, x.was) for x in goals["a"].actions] == [
        (False, Effect.ASK),
        (True, Effect.ALLOW),
    ]
    assert goals["b"].actions[0].compensating
    assert not goals["c"].actions[0].compensating


async def test_an_entry_that_an_older_release_wrote_shorter_is_left_out(
    log: AuditLog, record: Record
) -> None:
    """Rather than guessed at."""
    await record.planned("a", asks=None, requester=None)
    await record.intent("a", "deploy", risk=None)
    goal = read(log)["a"]
    assert (goal.requester.id, goal.actions) == ("unknown", ())


async def test_the_plan_knows_more_than_the_record(
    log: AuditLog, record: Record, client: FakeClient
) -> None:
    """Inputs, and who was asked; what was undone is in the record alone."""
    await record.planned("a", "b")
    await record.intent("a", "b")
    await record.intent("a", "b", doing=".undo")
    client.progress = progress_of(
        plan=plan_of(
            PlanTask(
                id="b",
                operation="apps.deploy",
                risk=Risk.WRITE,
                inputs={"app": "web", "image": None},
                bindings={"/image": "tasks.a.image"},
            )
        ),
        verdicts={"b": Verdict(effect=Effect.ASK, requirement=Requirement(approvals=3))},
        environment="production",
    )
    (goal,), missing = await with_plans(read(log).values(), _as_client(client))
    assert missing == 0
    assert [a.compensating for a in goal.actions] == [False, True]
    action = goal.actions[0]
    assert (action.inputs, action.unknown) == ({"app": "web"}, ("image",))
    assert action.asked == Requirement(approvals=3)


@pytest.mark.parametrize("error", [ServiceUnavailable("nobody"), NotFound("gone")])
async def test_without_a_plan_the_record_counts(
    log: AuditLog, record: Record, client: FakeClient, error: ServiceUnavailable | NotFound
) -> None:
    """And how many there are of those is told."""
    await record.planned("a")
    await record.intent("a", "deploy")
    await record.planned("b")
    client.error = error
    goals, missing = await with_plans(read(log).values(), _as_client(client))
    assert (missing, goals) == (2, list(read(log).values()))


async def test_a_goal_that_was_refused_before_it_had_a_plan_stays_as_it_is(
    log: AuditLog, record: Record, client: FakeClient
) -> None:
    """Nothing of it is known."""
    await record.planned("a", kind=AuditKind.GOAL_REFUSED)
    client.progress = progress_of(plan=None)
    (goal,), missing = await with_plans(read(log).values(), _as_client(client))
    assert (goal.refused, goal.actions, missing) == (True, (), 1)


async def test_replay_shows_what_would_differ(cli: Cli, log: AuditLog, record: Record) -> None:
    """With counts; by default for the policy of the settings."""
    await record.planned("a", "deploy")
    await record.intent("a", "deploy")
    ran = cli("policy", "replay", "--offline", "--policy", "phase:read-only")
    assert ran.code == 0
    assert "in the phase 'read-only' goals change nothing" in ran.out
    assert "1 goals, 1 actions, 1 would differ; ask -> deny: 1" in ran.err
    assert "no answer would differ" in cli("policy", "replay", "--offline").out
    assert cli("policy", "replay", "--offline", "--json").json["actions"] == 1


async def test_replay_marks_what_depends_on_inputs_that_the_record_lacks(
    cli: Cli, log: AuditLog, record: Record, tmp_path: Path
) -> None:
    """With the rule and the input."""
    await record.planned("a", "deploy")
    await record.intent("a", "deploy")
    file = tmp_path / "mine.cedar"
    file.write_text(
        '@id("ask") @approvals("1 of operators") permit (principal, action, resource);'
        '@id("db") forbid (principal, action, resource)'
        ' when { context.inputs has app && context.inputs.app like "*-db" };'
    )
    ran = cli("policy", "replay", "--offline", "--policy", str(file))
    assert "ask 1 of operators  perhaps" in ran.out
    assert "db holds depending on 'app'" in ran.out
    assert "1 depend on inputs that are not at hand" in ran.err


async def test_replay_takes_the_newest_goals_of_the_time_it_is_told(
    cli: Cli, log: AuditLog, record: Record
) -> None:
    """And says so when that leaves some out."""
    await record.planned("old", ago=10 * DAY)
    for number in range(3):
        await record.planned(f"new-{number}")
    replayed = ("policy", "replay", "--offline", "--json")
    assert cli(*replayed).json["untold"] == ["new-0", "new-1", "new-2"]
    assert cli(*replayed, "--since", "20d").json["goals"] == 4
    ran = cli(*replayed, "-n", "2")
    assert ran.json["untold"] == ["new-1", "new-2"]
    assert "the newest 2 of 3 goals" in ran.err
    assert cli(*replayed, "--since", "soon").code == 2


def _as_client(fake: FakeClient) -> Client:
    """It has what is used here of a client."""
    assert not isinstance(fake, Client)
    return fake  # type: ignore[return-value]  # a stand-in for the few methods that are called
