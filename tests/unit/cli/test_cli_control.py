"""Steering goals on the command line: each command is the client's, and its errors are clear."""

from pathlib import Path

import pytest

from goalkeeper.domain.approval import Question
from goalkeeper.domain.plan import PlanTask
from tests.unit.cli.conftest import Cli, FakeClient, open_request, plan_of, progress_of


def test_a_change_reads_values_by_the_operations_types(cli: Cli, client: FakeClient) -> None:
    """A number where the operation wants one, text where it wants text."""
    task = PlanTask(id="deploy", operation="apps.deploy")
    client.progress = progress_of(plan=plan_of(task), tasks=())
    values = ("-i", "replicas=3", "-i", "commit=123", "-i", "other=[1]")
    ran = cli("change", "g", "deploy", *values, "-r", "more of it")
    assert ran.code == 0, ran.err
    inputs = {"replicas": 3, "commit": "123", "other": [1]}
    assert client.commands == [("change_task", "g", "deploy", inputs, "more of it")]
    assert ran.out == "changed task 'deploy' of goal 'g'\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("change", "g", "a", "-i", "novalue"), "is not an input"),
        (("change", "g", "a"), "--input"),
        (("skip", "g", "a"), "--reason"),
        (("rerun", "g"), "--from"),
        (("cancel", "g", "--task", "a", "--no-rollback"), "for a whole goal"),
        (("signal", "g", "dawn", "-p", "{a: 1}"), "the payload is not JSON"),
        (("signal", "g", "dawn", "-p", "@/no/such/file"), "cannot read '/no/such/file'"),
        (("resolve", "g", "-r", "seen"), "--happened or --did-not-happen"),
        (("resolve", "g", "--happened"), "--reason"),
    ],
)
def test_what_is_missing_or_wrong_is_said_before_anything_is_sent(
    cli: Cli, client: FakeClient, arguments: tuple[str, ...], said: str
) -> None:
    """As a usage error."""
    ran = cli(*arguments)
    assert ran.code == 2
    assert said in " ".join(ran.err.replace("│", " ").split())
    assert client.commands == []


def test_a_task_that_the_goal_does_not_have_cannot_be_changed(cli: Cli, client: FakeClient) -> None:
    """Its name was misspelt, most likely."""
    ran = cli("change", "g", "nothere", "-i", "a=1")
    assert ran.code == 1
    assert "has no task 'nothere'" in ran.err


def test_an_event_takes_its_payload_from_a_file(
    cli: Cli, client: FakeClient, tmp_path: Path
) -> None:
    """Or from the command line."""
    file = tmp_path / "payload.json"
    file.write_text('{"temperature": 4}')
    assert cli("signal", "g", "dawn", "--payload", f"@{file}").out == "sent 'dawn' to goal 'g'\n"
    assert client.commands == [("signal", "g", "dawn", {"temperature": 4})]


@pytest.mark.parametrize(
    ("line", "command", "new"),
    [
        (("rerun", "g", "--from", "b"), ("rerun", "g", "b"), "g--rerun-1"),
        (("rerun", "g", "--from", "b", "--id", "mine"), ("rerun", "g", "b"), "mine"),
        (("rollback", "g"), ("rollback", "g"), "g--rollback-1"),
    ],
)
def test_a_goal_that_follows_another_prints_its_id(
    cli: Cli, client: FakeClient, line: tuple[str, ...], command: tuple[str, ...], new: str
) -> None:
    """For people and for scripts, as `submit` does."""
    assert cli(*line).out == f"{new}\n"
    assert cli(*line, "--json").json == {"goal_id": new, "state": "Submitted"}
    assert client.commands == [command, command]


def test_commands_answer_in_json_for_scripts(cli: Cli, client: FakeClient) -> None:
    """The goal, the task and what was done."""
    answered = cli("skip", "g", "a", "-r", "not today", "--json").json
    assert answered == {"goal_id": "g", "task_id": "a", "done": "skip_task"}


@pytest.mark.parametrize(
    ("flag", "answer"), [("--happened", "happened"), ("--did-not-happen", "did_not_happen")]
)
def test_a_lost_attempt_is_resolved_by_what_was_shown(
    cli: Cli, client: FakeClient, flag: str, answer: str
) -> None:
    """By the goal's id while it asks one such thing, whatever else it asks."""
    lost = open_request("g", Question.OUTCOME)
    client.requests = [open_request("g"), lost]
    ran = cli("resolve", "g", flag, "-r", "it is on main", "--yes")
    assert ran.code == 0, ran.err
    assert client.decisions == [("g/merge.0.outcome", answer, "it is on main", lost.digest)]


def test_a_task_tells_two_lost_attempts_apart(cli: Cli, client: FakeClient) -> None:
    """Nothing is answered by guessing."""
    lost = open_request("g", Question.OUTCOME)
    request = lost.request.model_copy(update={"id": "g/tag.0.outcome", "task_id": "tag"})
    request = request.model_copy(
        update={"actions": (request.actions[0].model_copy(update={"task_id": "tag"}),)}
    )
    client.requests = [lost, lost.model_copy(update={"request": request})]
    ran = cli("resolve", "g", "--happened", "-r", "seen", "--yes")
    assert ran.code == 1
    assert "name the request" in ran.err
    assert cli("resolve", "g", "tag", "--happened", "-r", "seen", "--yes").code == 0
    assert [d[0] for d in client.decisions] == ["g/tag.0.outcome"]
    missing = cli("resolve", "g", "other", "--happened", "-r", "seen", "--yes")
    assert "waits for no answer about task 'other'" in missing.err


def test_without_a_terminal_the_card_is_shown_and_nothing_answered(
    cli: Cli, client: FakeClient
) -> None:
    """What was attempted, and what each answer leads to."""
    client.requests = [open_request("g", Question.OUTCOME)]
    ran = cli("resolve", "g", "--happened", "-r", "seen")
    assert ran.code == 1
    assert "Exactly this was attempted" in ran.out
    assert "It did not happen: The task runs again" in ran.out
    assert client.decisions == []


@pytest.mark.parametrize("name", ["g", "g/merge.0.outcome"])
def test_a_lost_attempt_is_not_approved(cli: Cli, client: FakeClient, name: str) -> None:
    """The command that answers it is named."""
    client.requests = [open_request("g", Question.OUTCOME)]
    ran = cli("approve", name, "--yes")
    assert ran.code == 1
    assert "goalkeeper resolve g/merge.0.outcome" in ran.err
    assert client.decisions == []
