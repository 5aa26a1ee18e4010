"""Files of the state folder: written whole, readable by their owner alone.

It knows no particular file.
"""

import os
from pathlib import Path

from goalkeeper.domain.errors import StoreUnavailable


def make_folder(folder: Path) -> Path:
    """The folder, with mode 0700.

    Raises:
        StoreUnavailable: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
    except OSError as error:
        raise _unwritable(folder, error) from None
    return folder


def write_private(file: Path, text: str) -> None:
    """Replace a file at once, durably, with mode 0600: readers see the old text or the new.

    Raises:
        StoreUnavailable: it cannot be written; the old text is still there.
    """
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(file)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise _unwritable(file, error) from None


def _unwritable(path: Path, error: OSError) -> StoreUnavailable:
    return StoreUnavailable(
        f"'{path}' cannot be written: {error.strerror}. Check the permissions and the free space "
        "there, or choose another folder with --state."
    )
