"""Credentials: references that may be recorded, and secrets that may not.

It never fetches one; `goalkeeper.vault` does.
"""

from collections.abc import Iterable, Mapping

from pydantic import SecretStr

from goalkeeper.domain.base import Model, Name

MASK = "[redacted]"
_SHORTEST = 4


class CredentialRef(Model):
    """Which secret a task gets: safe to record anywhere."""

    slot: str
    """The name under which the operation takes it, for example ``token``."""
    role: Name
    """The role in Vault that may read or mint it."""


Credentials = Mapping[str, SecretStr]
"""Slot → secret, alive inside one attempt."""


class Redactor:
    """Replaces the secrets of one attempt wherever they turn up in text or JSON."""

    def __init__(self, secrets: Iterable[SecretStr] = ()) -> None:
        plain = {s.get_secret_value() for s in secrets}
        # The longest first, so that a secret that contains another is replaced whole.
        self._needles = sorted((p for p in plain if len(p) >= _SHORTEST), key=len, reverse=True)

    def text(self, value: str) -> str:
        """The text without any secret."""
        for needle in self._needles:
            value = value.replace(needle, MASK)
        return value

    def content(self, value: bytes) -> bytes:
        """The bytes without any secret."""
        for needle in self._needles:
            value = value.replace(needle.encode(), MASK.encode())
        return value

    def json(self, value: object) -> object:
        """The JSON value with every string, keys included, redacted."""
        if not self._needles:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list | tuple):
            return [self.json(v) for v in value]
        if isinstance(value, Mapping):
            return {self.text(str(k)): self.json(v) for k, v in value.items()}
        return value
