"""The two ways to read a container's output, each of which can be broken off.

They read; what the output means is for others.
"""

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Protocol

import docker
from docker.utils.socket import frames_iter


class Stream(Protocol):
    """Chunks of output until the container has ended; blocks, so a thread reads it."""

    def __iter__(self) -> Iterator[bytes]:
        """Standard output and error as they come."""
        ...

    def close(self) -> None:
        """End the iteration, from another thread."""
        ...


class Attached:
    """Live output of a container that is about to start: nothing is missed, at any rate.

    Following the log instead loses most of a flood, since the log is rotated under the reader
    (measured: 2 of 23 MB arrived).
    """

    def __init__(self, api: docker.APIClient, container: str) -> None:
        self._connection = api.attach_socket(
            container, params={"stdout": 1, "stderr": 1, "stream": 1}
        )

    def __iter__(self) -> Iterator[bytes]:
        with contextlib.suppress(OSError):
            frames = frames_iter(self._connection, tty=False)  # type: ignore[no-untyped-call]  # stubs
            for _, chunk in frames:
                yield chunk
        # The SDK ties the response to the socket and leaves closing both to the garbage collector.
        self._connection._response.close()

    def close(self) -> None:
        """Shut the connection down; whoever waits on it sees its end."""
        # A duplicate is shut down: closing alone would not wake a thread that polls.
        with (
            contextlib.suppress(OSError),
            socket.socket(fileno=os.dup(self._connection.fileno())) as same,
        ):
            same.shutdown(socket.SHUT_RDWR)


class Replayed:
    """The log from its start, then what follows: for a container that somebody else started."""

    def __init__(self, api: docker.APIClient, container: str) -> None:
        self._log = api.logs(container, stdout=True, stderr=True, stream=True, follow=True)

    def __iter__(self) -> Iterator[bytes]:
        yield from self._log

    def close(self) -> None:
        """Shut the connection down."""
        with contextlib.suppress(OSError, AttributeError):
            self._log.close()
