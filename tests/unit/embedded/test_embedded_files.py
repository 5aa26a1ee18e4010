import os
from pathlib import Path

import pytest

from goalkeeper.domain.errors import StoreUnavailable
from goalkeeper.embedded.files import make_folder, write_private


def test_private_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    """Whatever the umask and whatever was there before."""
    old = os.umask(0)
    try:
        file = make_folder(tmp_path / "state") / "keys.json"
        file.touch(0o666)
        write_private(file, "secret")
    finally:
        os.umask(old)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert file.read_text() == "secret"


def test_a_file_that_cannot_be_written_keeps_its_old_text(tmp_path: Path) -> None:
    """The error names it and says what to do; nothing half-written stays behind."""
    file = tmp_path / "keys.json"
    file.mkdir()
    with pytest.raises(StoreUnavailable, match=r"keys\.json.*free space"):
        write_private(file, "new")
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file is in its way."""
    (tmp_path / "state").write_text("")
    with pytest.raises(StoreUnavailable, match="state"):
        make_folder(tmp_path / "state")
