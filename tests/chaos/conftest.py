"""A stack to be killed, and ledgers outside of it that count what really happened.

The stack is this suite's own: what happens to it must surprise no other test.
"""

import json
import os
import secrets
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import docker
import psutil
import pytest

from connectors.apps_containers import LABEL_APP
from deploy.demo.hosting import DemoHost, running_git_host, store_tokens
from goalkeeper import embedded
from goalkeeper.client import Client
from goalkeeper.embedded.state import ServiceState, ServiceStatus
from goalkeeper.settings import Settings, load_settings
from sandbox.spec import LABEL_GOAL, LABEL_KIND
from tests.support.apps import DeployedApp
from tests.support.live import until


class Receiver:
    """A webhook's receiver that keeps every post, repeated or not."""

    def __init__(self) -> None:
        self.posts: list[dict[str, str]] = []
        posts = self.posts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                posts.append(json.loads(self.rfile.read(length)))
                self.send_response(HTTPStatus.NO_CONTENT)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def of(self, goal_id: str) -> list[str]:
        """The messages of one goal."""
        return [p["message"] for p in self.posts if p["goal_id"] == goal_id]

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Starts:
    """Every container that the engine has started since, as the engine itself tells it."""

    def __init__(self, host: str) -> None:
        self._api = docker.APIClient(base_url=host, version="auto", timeout=None)
        self._labels: list[dict[str, str]] = []
        wanted = {"type": "container", "event": "start", "label": LABEL_KIND}
        self._stream = self._api.events(decode=True, filters=wanted)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        for event in self._stream:
            self._labels.append(event["Actor"]["Attributes"])

    def sandboxes(self, goal_id: str) -> list[str]:
        """The tasks of a goal whose containers were started, one entry a start."""
        found = [a for a in self._labels if a.get(LABEL_GOAL) == goal_id]
        return sorted(a["goalkeeper.task"] for a in found)

    def services(self, app: str) -> int:
        """How often a container of an app was started."""
        return sum(a.get(LABEL_APP) == app for a in self._labels)

    def close(self) -> None:
        """Stop listening."""
        self._stream.close()
        self._thread.join()
        self._api.close()


class Victims:
    """The stack's processes, by the names of its status."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def status(self, name: str) -> ServiceStatus:
        """How a process stands."""
        status = await embedded.status(self._settings)
        return next(s for s in status.services if s.name == name)

    async def supervisor(self) -> psutil.Process:
        """Who restarts the others."""
        return psutil.Process((await embedded.status(self._settings)).pid)

    async def kill(self, name: str) -> ServiceStatus:
        """``kill -9``; returns how it stood before, once it is dead."""
        before = await self.status(name)
        assert before.pid is not None, before
        victim = psutil.Process(before.pid)
        os.kill(before.pid, signal.SIGKILL)

        async def dead() -> bool:
            return not victim.is_running() or victim.status() == psutil.STATUS_ZOMBIE

        await until(dead, f"the end of {name}")
        return before

    async def back(self, before: ServiceStatus) -> ServiceStatus:
        """The same service once the supervisor has started it again."""

        async def look() -> ServiceStatus | None:
            now = await self.status(before.name)
            again = now.restarts > before.restarts and now.pid not in (None, before.pid)
            return now if again and now.state is ServiceState.RUNNING else None

        return await until(look, f"the restart of {before.name}")


@pytest.fixture(scope="package")
def receiver() -> Iterator[Receiver]:
    """Where notifications are counted."""
    it = Receiver()
    yield it
    it.close()


@pytest.fixture(scope="package")
async def mortal(
    tmp_path_factory: pytest.TempPathFactory, receiver: Receiver
) -> AsyncIterator[Settings]:
    """A whole stack on a folder of its own; its settings."""
    folder = tmp_path_factory.mktemp("mortal")
    settings = load_settings(folder, environ={}, webhook_url=receiver.url)
    await embedded.up(settings, wait=timedelta(minutes=3), progress=lambda _: None)
    yield load_settings(folder, environ={}, webhook_url=receiver.url)
    await embedded.down(settings)


@pytest.fixture(scope="package")
async def host(
    mortal: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[DemoHost]:
    """A git host that nothing happens to."""
    async with running_git_host(tmp_path_factory.mktemp("chaoshost")) as it:
        await store_tokens(mortal, it)
        yield it


@pytest.fixture(scope="package")
def starts(mortal: Settings) -> Iterator[Starts]:
    """What the engine starts."""
    it = Starts(mortal.docker_host)
    yield it
    it.close()


@pytest.fixture(scope="package")
def engine(mortal: Settings) -> Iterator[docker.APIClient]:
    """The engine, as Docker's own client sees it."""
    api = docker.APIClient(base_url=mortal.docker_host, version="auto")
    yield api
    api.close()


@pytest.fixture
def app(engine: docker.APIClient) -> Iterator[DeployedApp]:
    """An app that nobody else has; nothing of it is left behind."""
    it = DeployedApp(f"chaos-{secrets.token_hex(4)}", engine)
    yield it
    it.remove()


@pytest.fixture
def victims(mortal: Settings) -> Victims:
    """What may be killed."""
    return Victims(mortal)


@pytest.fixture
async def developer(mortal: Settings) -> AsyncIterator[Client]:
    """A client of the person who asks."""
    async with Client.connect(mortal, as_person="developer") as client:
        yield client


@pytest.fixture
async def operator(mortal: Settings) -> AsyncIterator[Client]:
    """A client of the person who decides."""
    async with Client.connect(mortal, as_person="operator") as client:
        yield client
