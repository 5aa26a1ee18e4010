import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from pydantic import SecretStr

from goalkeeper.domain.errors import Conflict, InvalidSettings, ServiceUnavailable
from goalkeeper.embedded import (
    OpenBaoServer,
    Ports,
    ServiceStatus,
    StackStatus,
    doctor,
    down,
    put_credential,
    status,
    up,
)
from goalkeeper.embedded.state import StackFile
from goalkeeper.settings import Settings, load_settings
from goalkeeper.vault import Vault

MINUTE = timedelta(minutes=1)
SERVERS = ("vault", "temporal")


def _settings(folder: Path) -> Settings:
    """Of a new installation, on ports that no other stack of this machine has."""
    ports = Ports.free()
    return load_settings(
        folder,
        environ={},
        temporal_address=f"127.0.0.1:{ports.temporal}",
        temporal_ui_url=f"http://127.0.0.1:{ports.temporal_ui}",
        vault_address=f"http://127.0.0.1:{ports.vault}",
        gateway_url=f"http://127.0.0.1:{ports.gateway}",
        worker_metrics_port=ports.worker,
    )


@pytest_asyncio.fixture
async def settings(tmp_path: Path) -> AsyncIterator[Settings]:
    """Of a stack that is stopped when the test is over."""
    chosen = _settings(tmp_path / "state")
    yield chosen
    await down(chosen)


def _service(found: StackStatus, name: str) -> ServiceStatus:
    return next(s for s in found.services if s.name == name)


async def _until(settings: Settings, seen: Callable[[StackStatus], bool]) -> StackStatus:
    async with asyncio.timeout(60):
        while not seen(found := await status(settings)):  # noqa: ASYNC110 - others bring it about
            await asyncio.sleep(0.02)
    return found


async def test_a_stack_from_its_start_to_its_end(settings: Settings) -> None:
    """Clients find it by the state folder; what is killed comes back; nothing outlives `down`."""
    lines: list[str] = []
    found = await up(settings, services=(*SERVERS, "gateway"), progress=lines.append)
    assert found.ready
    assert "gateway: running" in lines
    again = load_settings(settings.state, environ={})
    assert _service(found, "vault").address == again.vault_address
    assert _service(found, "gateway").address == again.gateway_url
    assert not list((settings.state / "run").glob("*.login.json"))
    await _check_doctor(settings)
    for name in ("vault", "temporal", "gateway"):
        await _kill_and_await(settings, found, name)
    supervisor = psutil.Process(found.pid)
    processes = [supervisor, *supervisor.children(recursive=True)]
    assert not (await down(settings)).running
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, 10)
    assert alive == []


async def _check_doctor(settings: Settings) -> None:
    """Every check has a message, and what to do where it fails."""
    found = {c.name: c for c in await doctor(settings)}
    assert all(c.fix for c in found.values() if not c.ok)
    for name in ("programs", "state folder", "ports", "stack", "Vault", "Temporal", "gateway"):
        assert found[name].ok, found[name]
    assert found["identities"].message.startswith("2 people")
    assert "does not answer" in found["worker"].message


async def _kill_and_await(settings: Settings, before: StackStatus, name: str) -> None:
    """On its port, counted; nothing else is restarted for it."""
    victim = _service(before, name)
    assert victim.pid is not None
    restarts = sum(s.restarts for s in (await status(settings)).services)
    os.kill(victim.pid, signal.SIGKILL)
    after = await _until(
        settings, lambda s: s.ready and _service(s, name).pid not in (None, victim.pid)
    )
    assert _service(after, name).address == victim.address
    assert _service(after, name).restarts == 1
    assert sum(s.restarts for s in after.services) == restarts + 1


async def test_a_stack_is_refused_on_a_folder_that_has_one(settings: Settings) -> None:
    """And the one that runs is not disturbed."""
    first = await up(settings, services=["temporal"])
    with pytest.raises(Conflict, match="goalkeeper down"):
        await up(settings, services=["temporal"])
    assert await status(settings) == first


async def test_two_stacks_run_side_by_side(settings: Settings, tmp_path: Path) -> None:
    """The second takes other ports where the first has them, and says where it is."""
    await up(settings, services=["temporal"])
    second = settings.model_copy(update={"state": tmp_path / "second"})
    try:
        found = await up(second, services=["temporal"])
        assert found.ready
        assert _service(found, "temporal").address != settings.temporal_address
        again = load_settings(second.state, environ={})
        assert again.temporal_address == _service(found, "temporal").address
    finally:
        await down(second)


async def test_when_the_supervisor_is_killed_nothing_runs_on_and_up_starts_anew(
    settings: Settings,
) -> None:
    """On the same ports, with the same data."""
    first = await up(settings, services=SERVERS)
    await put_credential(settings, "git", {"token": SecretStr("kept")})
    assert first.pid is not None
    supervisor = psutil.Process(first.pid)
    children = supervisor.children()
    supervisor.kill()
    _, alive = await asyncio.to_thread(psutil.wait_procs, [supervisor, *children], 10)
    assert alive == []
    assert not (await status(settings)).running
    second = await up(settings, services=SERVERS)
    assert [s.address for s in second.services] == [s.address for s in first.services]
    record = StackFile.read(settings.state)
    assert record is not None
    login = await OpenBaoServer(settings.state / "vault", record.ports).login("worker")
    vault = await Vault.login(settings.vault_address, login)
    lease = await vault.lease("git", ("token",), ttl=MINUTE, meta={}, opened=_opened)
    assert lease.secrets["token"].get_secret_value() == "kept"
    await vault.aclose()


async def _opened(accessor: str, expires_at: datetime) -> None: ...


async def test_what_a_killed_supervisor_left_behind_is_ended_first(settings: Settings) -> None:
    """A process that is on record and still runs would hold the ports and the data."""
    leftover = OpenBaoServer(settings.state / "vault", _ports(settings))
    await leftover.start()
    pid = leftover.process.pid
    assert pid is not None
    StackFile(
        pid=None,
        create_time=0,
        ports=leftover.ports,
        processes={pid: psutil.Process(pid).create_time()},
    ).write(settings.state)
    found = await up(settings, services=["vault"])
    assert await leftover.process.wait() == 0
    assert _service(found, "vault").address == leftover.address


def _ports(settings: Settings) -> Ports:
    free = Ports.free()
    return free.model_copy(update={"vault": int(settings.vault_address.rpartition(":")[2])})


async def test_a_service_that_cannot_start_is_named_and_the_rest_is_stopped(
    settings: Settings,
) -> None:
    """The message has the end of its log; nothing half-started stays."""
    settings.state.mkdir(mode=0o700)
    await asyncio.to_thread(settings.identities_file.write_text, "version: nonsense")
    with pytest.raises(ServiceUnavailable, match="identities"):
        await up(settings, services=("vault", "gateway"))
    assert not (await status(settings)).running


async def test_a_stack_that_is_too_slow_is_stopped_and_says_what_it_waited_for(
    settings: Settings,
) -> None:
    """Within the time that the caller is ready to wait."""
    with pytest.raises(ServiceUnavailable, match="not ready after"):
        await up(settings, services=SERVERS, wait=timedelta(seconds=0.5))
    assert not (await status(settings)).running


async def test_an_unknown_service_is_refused_with_those_that_exist(settings: Settings) -> None:
    """Before anything is started."""
    with pytest.raises(ServiceUnavailable, match="vault, temporal, worker, gateway"):
        await up(settings, services=["vualt"])
    with pytest.raises(InvalidSettings, match="'vualt'"):
        await up(settings, services=["vualt"], foreground=True)


async def test_a_credential_needs_a_running_stack(settings: Settings) -> None:
    """The message says how to start one."""
    with pytest.raises(ServiceUnavailable, match="goalkeeper up"):
        await put_credential(settings, "git", {"token": SecretStr("t")})
