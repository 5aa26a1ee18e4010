"""The connection to one Docker Engine: calls off the event loop, its failures as our errors.

It knows no container in particular: `runs` and `containers` say what to do with the engine.
"""

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, NoReturn, TypeVar

import docker
from docker.errors import APIError, DockerException
from docker.errors import NotFound as NoSuchObject

from goalkeeper.domain.errors import Conflict, EngineUnavailable, NotFound, OperationFailed
from sandbox.streams import Stream

T = TypeVar("T")

_CALL_SECONDS = 60
_THREADS = 64 + 8
"""One for each container that settings let run at a time, and some for short calls; a thread is
made only when no other is idle."""


class Engine:
    """One engine, connected to on first use, so that a worker starts without it.

    Args:
        host: where it listens, for example ``unix:///var/run/docker.sock``.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="docker")
        self._connecting = Lock()
        self._api: docker.APIClient | None = None

    def _connected(self) -> docker.APIClient:
        with self._connecting:
            if self._api is None:
                _knock(self.host)
                # The version is negotiated: the SDK's newest is refused by older engines.
                self._api = docker.APIClient(
                    base_url=self.host,
                    version="auto",
                    timeout=_CALL_SECONDS,
                    max_pool_size=_THREADS,
                )
            return self._api

    async def call(self, work: Callable[[docker.APIClient], T]) -> T:
        """Run `work` on the SDK's client in a thread, and map what the engine or the SDK raises.

        A cancellation waits for the call that is under way, so that nobody cleans up before a
        container that is being created exists.

        Raises:
            EngineUnavailable: no answer, or a server error.
            NotFound: no such image, container or network.
            Conflict: the name is taken, or the state does not allow it.
            OperationFailed: the engine refuses the request.
        """
        future = asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: work(self._connected())
        )
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait({future})
            raise
        except (DockerException, OSError) as error:
            self._raise(error)

    async def follow(self, stream: Stream, feed: Callable[[bytes], None]) -> None:
        """Feed `stream` to its end from a thread; a cancellation breaks it off."""

        def pump() -> None:
            for chunk in stream:
                feed(chunk)

        future = asyncio.get_running_loop().run_in_executor(self._threads, pump)
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError:
            stream.close()
            await asyncio.wait({future})
            raise
        except (DockerException, OSError) as error:
            self._raise(error)

    def _raise(self, error: Exception) -> NoReturn:
        """The one place where the engine's failures become ours, most specific first."""
        said = _explanation(error)
        if isinstance(error, NoSuchObject):
            raise NotFound(f"Docker has no such object: {said}") from None
        if isinstance(error, APIError) and error.status_code == 409:
            raise Conflict(f"Docker refuses, since something is in the way: {said}") from None
        if isinstance(error, APIError) and not error.is_server_error():
            raise OperationFailed(f"Docker refuses the request: {said}") from None
        if isinstance(error, APIError):
            raise EngineUnavailable(f"Docker at '{self.host}' had an error: {said}") from None
        raise EngineUnavailable(
            f"no Docker Engine answers at '{self.host}' ({said}); start it"
            " (deploy/engine.sh, or systemctl start docker), or set docker_host to where it listens"
        ) from None

    async def ping(self) -> str:
        """The engine's version.

        Raises:
            EngineUnavailable: it does not answer.
        """
        return str((await self.call(lambda api: api.version()))["Version"])

    async def image_id(self, reference: str) -> str:
        """The id (``sha256:…``) of a local image; nothing is ever pulled here.

        Raises:
            NotFound: the engine does not hold it.
        """
        try:
            return str((await self.call(lambda api: _inspect_image(api, reference)))["Id"])
        except NotFound:
            raise NotFound(
                f"the image '{reference}' is not on the engine at '{self.host}'; pull or build it"
                f" there (docker pull {reference}; the default image: deploy/base_image.sh)"
            ) from None

    async def remove(self, container: str) -> None:
        """Kill and remove a container and its anonymous volumes; gone already is fine."""
        try:
            await self.call(lambda api: api.remove_container(container, v=True, force=True))
        except (NotFound, Conflict):
            return  # somebody else has removed it, or is at it

    def close(self) -> None:
        """Let go of the connections; calls that are under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._api is not None:
            self._api.close()


async def ping(host: str) -> str:
    """The version of the engine at `host`, over a connection of its own.

    Raises:
        EngineUnavailable: it does not answer.
    """
    engine = Engine(host)
    try:
        return await engine.ping()
    finally:
        engine.close()


def _knock(host: str) -> None:
    """Refuse a dead Unix socket here: the SDK would leave the one that it tried with unclosed."""
    if host.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(host.removeprefix("unix://"))


def _explanation(error: Exception) -> str:
    """One bounded line of what the engine or the SDK says."""
    said = error.explanation if isinstance(error, APIError) and error.explanation else error
    return " ".join(str(said).split())[:300]


def labels_filter(labels: dict[str, str]) -> dict[str, Any]:
    """The `filters` argument that selects by every one of the labels."""
    return {"label": [f"{key}={value}" for key, value in labels.items()]}


def _inspect_image(api: docker.APIClient, reference: str) -> dict[str, Any]:
    found: dict[str, Any] = api.inspect_image(reference)  # type: ignore[no-untyped-call]  # stubs
    return found
