"""Worker processes as people start them, on real servers and the real engine."""

import json
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.client import Client, WorkflowHandle

from goalkeeper.contracts.goal import WORKFLOW, GoalInput
from goalkeeper.domain.contract import Contract
from goalkeeper.embedded.files import make_folder, write_private
from goalkeeper.embedded.openbao import OpenBaoServer
from goalkeeper.embedded.people import ensure_people
from goalkeeper.embedded.ports import Ports
from goalkeeper.embedded.process import Process
from goalkeeper.embedded.temporal import TemporalServer
from goalkeeper.settings import Settings, load_settings
from goalkeeper.temporal import connect
from goalkeeper.vault import login_file
from tests.support.live import until

_PATIENCE = 300.0
"""Three interpreters that start at once on a busy machine."""


@dataclass
class Installation:
    """A state folder, its servers, and a way to start workers on it."""

    settings: Settings
    vault: OpenBaoServer
    client: Client
    stack: AsyncExitStack

    def with_settings(self, **changes: Any) -> "Installation":
        """The same folder and servers, other settings for the workers that are started."""
        chosen = Settings.model_validate({**self.settings.model_dump(), **changes})
        return replace(self, settings=chosen)

    async def start(self, *options: str, ready: bool = True) -> "Started":
        """``goalkeeper worker`` with a login of its own; awaited until it says it is healthy."""
        settings = self.settings.model_copy(update={"worker_metrics_port": Ports.free().worker})
        login = await self.vault.login("worker")
        write_private(
            login_file(settings.state, "worker"),
            json.dumps(
                {
                    "role_id": login.role_id,
                    "wrapped_secret_id": login.wrapped_secret_id.get_secret_value(),
                }
            ),
        )
        config = settings.state / f"{uuid.uuid4().hex}.toml"
        config.write_text(_toml(settings))
        process = Process(
            "worker",
            settings.logs_folder / f"{config.stem}.log",
            environ={"GOALKEEPER_CONFIG": str(config)},
        )
        await process.spawn(
            (
                *(sys.executable, "-m", "goalkeeper", "worker"),
                *("--state", str(settings.state), *options),
            )
        )
        self.stack.push_async_callback(process.kill)
        started = Started(process, settings)
        if ready:
            await started.until(lambda h: h["status"] == "ok")
        return started

    async def submit(self, *tasks: dict[str, Any]) -> WorkflowHandle[Any, Any]:
        """Start a goal of these tasks."""
        contract = Contract.model_validate(
            {"name": "test", "environment": "development", "tasks": tasks}
        )
        goal_id = f"test-{uuid.uuid4().hex[:12]}"
        goal = GoalInput(definition=contract)
        return await self.client.start_workflow(
            WORKFLOW, goal, id=goal_id, task_queue=self.settings.task_queue
        )


@dataclass
class Started:
    """A worker's (parent) process."""

    process: Process
    settings: Settings

    async def health(self) -> dict[str, Any] | None:
        """What it says, or nothing."""
        address = f"http://127.0.0.1:{self.settings.worker_metrics_port}/healthz"
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
                found: dict[str, Any] = (await client.get(address)).json()
        except httpx.HTTPError:
            return None
        return found

    async def metrics(self) -> str:
        """All of them."""
        address = f"http://127.0.0.1:{self.settings.worker_metrics_port}/metrics"
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            return (await client.get(address)).text

    async def until(self, seen: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for what it says to be so."""

        async def look() -> dict[str, Any] | None:
            assert self.process.pid is not None, self.process.tail(20)
            found = await self.health()
            return found if found is not None and seen(found) else None

        answer: dict[str, Any] = await until(look, "the worker's health", patience=_PATIENCE)
        return answer


def _toml(settings: Settings) -> str:
    """Those settings that differ from the defaults, as a person would write them."""
    usual = Settings().model_dump(mode="json")
    chosen = settings.model_dump(mode="json", exclude={"state"})
    return "\n".join(f"{k} = {json.dumps(v)}" for k, v in chosen.items() if v != usual[k])


@pytest.fixture
async def installation(
    temporal_server: TemporalServer, openbao_server: OpenBaoServer, tmp_path: Path
) -> AsyncIterator[Installation]:
    """One whose workers are gone when the test is over."""
    settings = load_settings(
        tmp_path / "state",
        environ={},
        temporal_address=temporal_server.address,
        vault_address=openbao_server.address,
        task_queue=f"test-{uuid.uuid4().hex[:8]}",
        payload_encryption=False,
        graceful_shutdown_seconds=1,
    )
    make_folder(settings.state)
    ensure_people(settings.identities_file, settings.state / "tokens")
    async with AsyncExitStack() as stack:
        yield Installation(settings, openbao_server, await connect(settings), stack)
