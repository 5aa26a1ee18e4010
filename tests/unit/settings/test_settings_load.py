"""Settings: where they come from, which one wins, and what a mistake says."""

import json
from pathlib import Path
from typing import Any

import pytest

from goalkeeper.domain.errors import InvalidSettings
from goalkeeper.settings import DEFAULT_STATE, Settings, load_settings


def stack_file(folder: Path, **values: Any) -> None:
    """What `goalkeeper up` leaves."""
    (folder / "stack.json").write_text(json.dumps({"pid": 1, "settings": values}))


def settings_file(folder: Path, text: str) -> Path:
    """What a person writes."""
    file = folder / "settings.toml"
    file.write_text(text)
    return file


def test_without_anything_the_defaults_count(tmp_path: Path) -> None:
    """And every path follows from the state folder."""
    settings = load_settings(tmp_path, environ={})
    assert settings == Settings(state=tmp_path)
    assert settings.identities_file == tmp_path / "identities.yaml"
    for path in (settings.audit_file, settings.ledger_file, settings.evidence_folder):
        assert path.is_relative_to(tmp_path)
    assert load_settings(environ={}).state == DEFAULT_STATE.expanduser()


def test_each_source_beats_the_one_before(tmp_path: Path) -> None:
    """Defaults, stack.json, settings.toml, environment, the call."""
    stack_file(tmp_path, task_queue="a", vault_address="a", gateway_url="a", temporal_ui_url="a")
    settings_file(tmp_path, 'vault_address = "b"\ngateway_url = "b"\ntemporal_ui_url = "b"')
    environ = {"GOALKEEPER_GATEWAY_URL": "c", "GOALKEEPER_TEMPORAL_UI_URL": "c", "HOME": "/x"}
    settings = load_settings(tmp_path, environ=environ, temporal_ui_url="d")
    assert settings.temporal_namespace == "default"
    assert settings.task_queue == "a"
    assert settings.vault_address == "b"
    assert settings.gateway_url == "c"
    assert settings.temporal_ui_url == "d"


def test_the_state_folder_comes_from_the_call_or_the_environment(tmp_path: Path) -> None:
    """The call wins; it is made absolute."""
    assert load_settings(environ={"GOALKEEPER_STATE": str(tmp_path)}).state == tmp_path
    other = load_settings(tmp_path, environ={"GOALKEEPER_STATE": "/elsewhere"})
    assert other.state == tmp_path
    assert load_settings(Path("x"), environ={}).state == Path.cwd() / "x"
    assert load_settings(Path("~/x"), environ={}).state == Path.home() / "x"


def test_a_named_settings_file_takes_the_place_of_the_usual_one(tmp_path: Path) -> None:
    """By argument or environment, and it must exist."""
    settings_file(tmp_path, 'task_queue = "usual"')
    other = tmp_path / "other.toml"
    other.write_text('task_queue = "other"')
    environ = {"GOALKEEPER_CONFIG": str(other)}
    assert load_settings(tmp_path, environ=environ).task_queue == "other"
    assert load_settings(tmp_path, environ={}, config=other).task_queue == "other"
    with pytest.raises(InvalidSettings, match=r"absent\.toml' does not exist"):
        load_settings(tmp_path, environ={"GOALKEEPER_CONFIG": str(tmp_path / "absent.toml")})


def test_lists_in_the_environment_are_commas_or_json(tmp_path: Path) -> None:
    """As is at hand."""

    def hosts(text: str) -> tuple[str, ...]:
        return load_settings(tmp_path, environ={"GOALKEEPER_GIT_HOSTS": text}).git_hosts

    assert hosts("a.example,b.example:8443") == ("a.example", "b.example:8443")
    assert hosts('["a.example"]') == ("a.example",)
    assert hosts("") == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('vault_adress = "x"', "did you mean 'vault_address'?"),
        ("zzz = 1", "known settings: "),
        ("[server]\nport = 1", "there is no setting 'server'"),
        ("worker_metrics_port = 0", "setting 'worker_metrics_port'"),
        ('worker_metrics_port = "many"', "setting 'worker_metrics_port'"),
        ("sandbox_concurrency = 65", "setting 'sandbox_concurrency'"),
        ("window = 501", "setting 'window'"),
        ("task_queue = 7", "setting 'task_queue'"),
        ("= 1", "not valid TOML"),
    ],
)
def test_a_mistake_in_the_file_names_file_and_setting(tmp_path: Path, text: str, why: str) -> None:
    """One clear message."""
    file = settings_file(tmp_path, text)
    with pytest.raises(InvalidSettings) as caught:
        load_settings(tmp_path, environ={})
    assert why in caught.value.message
    assert str(file) in caught.value.message


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("GOALKEEPER_VAULT_ADDRES", "x", "did you mean 'vault_address'?"),
        ("GOALKEEPER_WINDOW", "none", "setting 'window'"),
        ("GOALKEEPER_GIT_ALLOW_FILE", "perhaps", "setting 'git_allow_file'"),
        ("GOALKEEPER_GIT_HOSTS", "[broken", "GOALKEEPER_GIT_HOSTS"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(
    tmp_path: Path, variable: str, value: str, why: str
) -> None:
    """Since nobody else could tell where the value came from."""
    with pytest.raises(InvalidSettings) as caught:
        load_settings(tmp_path, environ={variable: value})
    assert why in caught.value.message
    assert variable in caught.value.message


def test_variables_of_the_cli_and_of_others_are_no_settings(tmp_path: Path) -> None:
    """A token in the environment is not mistaken for a setting."""
    environ = {"GOALKEEPER_TOKEN": "t", "GOALKEEPER_AS": "olive", "GOAL": "x", "PATH": "/bin"}
    assert load_settings(tmp_path, environ=environ) == Settings(state=tmp_path)


@pytest.mark.parametrize("content", [b"{", b"\xff"])
def test_a_damaged_stack_file_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    """Stop, remove, start again."""
    (tmp_path / "stack.json").write_bytes(content)
    with pytest.raises(InvalidSettings, match="remove the file, and start again"):
        load_settings(tmp_path, environ={})


def test_a_stack_file_of_a_newer_version_is_refused_with_its_name(tmp_path: Path) -> None:
    """A setting that this version does not know."""
    stack_file(tmp_path, warp="9")
    with pytest.raises(InvalidSettings, match=r"stack\.json: there is no setting 'warp'"):
        load_settings(tmp_path, environ={})


def test_a_settings_file_that_cannot_be_read_is_one_clear_message(tmp_path: Path) -> None:
    """A folder in its place, bytes that are no text."""
    (tmp_path / "settings.toml").mkdir()
    with pytest.raises(InvalidSettings, match="cannot read the settings file"):
        load_settings(tmp_path, environ={})
    (tmp_path / "settings.toml").rmdir()
    (tmp_path / "settings.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidSettings, match="not valid TOML"):
        load_settings(tmp_path, environ={})
