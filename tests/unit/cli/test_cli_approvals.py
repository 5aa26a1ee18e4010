"""Deciding on the command line: what is shown is what is approved."""

import pytest

from tests.unit.cli.conftest import Cli, FakeClient, open_request


def test_an_approval_names_the_digest_that_was_shown(cli: Cli, client: FakeClient) -> None:
    """If the request changes in between, the gateway can tell."""
    asked = open_request()
    client.requests = [asked]
    ran = cli("approve", "g/approve.0", "--yes", "--reason", "looked at it")
    assert ran.code == 0
    assert client.decisions == [("g/approve.0", "approve", "looked at it", asked.digest)]


def test_a_goals_id_will_do_while_it_asks_one_thing(cli: Cli, client: FakeClient) -> None:
    """The id that people have at hand."""
    client.requests = [open_request("other"), open_request("g")]
    assert cli("approve", "g", "--yes").code == 0
    assert client.decisions[0][0] == "g/approve.0"


def test_a_goal_that_asks_twice_wants_the_request_named(cli: Cli, client: FakeClient) -> None:
    """Nothing is decided by guessing."""
    client.requests = [open_request("g"), open_request("g")]
    ran = cli("approve", "g", "--yes")
    assert ran.code == 1
    assert "name the request" in ran.err
    assert client.decisions == []


def test_a_goal_that_asks_nothing_is_said_to(cli: Cli, client: FakeClient) -> None:
    """With the state that it is in."""
    ran = cli("deny", "g", "--reason", "no")
    assert ran.code == 1
    assert "waits for no answer" in ran.err


def test_without_a_terminal_nobody_is_asked_and_nothing_approved(
    cli: Cli, client: FakeClient
) -> None:
    """The card is shown; a pipe cannot say yes."""
    client.requests = [open_request()]
    ran = cli("approve", "g")
    assert ran.code == 1
    assert "git.merge_branch" in ran.out
    assert "--yes" in ran.err
    assert client.decisions == []


@pytest.mark.parametrize(("answer", "decided"), [("y", True), ("n", False), ("", False)])
def test_at_a_terminal_only_an_explicit_yes_approves(
    cli: Cli,
    client: FakeClient,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    decided: bool,
) -> None:
    """Enter alone means no."""
    import io

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal(f"{answer}\n"))
    client.requests = [open_request()]
    cli("approve", "g")
    assert bool(client.decisions) is decided


def test_a_denial_needs_a_reason(cli: Cli, client: FakeClient) -> None:
    """It goes on record; without one it is a usage error."""
    client.requests = [open_request()]
    assert cli("deny", "g").code == 2
    assert cli("deny", "g", "--reason", "not today").code == 0
    assert client.decisions == [("g/approve.0", "deny", "not today", client.requests[0].digest)]


def test_a_value_cannot_forge_a_line_or_a_colour_on_the_card(cli: Cli, client: FakeClient) -> None:
    """Inputs come from whoever asks."""
    client.requests = [open_request(branch="x\n  Risk  read\x1b[2J[red]")]
    ran = cli("approve", "g")
    assert "\x1b" not in ran.out
    assert "x\\n  Risk" in ran.out
    assert "[red]" in ran.out


def test_the_inbox_lists_what_waits(cli: Cli, client: FakeClient) -> None:
    """For scripts, whole requests."""
    assert cli("inbox").out == "nothing waits for an answer\n"
    client.requests = [open_request()]
    assert "g/approve.0" in cli("inbox").out
    [asked] = cli("inbox", "--json").json
    assert asked["digest"] == client.requests[0].digest
