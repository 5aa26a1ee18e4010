"""The embedded stack's worker as several processes."""

import os
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from goalkeeper.embedded import Ports, ServiceStatus, doctor, down, status, up
from goalkeeper.settings import Settings, load_settings
from tests.support.live import until

SERVICES = ("vault", "temporal", "worker")


@pytest.fixture
async def settings(tmp_path: Path) -> AsyncIterator[Settings]:
    """Of a stack with two worker processes, which is stopped when the test is over."""
    ports = Ports.free()
    chosen = load_settings(
        tmp_path / "state",
        environ={},
        temporal_address=f"127.0.0.1:{ports.temporal}",
        vault_address=f"http://127.0.0.1:{ports.vault}",
        worker_metrics_port=ports.worker,
        worker_processes=2,
    )
    yield chosen
    await down(chosen)


async def _worker(settings: Settings) -> ServiceStatus:
    found = await status(settings)
    return next(s for s in found.services if s.name == "worker")


async def test_the_status_and_the_doctor_tell_of_the_workers_processes(settings: Settings) -> None:
    """One that dies is missed, and replaced without a restart of the others."""
    await up(settings, services=SERVICES, wait=timedelta(minutes=5))
    worker = await _worker(settings)
    assert len(worker.processes) == 2
    assert worker.pid not in worker.processes
    checks = {c.name: c for c in await doctor(load_settings(settings.state, environ={}))}
    assert "2 processes" in checks["worker"].message
    assert checks["worker version"].ok

    os.kill(worker.processes[0], signal.SIGKILL)

    async def replaced() -> bool:
        now = await _worker(settings)
        return len(now.processes) == 2 and worker.processes[0] not in now.processes

    await until(replaced, "another worker process", patience=300)
    now = await _worker(settings)
    assert (now.pid, now.restarts) == (worker.pid, worker.restarts)
    assert worker.processes[1] in now.processes
