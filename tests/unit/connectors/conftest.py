"""Apps without an engine: containers that are entries in a table, and answer over a fake wire."""

import hashlib
import io
import itertools
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import httpx
import pytest
from pydantic import SecretStr

from connectors.apps import AppsConnector
from connectors.apps_containers import Containers
from connectors.registry import known_operations
from goalkeeper.contracts.connector import OperationCall
from goalkeeper.domain.base import Json
from goalkeeper.domain.errors import NotFound

COMMIT = "c" * 40
APP_FILE = '{"command": ["python3", "app.py"], "port": 8081, "health_path": "/ready"}'


@dataclass(frozen=True)
class FakeContainer:
    """One row of the table."""

    name: str
    host: str
    port: int
    labels: Mapping[str, str]
    state: str
    image: str


@dataclass
class FakeContainers:
    """An engine that runs nothing: an image's health is whatever the test says.

    `health` maps an image to the status that its containers answer; ``None`` means that they
    end by themselves.
    """

    health: dict[str, int | None] = field(default_factory=dict)
    containers: dict[str, FakeContainer] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    built: list[tuple[str, Sequence[str]]] = field(default_factory=list)
    _ports: "itertools.count[int]" = field(default_factory=lambda: itertools.count(40001))

    async def build(
        self,
        name: str,
        base_image: str,
        source_tar: bytes,
        command: Sequence[str],
        labels: Mapping[str, str],
    ) -> str:
        """The digest of the source stands for the image."""
        self.built.append((base_image, command))
        image = "sha256:" + hashlib.sha256(source_tar).hexdigest()
        self.health.setdefault(image, 200)
        return image

    async def image_exists(self, image_id: str) -> bool:
        """Images are those that have a health."""
        return image_id in self.health

    async def run(
        self,
        name: str,
        image_id: str,
        *,
        labels: Mapping[str, str],
        environment: Mapping[str, str],
        container_port: int,
        memory_mb: int,
    ) -> FakeContainer:
        """Start it unless it is there."""
        if name not in self.containers:
            self.started.append(name)
            state = "running" if self.health[image_id] is not None else "exited"
            self.containers[name] = FakeContainer(
                name, "127.0.0.1", next(self._ports), dict(labels), state, image_id
            )
        return self.containers[name]

    async def list(self, labels: Mapping[str, str]) -> list[FakeContainer]:
        """Those that have all the labels."""
        return [c for c in self.containers.values() if labels.items() <= c.labels.items()]

    async def stop_and_remove(self, name: str) -> None:
        """Forget it."""
        self.containers.pop(name, None)

    async def logs(self, name: str, tail: int) -> str:
        """One line that a test can look for."""
        if name not in self.containers:
            raise NotFound(f"no container '{name}'")
        return f"the last words of {name}"

    def answer(self, request: httpx.Request) -> httpx.Response:
        """What the container on that port answers."""
        for container in self.containers.values():
            if container.port == request.url.port:
                status = self.health[container.image]
                if status is not None and request.url.path == "/ready":
                    return httpx.Response(status)
                return httpx.Response(404)
        raise httpx.ConnectError("refused")

    def stop(self, name: str) -> None:
        """A container that ends by itself."""
        self.containers[name] = replace(self.containers[name], state="exited", port=0)

    def image(self, name: str, health: int | None = 200) -> str:
        """An image of a health."""
        digest = "sha256:" + hashlib.sha256(name.encode()).hexdigest()
        self.health[digest] = health
        return digest


def tar_of(files: Mapping[str, str]) -> bytes:
    """A tar with those files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


@dataclass
class Source:
    """A repository of one commit, as `GitConnector.export` would hand it over."""

    files: dict[str, str] = field(default_factory=lambda: {"goalkeeper-app.json": APP_FILE})
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    async def export(
        self, repository: str, commit: str, path: str, token: SecretStr | None
    ) -> bytes:
        """The files as a tar."""
        self.asked.append((repository, commit, path))
        return tar_of(self.files)


@pytest.fixture
def engine() -> FakeContainers:
    """Nothing runs yet."""
    return FakeContainers()


@pytest.fixture
def source() -> Source:
    """An app that can be built."""
    return Source()


@pytest.fixture
def apps(engine: FakeContainers, source: Source) -> AppsConnector:
    """The connector on the fake engine, impatient."""
    containers: Containers = engine
    return AppsConnector(
        containers,
        source.export,
        base_image="base:1",
        patience=timedelta(milliseconds=60),
        poll=timedelta(milliseconds=5),
        transport=httpx.MockTransport(engine.answer),
    )


@dataclass
class Caller:
    """Makes calls with validated inputs, and keeps what they log."""

    lines: list[str] = field(default_factory=list)

    def __call__(
        self,
        operation: str,
        inputs: Mapping[str, Json],
        *,
        task: str = "deploy",
        goal: str = "goal-1",
        attempt: int = 1,
        detaching: Callable[[], bool] = lambda: False,
    ) -> OperationCall:
        """One attempt."""
        environment = inputs.get("environment", "production")
        return OperationCall(
            goal_id=goal,
            task_id=task,
            generation=0,
            attempt=attempt,
            operation=operation,
            inputs=known_operations()[operation].inputs.model_validate(dict(inputs)),
            environment=str(environment),
            log=self.lines.append,
            detaching=detaching,
        )


@pytest.fixture
def call() -> Caller:
    """A fresh caller."""
    return Caller()
