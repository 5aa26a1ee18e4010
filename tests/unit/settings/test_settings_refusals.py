from pathlib import Path

import pytest

from goalkeeper.domain.errors import InvalidSettings
from goalkeeper.settings import load_settings


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("CONTRACTS", "[oops", "setting 'contracts'"),
        ("LOG_LEVEL", "LOUD", "'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL'"),
        ("TEMPORAL_ADDRESS", "127.0.0.1:99999", "has no possible port"),
        ("GATEWAY_URL", "http://127.0.0.1:port", "has no possible port"),
    ],
)
def test_a_value_that_no_process_could_use_is_refused_at_once(
    tmp_path: Path, variable: str, value: str, words: str
) -> None:
    """With its name and where it came from."""
    name = f"GOALKEEPER_{variable}"
    with pytest.raises(InvalidSettings) as refused:
        load_settings(tmp_path, environ={name: value})
    assert words in refused.value.message
    assert name in refused.value.message


def test_a_level_may_be_written_in_small_letters(tmp_path: Path) -> None:
    """As in other programs."""
    assert load_settings(tmp_path, environ={"GOALKEEPER_LOG_LEVEL": "debug"}).log_level == "DEBUG"


@pytest.mark.parametrize("text", ["{", "[]", "7"])
def test_a_damaged_record_of_the_stack_says_what_to_do(tmp_path: Path, text: str) -> None:
    """And does not send people to a command that would fail in the same way."""
    (tmp_path / "stack.json").write_text(text)
    with pytest.raises(InvalidSettings, match="remove the file") as refused:
        load_settings(tmp_path, environ={})
    assert "goalkeeper down" not in refused.value.message


def test_a_file_in_the_place_of_the_state_folder_is_told_so(tmp_path: Path) -> None:
    """In so many words."""
    (tmp_path / "state").write_text("")
    with pytest.raises(InvalidSettings, match="is not a folder"):
        load_settings(tmp_path / "state", environ={})
