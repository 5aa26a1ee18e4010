"""A real git host with a real repository, and calls as an activity makes them."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from connectors.git import GitConnector
from deploy.demo.githost import HEALTH_PATH
from deploy.demo.repository import DemoRepository
from goalkeeper.contracts.connector import OperationCall
from goalkeeper.domain.base import Json
from goalkeeper.settings import Settings

READ_TOKEN = "canary-read-5b1f0c"
WRITE_TOKEN = "canary-write-9e2a77"


@dataclass(frozen=True)
class Host:
    """A running git host."""

    root: Path
    url: str

    def repository(self, name: str) -> tuple[DemoRepository, str]:
        """A fresh repository and its address."""
        return DemoRepository.create(self.root, name), f"{self.url}/{name}.git"


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The demo's git host as a process of its own."""
    folder = tmp_path_factory.mktemp("githost")
    tokens = folder / "tokens"
    tokens.write_text(f"read {READ_TOKEN}\nwrite {WRITE_TOKEN}\n")
    port = free_port()
    command = [sys.executable, "-m", "deploy.demo.githost", "--root", str(folder / "repositories")]
    command += ["--port", str(port), "--token-file", str(tokens)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(url + HEALTH_PATH, process)
        yield Host(folder / "repositories", url)
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"the git host at {url} did not come up")


_names = count(1)


@pytest.fixture
def repository(host: Host) -> tuple[DemoRepository, str]:
    """A repository of the test's own, and its address."""
    return host.repository(f"greeter-{next(_names)}")


@pytest.fixture
def git() -> GitConnector:
    """The connector as the registry makes it."""
    return GitConnector(Settings())


@pytest.fixture
def reader() -> dict[str, SecretStr]:
    """What a task with the role of a reader gets."""
    return {"token": SecretStr(READ_TOKEN)}


@pytest.fixture
def writer() -> dict[str, SecretStr]:
    """What a task with the role of a writer gets."""
    return {"token": SecretStr(WRITE_TOKEN)}


Call = Callable[..., OperationCall]


@pytest.fixture
def call() -> Call:
    """Makes a call with validated inputs."""

    def make(
        operation: str, *, task: str = "task", attempt: int = 1, **inputs: Json
    ) -> OperationCall:
        return OperationCall(
            goal_id="goal-1",
            task_id=task,
            generation=0,
            attempt=1,
            operation=operation,
            inputs=GitConnector.operations[operation].inputs.model_validate(inputs),
            environment="production",
        )

    return make
