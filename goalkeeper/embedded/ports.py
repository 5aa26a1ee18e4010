"""The ports of the embedded stack, all on loopback.

It may not bind one for longer than it takes to see whether it is free.
"""

import random
import socket
from collections.abc import Mapping

from goalkeeper.domain.base import Model
from goalkeeper.domain.errors import ServiceUnavailable
from goalkeeper.settings import Port

HOST = "127.0.0.1"
# Below the range that the kernel hands out to outgoing connections (32768 and up on Linux): a
# server that dies must find its port free again, not taken by somebody's client socket.
_POOL = range(15_000, 32_000)
_TRIES = 200


class Ports(Model):
    """Every port that the stack listens on."""

    temporal: Port = 7233
    temporal_ui: Port = 8233
    temporal_http: Port = 7243
    temporal_metrics: Port = 9463
    vault: Port = 8200
    vault_cluster: Port = 8201
    gateway: Port = 8400
    worker: Port = 9464

    @classmethod
    def free(cls) -> "Ports":
        """Ports that nobody uses at the moment."""
        return cls.choose({name: 0 for name in cls.model_fields})

    @classmethod
    def choose(cls, wanted: Mapping[str, int]) -> "Ports":
        """The wanted ports, or the usual ones; a free one in the place of each that is taken.

        Raises:
            ServiceUnavailable: no free port was found.
        """
        chosen: dict[str, int] = {}
        for name, field in cls.model_fields.items():
            port = wanted.get(name, field.default)
            usable = port and port not in chosen.values() and is_free(port)
            chosen[name] = port if usable else _any(set(chosen.values()))
        return cls.model_validate(chosen)


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        # As servers do; otherwise a connection in TIME_WAIT would look like a server.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _any(taken: set[int]) -> int:
    for _ in range(_TRIES):
        port = random.choice(_POOL)  # noqa: S311 - not a secret
        if port not in taken and is_free(port):
            return port
    raise ServiceUnavailable(
        f"no free port was found on {HOST} between {_POOL.start} and {_POOL.stop}: stop something"
    )
