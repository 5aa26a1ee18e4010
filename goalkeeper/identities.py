"""People: who they are, which groups they are in, and whose token this is.

It reads the identities file and never writes it; a token's text is compared and forgotten.
"""

import hmac
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import structlog
from pydantic import Field, SecretStr, StringConstraints

from goalkeeper import yamlfile
from goalkeeper.domain.approval import PersonId
from goalkeeper.domain.base import Digest, Model, Name, digest_of
from goalkeeper.domain.errors import InvalidSettings

_log = structlog.get_logger(__name__)

_LONGEST_TOKEN = 512

_Stamp = tuple[int, int, int]


class Person(Model):
    """One internal identity."""

    id: PersonId
    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
    groups: tuple[Name, ...] = ()
    token_digest: Digest | None = None
    """SHA-256 of the person's API token; without one, the person cannot sign in with a token."""


class IdentitiesFile(Model):
    """The shape of ``identities.yaml``."""

    version: Literal["1"] = "1"
    people: Annotated[tuple[Person, ...], Field(max_length=10_000)]


class Identities:
    """The people of one installation, read again whenever their file changes.

    An edit that cannot be read changes nothing: the last good version stays in force and the
    fault is logged once.
    """

    def __init__(self, file: Path, people: Iterable[Person], stamp: _Stamp | None = None) -> None:
        self._file = file
        self._people = {p.id: p for p in people}
        self._stamp = stamp

    @classmethod
    def load(cls, file: Path) -> "Identities":
        """Read the file.

        Raises:
            InvalidSettings: it is missing, writable by everybody, or not what it should be; the
                message carries ``file:line``.
        """
        stamp = _stamp(file)
        return cls(file, _read(file), stamp)

    def by_token(self, token: SecretStr) -> Person | None:
        """Whose token this is.

        Tokens are random and long, so a plain hash is enough. Every person is compared, so that
        the time taken does not depend on who matches.
        """
        text = token.get_secret_value()
        if not text or len(text) > _LONGEST_TOKEN:
            return None
        given = token_digest(token)
        found: Person | None = None
        for person in self._current().values():
            if hmac.compare_digest(given, person.token_digest or ""):
                found = person
        return found

    def get(self, person_id: str) -> Person | None:
        """The person with this id, as the file says now."""
        return self._current().get(person_id)

    def people(self) -> tuple[Person, ...]:
        """Everybody, in the order of the file."""
        return tuple(self._current().values())

    def _current(self) -> dict[str, Person]:
        stamp = _stamp(self._file)
        if stamp == self._stamp:
            return self._people
        # Noted before reading: a fault is logged once, and the next edit is read again.
        self._stamp = stamp
        try:
            people = _read(self._file)
        except InvalidSettings as error:
            _log.error("identities not reloaded; the last good ones stay", why=error.message)
            return self._people
        self._people = {p.id: p for p in people}
        _log.info("identities reloaded", people=len(people))
        return self._people


def token_digest(token: SecretStr) -> str:
    """What the identities file holds instead of a token."""
    return digest_of(token.get_secret_value().encode("utf-8", "surrogatepass"))


def _stamp(file: Path) -> _Stamp | None:
    """What changes when the file, its content or its mode does; None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return (found.st_ctime_ns, found.st_size, found.st_ino)


def _read(file: Path) -> tuple[Person, ...]:
    try:
        if file.stat().st_mode & stat.S_IWOTH:
            raise InvalidSettings(
                f"the identities file '{file}' can be written by every user of this machine, so "
                f"anybody could add an approver; run: chmod 600 {file}"
            )
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidSettings(
            f"the identities file '{file}' does not exist; `goalkeeper up` writes a first one, or "
            "set `identities` to yours"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidSettings(f"cannot read the identities file '{file}': {why}") from None
    # Without quoting lines: one could hold a token that somebody put where its digest belongs.
    located = yamlfile.read(text, str(file), InvalidSettings, quotes=False)
    people = located.validate(IdentitiesFile, InvalidSettings).people
    _refuse_doubles(located, "id", [p.id for p in people])
    _refuse_doubles(located, "token_digest", [p.token_digest for p in people])
    return people


def _refuse_doubles(located: yamlfile.Located, field: str, values: Sequence[str | None]) -> None:
    seen: set[str] = set()
    for index, value in enumerate(values):
        if value in seen:
            message = f"another person has this {field} already; each needs one of their own"
            raise InvalidSettings(located.point(("people", index, field), message))
        if value is not None:
            seen.add(value)
