"""`goalkeeper simulate` shows what a goal would do, and needs no running stack."""

import pytest

from goalkeeper.cli.session import DENIED, FAILED, USAGE
from tests.unit.cli.conftest import Cli

_READ = ("simulate", "read-file", "repository=https://example.com/x.git", "path=README.md")
_DEPLOY = (
    "simulate",
    "deploy-branch",
    "repository=https://example.com/x.git",
    "branch=feature",
    "app=web",
)


def test_it_shows_when_each_task_runs_and_how_the_goal_ends(cli: Cli) -> None:
    """And what a failure would lead to."""
    ran = cli(*_READ)
    assert ran.code == 0
    assert "t+00:02  read      Succeeded" in ran.out
    assert "The goal ends as Succeeded after 2.0 s" in ran.out
    assert "'read' fails" in ran.out


def test_it_says_who_would_be_asked(cli: Cli) -> None:
    """With the number, and what silence means."""
    ran = cli(*_DEPLOY, "--no-what-if")
    assert ran.code == 0
    assert "2 of operators" in ran.out
    assert "after 4 h: denied" in ran.out


def test_json_has_all_of_it(cli: Cli) -> None:
    """For scripts."""
    ran = cli(*_DEPLOY, "--json", "--no-what-if", "--fail", "deploy")
    assert ran.code == FAILED
    assert ran.json["simulation"]["state"] == "RolledBack"
    assert ran.json["simulation"]["undone"] == ["merge"]


def test_a_denial_is_simulated_with_its_exit_code(cli: Cli) -> None:
    """As `submit --wait` would end."""
    assert cli(*_DEPLOY, "--no-what-if", "--deny", "approve").code == DENIED
    assert cli(*_DEPLOY, "--no-what-if", "--silent", "approve").code == DENIED


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--fail", "nobody", "the plan has no task 'nobody'"),
        ("--fail", "read=Nonsense", "there is no error 'Nonsense'"),
        ("--duration", "read", "write --duration TASK=PT5M"),
        ("--duration", "read=soon", "the simulation's options are wrong"),
        ("--lose", "read=perhaps", "the simulation's options are wrong"),
    ],
)
def test_an_option_that_makes_no_sense_is_explained(
    cli: Cli, option: str, value: str, message: str
) -> None:
    """And nothing is simulated."""
    ran = cli(*_READ, option, value)
    assert ran.code == USAGE
    assert message in ran.err


def test_a_person_is_one_of_the_identities_file(cli: Cli) -> None:
    """No token is needed, since nothing runs; a name that is not there is refused."""
    ran = cli(*_READ, "--as", "nobody")
    assert ran.code == USAGE
    assert "there is no person 'nobody'" in ran.err
    assert cli(*_READ, "--as", "unproven", "--no-what-if").code == 0
