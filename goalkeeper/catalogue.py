"""The catalogue: contracts found by name, in the shipped folder and in those of the settings.

It reads files and checks their shape; it compiles nothing.
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from goalkeeper.domain.contract import Contract
from goalkeeper.domain.errors import InvalidContract, InvalidSettings, NotFound
from goalkeeper.settings import Settings
from goalkeeper.yamlfile import LARGEST, Located, read

SHIPPED = Path(__file__).parent / "library" / "contracts"
_SUFFIXES = (".yaml", ".yml")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")


@dataclass(frozen=True)
class Entry:
    """A contract, and the text that it came from."""

    contract: Contract
    located: Located
    file: Path


class Catalogue:
    """The contracts of one installation.

    Files are looked up at every call, so an edited contract counts from the next goal on; goals
    that run keep the plan that they were given.

    Args:
        folders: where to look besides the shipped contracts.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self._folders = (SHIPPED, *(f.expanduser() for f in folders))

    @classmethod
    def load(cls, settings: Settings) -> "Catalogue":
        """The catalogue that the settings describe."""
        return cls(settings.contracts)

    def names(self) -> tuple[str, ...]:
        """Every contract's name, sorted.

        Raises:
            InvalidSettings: a folder is missing or cannot be read.
        """
        return tuple(sorted(self._files()))

    def find(self, name: str) -> Entry:
        """The contract of this name.

        Raises:
            NotFound: there is none.
            InvalidContract: its file is wrong, or two folders have one of this name.
            InvalidSettings: a folder is missing or cannot be read.
        """
        files = self._files()
        found = files.get(name, [])
        if not found:
            close = difflib.get_close_matches(name, files, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(sorted(files))}"
            raise NotFound(f"there is no contract '{name[:80]}'; {hint}")
        if len(found) > 1:
            raise InvalidContract(
                f"two contracts are called '{name}': {found[0]} and {found[1]}; rename one of them"
            )
        return read_contract(found[0])

    def _files(self) -> dict[str, list[Path]]:
        files: dict[str, list[Path]] = {}
        for folder in self._folders:
            try:
                listed = sorted(folder.iterdir())
            except OSError as error:
                raise InvalidSettings(
                    f"cannot read the contracts folder '{folder}': {error.strerror}; create it, "
                    "or take it out of the setting 'contracts'"
                ) from None
            for file in listed:
                if file.suffix in _SUFFIXES and _NAME.fullmatch(file.stem):
                    files.setdefault(file.stem, []).append(file)
        return files


def read_contract(file: Path) -> Entry:
    """The contract in one file, whose name without its ending is the contract's name.

    Raises:
        InvalidContract: the file cannot be read, or what it says is not a contract.
    """
    try:
        state = file.stat()
        entry = _read(file, state.st_mtime_ns, state.st_size, state.st_ino)
    except OSError as error:
        raise InvalidContract(f"cannot read the contract '{file}': {error.strerror}") from None
    if entry.contract.name != file.stem:
        message = f"the name must be that of the file, '{file.stem}'"
        raise InvalidContract(entry.located.point(("name",), message))
    return entry


@lru_cache(maxsize=64)
def _read(file: Path, modified: int, size: int, inode: int) -> Entry:
    """Parse a file once for each of its versions, which the last three arguments tell apart."""
    with file.open("rb") as stream:
        located = read(stream.read(LARGEST + 1), str(file))
    return Entry(located.validate(Contract), located, file)
