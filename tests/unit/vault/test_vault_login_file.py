import json
from pathlib import Path

import pytest

from goalkeeper.domain.errors import CredentialDenied
from goalkeeper.vault import login_file, read_login


def _write(file: Path, content: str, mode: int = 0o600) -> Path:
    file.write_text(content)
    file.chmod(mode)
    return file


GOOD = json.dumps({"role_id": "r", "wrapped_secret_id": "canary-wrapped"})


def test_a_private_login_file_is_read_and_its_secret_masked(tmp_path: Path) -> None:
    """The wrapped secret id can be used and does not show in the login's text form."""
    login = read_login(_write(tmp_path / "worker.login.json", GOOD))
    assert login.wrapped_secret_id.get_secret_value() == "canary-wrapped"
    assert "canary-wrapped" not in repr(login)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_login_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """Somebody else may know the login then, so it is not used."""
    file = _write(tmp_path / "worker.login.json", GOOD, mode)
    with pytest.raises(CredentialDenied, match="can be read by others"):
        read_login(file)


def test_a_missing_login_file_says_who_writes_it(tmp_path: Path) -> None:
    """The message names the file and what to do."""
    with pytest.raises(CredentialDenied, match=r"worker\.login\.json.*goalkeeper up"):
        read_login(tmp_path / "worker.login.json")


@pytest.mark.parametrize("content", ["", "[]", "{", '{"role_id": "r"}', "\x00"])
def test_a_malformed_login_file_is_refused_without_quoting_it(tmp_path: Path, content: str) -> None:
    """What is in there may be a secret, so only the file is named."""
    file = _write(tmp_path / "worker.login.json", content)
    with pytest.raises(CredentialDenied, match="is not a login file"):
        read_login(file)


def test_each_role_has_its_own_login_file() -> None:
    """Worker and gateway do not take each other's login."""
    assert login_file(Path("/s"), "worker") != login_file(Path("/s"), "gateway")
