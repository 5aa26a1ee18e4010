"""What a parent hands to its worker processes."""

from pathlib import Path

from pydantic import SecretStr

from goalkeeper.settings import load_settings
from goalkeeper.worker.handed import Handed


def test_a_child_reads_the_very_settings_of_its_parent_and_its_login() -> None:
    """Over standard input, so that the token is in nobody's process list."""
    settings = load_settings(
        Path("/none"), environ={}, pools=("sandbox",), window=7, contracts=(Path("/c"),)
    )
    handed = Handed(
        number=2, settings=settings, pools=("workflows",), token=SecretStr("canary-token")
    )
    line = handed.line()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert Handed.model_validate_json(line) == handed


def test_the_token_is_shown_in_no_other_form() -> None:
    """Neither in a log line nor in JSON that was not asked for it."""
    handed = Handed(
        number=1,
        settings=load_settings(Path("/none"), environ={}),
        pools=(),
        token=SecretStr("canary-token"),
    )
    assert "canary" not in repr(handed)
    assert "canary" not in handed.model_dump_json()
