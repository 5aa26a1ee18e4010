"""What a parent tells its worker processes, and they it: over pipes, where nobody else can look.

It may not say anything that a process list, an environment or a log would show.
"""

import json

from pydantic import SecretStr

from goalkeeper.contracts.goal import Pool
from goalkeeper.domain.base import Model
from goalkeeper.settings import Settings

READY = b"ready\n"
"""What a child says on its standard output, once."""
DRAIN = b"drain\n"
"""What the parent says on a child's standard input after `Handed`, to have it end."""


class Handed(Model):
    """The first line of a child's standard input: neither arguments nor environment show it."""

    number: int
    settings: Settings
    pools: tuple[Pool, ...]
    token: SecretStr
    """Of the parent's login to Vault."""

    def line(self) -> bytes:
        """As a line of JSON, the secret in clear."""
        body = {**self.model_dump(mode="json"), "token": self.token.get_secret_value()}
        return json.dumps(body).encode() + b"\n"
