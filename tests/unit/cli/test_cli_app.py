"""The command line as a whole: help, global options, errors, exit codes."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import goalkeeper
from goalkeeper.cli import stack
from goalkeeper.domain.errors import CredentialDenied, InvalidSettings, StoreUnavailable
from tests.unit.cli.conftest import Cli, FakeClient

ROOT = Path(__file__).parents[3]
COMMANDS = (
    "up down status doctor demo submit plan show watch list logs inbox approve deny resolve pause "
    "resume cancel retry skip change signal rerun rollback audit schema bench worker gateway "
    "version credential"
).split()


def test_every_command_is_listed_and_has_help(cli: Cli) -> None:
    """With the global options on each that does something."""
    overview = cli("--help").out
    for name in COMMANDS:
        assert f" {name} " in overview
        helped = cli(name, "-h")
        assert helped.code == 0
        if name not in ("audit", "credential"):
            assert "--state" in helped.out


def test_the_page_of_the_command_line_names_every_command() -> None:
    """And no exit code that there is not."""
    page = (ROOT / "docs" / "cli.md").read_text()
    missing = [name for name in COMMANDS if f"`{name}" not in page]
    assert missing == []


def test_global_options_stand_before_or_after_the_command(cli: Cli, tmp_path: Path) -> None:
    """Scripts put them in front, people behind."""
    assert cli("--json", "version").json == cli("version", "--json").json
    before = cli("--state", str(tmp_path / "one"), "audit", "verify").err
    after = cli("audit", "verify", "--state", str(tmp_path / "one")).err
    assert str(tmp_path / "one") in before == after


def test_the_option_behind_the_command_wins(cli: Cli, tmp_path: Path) -> None:
    """It is the nearer one."""
    ran = cli("--state", "/elsewhere", "audit", "verify", "--state", str(tmp_path / "near"))
    assert str(tmp_path / "near") in ran.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidSettings("setting 'x' is wrong"), 2),
        (CredentialDenied("not yours"), 1),
        (StoreUnavailable("the disk is full"), 1),
    ],
)
def test_an_error_of_ours_is_one_message_and_an_exit_code(
    cli: Cli, client: FakeClient, error: InvalidSettings, code: int
) -> None:
    """On standard error, without a traceback, and nothing on standard output."""
    client.error = error
    ran = cli("show", "g")
    assert (ran.code, ran.out, ran.err) == (code, "", f"error: {error.message}\n")


def test_a_defect_is_one_line_and_with_debug_a_traceback(
    cli: Cli, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is shown a traceback who did not ask for it."""
    monkeypatch.setattr(client, "goal", lambda _: 1 / 0)
    ran = cli("show", "g")
    assert ran.code == 1
    assert "unexpected ZeroDivisionError" in ran.err
    assert "Traceback" not in ran.err
    with pytest.raises(ZeroDivisionError):
        cli("show", "g", "--debug")


def test_a_full_disk_is_the_machines_fault_and_not_called_a_defect(
    cli: Cli, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the system said, and where."""

    def full(_: str) -> None:
        raise OSError(28, "No space left on device", "/var/x")

    monkeypatch.setattr(client, "goal", full)
    ran = cli("show", "g")
    assert ran.code == 1
    assert ran.err.startswith("error: No space left on device ('/var/x')")


def test_an_interrupt_ends_with_130(
    cli: Cli, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As shells expect of Ctrl-C."""

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "goal", interrupt)
    assert cli("show", "g").code == 130


def test_a_misspelt_command_is_a_usage_error_with_a_guess(cli: Cli) -> None:
    """Exit code 2, nothing done."""
    ran = cli("sbumit")
    assert ran.code == 2
    assert "submit" in ran.err


def test_a_misspelt_setting_is_a_usage_error(cli: Cli, tmp_path: Path) -> None:
    """With what was meant."""
    (tmp_path / "settings.toml").write_text("temporal_adress = 'x'\n")
    ran = cli("list")
    assert ran.code == 2
    assert "did you mean 'temporal_address'" in ran.err


def test_the_version_is_the_packages(cli: Cli) -> None:
    """Said in one place for the code and in one for the build, which agree."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert goalkeeper.__version__ == project["version"]
    assert cli("version").out == f"goalkeeper {project['version']}\n"


def test_starting_loads_nothing_heavy() -> None:
    """A prompt or a completion runs this often: no Temporal, no rich, no settings."""
    code = (
        "import sys; from goalkeeper.cli.app import run; run(['version']); "
        "print([m for m in ('temporalio', 'rich', 'structlog', 'asyncio', 'httpx', 'docker', "
        "'goalkeeper.settings') if m in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_has_enough_is_no_error() -> None:
    """``goalkeeper schema | head`` prints no traceback."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        ran = subprocess.run(
            [sys.executable, "-m", "goalkeeper", "schema", "contract"],
            cwd=ROOT,
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ran.stderr == ""


def test_shell_completion_knows_the_commands() -> None:
    """As bash asks for it."""
    environ = {
        **os.environ,
        "_GOALKEEPER_COMPLETE": "complete_bash",
        "COMP_WORDS": "goalkeeper su",
        "COMP_CWORD": "1",
    }
    ran = subprocess.run(
        [sys.executable, "-m", "goalkeeper"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout.split() == ["submit"]


def test_secrets_come_from_standard_input_and_are_not_repeated(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that cannot be read may be the secret itself."""
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("token=s3cret=with=signs\nuser=bob\n"))
    fields = stack._read_fields()
    assert {k: v.get_secret_value() for k, v in fields.items()} == {
        "token": "s3cret=with=signs",
        "user": "bob",
    }
    monkeypatch.setattr("sys.stdin", io.StringIO("s3cret-alone\n"))
    ran = cli("credential", "set", "git-writer")
    assert ran.code == 2
    assert "s3cret" not in ran.err + ran.out


def test_json_is_the_only_thing_on_standard_output(cli: Cli, client: FakeClient) -> None:
    """Whatever is remarked goes to standard error."""
    client.has_person = False
    ran = cli("submit", "read-file", "repository=https://x.test/r", "path=README.md", "--json")
    assert json.loads(ran.out)["goal_id"] == "g"
    assert "one more person" in ran.err


@pytest.mark.parametrize("role", ["Bad Role", "../git-writer", "a/b", ""])
def test_a_role_that_no_contract_could_name_is_refused(cli: Cli, role: str) -> None:
    """Before a secret is read."""
    ran = cli("credential", "set", role)
    assert ran.code == 2
    assert "lower-case" in ran.err
