"""Commands on goals: what they ask of the client, what they print, how they exit."""

from datetime import UTC, datetime

import pytest

from goalkeeper.client import GoalSummary, Trouble
from goalkeeper.domain.goal import Failure, GoalResult
from goalkeeper.domain.plan import GoalState
from tests.unit.cli.conftest import Cli, FakeClient


def _ended(state: GoalState, code: str = "CheckFailed") -> GoalResult:
    failure = None if state is GoalState.SUCCEEDED else Failure(code=code, message="because")
    return GoalResult(goal_id="g", contract="c", state=state, failure=failure)


def test_inputs_take_the_types_of_the_contract(cli: Cli, client: FakeClient) -> None:
    """``3`` is a number where the contract says so, and text elsewhere."""
    ran = cli(
        "submit",
        "deploy-branch",
        "repository=https://x.test/r",
        "branch=3",
        "app=web",
        "replicas=3",
        "--id",
        "mine",
    )
    assert ran.code == 0
    assert ran.out == "mine\n"
    [(contract, inputs, goal_id)] = client.submitted
    assert (contract, goal_id) == ("deploy-branch", "mine")
    assert inputs["branch"] == "3"
    assert inputs["replicas"] == 3


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (_ended(GoalState.SUCCEEDED), 0),
        (_ended(GoalState.FAILED), 1),
        (_ended(GoalState.ROLLED_BACK), 1),
        (_ended(GoalState.CANCELLED), 1),
        (_ended(GoalState.DENIED, "ApprovalDenied"), 3),
        (_ended(GoalState.FAILED, "PolicyDenied"), 3),
    ],
)
def test_waiting_exits_as_the_goal_ended(
    cli: Cli, client: FakeClient, result: GoalResult, code: int
) -> None:
    """Scripts tell success, failure and no apart."""
    client.result = result
    ran = cli("submit", "read-file", "repository=https://x.test/r", "path=p", "--wait")
    assert ran.code == code
    assert result.state.value in ran.out


def test_show_prints_every_task_and_why_one_failed(cli: Cli, client: FakeClient) -> None:
    """As plain text where there is no terminal."""
    ran = cli("show", "g")
    assert ran.code == 0
    assert "2 tests failed" in ran.out
    assert "\x1b" not in ran.out
    assert cli("show", "g", "--json").json["tasks"][0]["failure"]["code"] == "CheckFailed"


def test_show_says_what_is_tried_again_and_why(cli: Cli, client: FakeClient) -> None:
    """Beside the answer, so that scripts still read pure JSON."""
    client.troubles = (Trouble(what="task test", attempts=2, message="no engine answers"),)
    ran = cli("show", "g", "--json")
    assert "task test has failed 2 times and is tried again: no engine answers" in ran.err
    assert ran.json["goal_id"] == client.progress.goal_id


def test_what_looks_like_markup_is_only_text(cli: Cli, client: FakeClient) -> None:
    """In answers that are made of what was typed, too."""
    assert cli("pause", "[bold]g").out == "paused goal '[bold]g'\n"


def test_list_prints_one_goal_a_line(cli: Cli, client: FakeClient) -> None:
    """For people as a table, for scripts as an array."""
    client.listed = [
        GoalSummary(
            id="g1", contract="c", state=GoalState.AWAITING_APPROVAL, started_at=datetime.now(UTC)
        )
    ]
    assert "AwaitingApproval" in cli("list").out
    assert cli("list", "--json").json[0]["id"] == "g1"
    client.listed = []
    assert cli("list").out == "no goals\n"
    assert cli("list", "--json").json == []


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (("pause", "g", "--reason", "lunch"), ("pause", "g", "lunch")),
        (("resume", "g"), ("resume", "g", "")),
        (("cancel", "g", "-r", "wrong"), ("cancel", "g", "wrong", True)),
        (("cancel", "g", "--no-rollback"), ("cancel", "g", "", False)),
        (("cancel", "g", "--task", "t", "-r", "stuck"), ("cancel_task", "g", "t", "stuck")),
        (("retry", "g", "t"), ("retry_task", "g", "t", "")),
        (("skip", "g", "t", "-r", "down"), ("skip_task", "g", "t", "down")),
        (("signal", "g", "dawn", "-p", '{"a": 1}'), ("signal", "g", "dawn", {"a": 1})),
        (("signal", "g", "dawn"), ("signal", "g", "dawn", None)),
    ],
)
def test_each_control_is_the_clients(
    cli: Cli, client: FakeClient, line: tuple[str, ...], command: tuple[object, ...]
) -> None:
    """With the reason that goes on record."""
    assert cli(*line).code == 0
    assert client.commands == [command]
