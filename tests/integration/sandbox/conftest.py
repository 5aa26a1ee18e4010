"""Sandboxes on the real engine, each test with an installation and container names of its own."""

import io
import itertools
import tarfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pytest
from pydantic import SecretStr

from goalkeeper.contracts.connector import OperationCall
from goalkeeper.settings import Settings
from sandbox.engine import Engine
from sandbox.model import SandboxInputs, SandboxOutputs
from sandbox.runner import SandboxConnector

_tasks = itertools.count()


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """An uncompressed tar of plain files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@dataclass
class Sandboxes:
    """A connector, the engine as Docker's own client sees it, and shorthands."""

    connector: SandboxConnector
    api: docker.APIClient
    settings: Settings
    files: dict[str, bytes] = field(default_factory=dict)
    fetched: list[tuple[str, str, str, SecretStr | None]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    async def fetch(
        self, repository: str, commit: str, path: str, token: SecretStr | None
    ) -> bytes:
        """Stands where the git connector is."""
        self.fetched.append((repository, commit, path, token))
        return tar_of(self.files)

    def call(
        self,
        *command: str,
        task: str | None = None,
        attempt: int = 1,
        detaching: Callable[[], bool] = lambda: False,
        log: Callable[[str], None] | None = None,
        **inputs: Any,
    ) -> OperationCall:
        """One attempt at a task; a new task unless it is named."""
        return OperationCall(
            goal_id="goal",
            task_id=task or f"t{next(_tasks)}",
            generation=0,
            attempt=attempt,
            operation="sandbox.run",
            inputs=SandboxInputs.model_validate({"command": command, **inputs}),
            environment="test",
            log=log or self.lines.append,
            detaching=detaching,
        )

    async def run(self, call: OperationCall, **credentials: SecretStr) -> SandboxOutputs:
        """Execute, and the outputs in their own type."""
        result = await self.connector.execute(call, credentials)
        assert isinstance(result.outputs, SandboxOutputs)
        return result.outputs

    def containers(self, state: str | None = None) -> list[dict[str, Any]]:
        """Those of this installation."""
        label = f"goalkeeper.installation={self.connector.installation}"
        found = self.api.containers(all=True, filters={"label": label})
        return [c for c in found if state in (None, c["State"])]


@pytest.fixture
async def sandboxes(tmp_path: Path) -> AsyncIterator[Sandboxes]:
    """Everything that a test leaves on the engine is removed."""
    settings = Settings(state=tmp_path)
    api = docker.APIClient(base_url=settings.docker_host, version="auto")
    boxes = Sandboxes(connector=None, api=api, settings=settings)  # type: ignore[arg-type]  # next line
    boxes.connector = SandboxConnector(settings, boxes.fetch)
    yield boxes
    await boxes.connector.release("goal")
    boxes.connector.close()
    api.close()


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    """A connection to the engine of the default settings."""
    engine = Engine(Settings().docker_host)
    yield engine
    engine.close()
