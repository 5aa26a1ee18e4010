"""Browser sessions: kept on the server, in memory, under the hash of an opaque id.

They hold no token. A session ends at sign-out, after idling, at its longest, when the person's
token changes, and when the gateway restarts.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from goalkeeper.identities import Identities, Person

_IDLE = timedelta(minutes=30)
_LONGEST = timedelta(hours=12)
_MOST = 2000


@dataclass
class Session:
    """One signed-in browser."""

    person_id: str
    token_digest: str
    form_token: str
    opened: datetime
    seen: datetime


class Sessions:
    """The open sessions of one gateway."""

    def __init__(self, identities: Identities, now: Callable[[], datetime]) -> None:
        self._identities = identities
        self._now = now
        self._open: dict[str, Session] = {}

    def open(self, person: Person) -> str:
        """A new session; the answer is the cookie's value, and is kept nowhere else."""
        self._drop_old()
        key = secrets.token_urlsafe(32)
        now = self._now()
        self._open[_hashed(key)] = Session(
            person_id=person.id,
            token_digest=person.token_digest or "",
            form_token=secrets.token_urlsafe(32),
            opened=now,
            seen=now,
        )
        return key

    def find(self, key: str | None) -> tuple[Session, Person] | None:
        """The live session of a cookie and its person as the identities file says now."""
        session = self._open.get(_hashed(key)) if key else None
        if key is None or session is None:
            return None
        person = self._identities.get(session.person_id)
        if person is None or person.token_digest != session.token_digest or self._is_old(session):
            self.close(key)
            return None
        session.seen = self._now()
        return session, person

    def close(self, key: str | None) -> None:
        """End a session: its cookie is worth nothing from now on."""
        if key:
            self._open.pop(_hashed(key), None)

    def _is_old(self, session: Session) -> bool:
        now = self._now()
        return now - session.seen > _IDLE or now - session.opened > _LONGEST

    def _drop_old(self) -> None:
        self._open = {k: s for k, s in self._open.items() if not self._is_old(s)}
        while len(self._open) >= _MOST:
            del self._open[next(iter(self._open))]


def form_token_holds(session: Session, given: str) -> bool:
    """Whether a form came from a page of this session."""
    return hmac.compare_digest(session.form_token.encode(), given.encode())


def _hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
