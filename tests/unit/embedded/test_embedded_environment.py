from pathlib import Path

import pytest

from goalkeeper.embedded.own import environment
from goalkeeper.settings import load_settings


def test_a_child_process_reads_the_very_settings_of_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was overridden reaches it by its environment."""
    settings = load_settings(tmp_path, sandbox_image="other:1", git_hosts=("a:1", "b"), window=7)
    added = environment(settings)
    for name, value in added.items():
        monkeypatch.setenv(name, value)
    assert load_settings(tmp_path) == settings


def test_what_a_child_reads_by_itself_is_not_repeated(tmp_path: Path) -> None:
    """A web hook's address in the settings file stays in there."""
    (tmp_path / "settings.toml").write_text('webhook_url = "https://hook/canary"')
    assert environment(load_settings(tmp_path)) == {}
