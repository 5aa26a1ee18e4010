import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from hvac.exceptions import Forbidden
from pydantic import SecretStr

from goalkeeper.domain.errors import CredentialDenied, ServiceUnavailable, VaultUnavailable
from goalkeeper.embedded import OpenBaoServer, Ports
from goalkeeper.vault import Vault
from goalkeeper.vault_api import connected
from goalkeeper.vault_setup import VaultAdmin


@pytest_asyncio.fixture
async def bao(tmp_path: Path) -> AsyncIterator[OpenBaoServer]:
    """A started server of the test's own."""
    server = OpenBaoServer(tmp_path / "vault", Ports.free())
    await server.start()
    yield server
    await server.kill()


async def _opened(accessor: str, expires_at: datetime) -> None: ...


async def _token(vault: Vault) -> str:
    lease = await vault.lease("git", ("token",), ttl=timedelta(minutes=1), meta={}, opened=_opened)
    return lease.secrets["token"].get_secret_value()


async def test_a_killed_vault_comes_back_with_all_it_held(bao: OpenBaoServer) -> None:
    """Secrets, keys, and the logins of processes that outlived it."""
    await bao.put_credential("git", {"token": SecretStr("kept")})
    vault = await Vault.login(bao.address, await bao.login("worker"))
    keys = await vault.public_keys()
    await bao.kill()
    with pytest.raises(VaultUnavailable, match="does not answer"):
        await vault.public_keys()
    with pytest.raises(ServiceUnavailable):
        await bao.check()
    await bao.start()
    assert await bao.check() is None
    assert await vault.public_keys() == keys
    assert await _token(vault) == "kept"
    await vault.aclose()


async def test_it_comes_back_on_other_ports_when_its_own_are_taken(bao: OpenBaoServer) -> None:
    """A raft node knows its own address; that must not hold it up."""
    await bao.put_credential("git", {"token": SecretStr("kept")})
    await bao.stop()
    moved = OpenBaoServer(bao.folder, Ports.free())
    await moved.start()
    vault = await Vault.login(moved.address, await moved.login("worker"))
    assert await _token(vault) == "kept"
    await vault.aclose()
    await moved.kill()


async def test_its_keys_are_for_their_owner_alone_and_no_root_token_is_kept(
    bao: OpenBaoServer,
) -> None:
    """Nor is any other file of it readable by others."""
    keys = bao.keys()
    assert keys.root_token is None
    files = [f for f in bao.folder.rglob("*") if f.is_file()]
    assert bao.folder.stat().st_mode & 0o777 == 0o700
    assert {oct(f.stat().st_mode & 0o077) for f in files} == {"0o0"}


async def test_without_its_keys_it_says_what_is_lost(bao: OpenBaoServer) -> None:
    """And does not touch what it holds: the file may come back from a backup."""
    await bao.stop()
    text = (bao.folder / "keys.json").read_text()
    (bao.folder / "keys.json").unlink()
    with pytest.raises(CredentialDenied, match="Restore the file from a backup"):
        await bao.start()
    await bao.kill()
    (bao.folder / "keys.json").write_text(text)
    await bao.start()


async def test_a_first_start_that_died_before_the_keys_were_kept_begins_anew(
    bao: OpenBaoServer,
) -> None:
    """Nothing was stored yet, and nobody could unseal it any more."""
    await bao.kill()
    (bao.folder / "keys.json").unlink()
    (bao.folder / "initialising").touch()
    await bao.start()
    assert await bao.check() is None


async def test_a_set_up_that_died_half_way_is_finished_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The root token is kept until the operator's login is."""
    server = OpenBaoServer(tmp_path / "vault", Ports.free())

    def dies(_: VaultAdmin) -> None:
        raise VaultUnavailable("killed")

    with monkeypatch.context() as patch:
        patch.setattr(VaultAdmin, "prepare", dies)
        with pytest.raises(VaultUnavailable, match="killed"):
            await server.start()
    kept = server.keys().root_token
    assert kept is not None
    await server.kill()
    await server.start()
    assert server.keys().root_token is None
    vault = await Vault.login(server.address, await server.login("gateway"))
    assert await vault.public_keys()
    with connected(server.address, kept.get_secret_value()) as client, pytest.raises(Forbidden):
        client.auth.token.lookup_self()
    await vault.aclose()
    await server.kill()


async def test_a_vault_that_somebody_sealed_is_reported_as_sealed(bao: OpenBaoServer) -> None:
    """Processes with a login learn that it is sealed and that a retry may help."""
    vault = await Vault.login(bao.address, await bao.login("worker"))
    await bao.process.kill()
    await bao.process.spawn(bao.command)
    async with asyncio.timeout(20):
        while await _state(bao) is None:  # noqa: ASYNC110 - it starts
            await asyncio.sleep(0.02)
    assert await bao.check() == "sealed"
    with pytest.raises(VaultUnavailable, match="is sealed"):
        await vault.public_keys()
    assert not await vault.healthy()
    await vault.aclose()


async def _state(bao: OpenBaoServer) -> str | None:
    try:
        return await bao.check()
    except ServiceUnavailable:
        return None


async def test_a_port_that_is_taken_is_named_by_the_servers_own_words(bao: OpenBaoServer) -> None:
    """The message has the end of its log."""
    other = OpenBaoServer(bao.folder.parent / "other", bao.ports)
    with pytest.raises(ServiceUnavailable, match="address already in use"):
        await other.start()


async def test_an_audit_log_that_has_grown_large_is_set_aside_while_it_runs(
    bao: OpenBaoServer, eventually: Callable[[Callable[[], bool]], Awaitable[None]]
) -> None:
    """Nothing of it is lost, and Vault goes on with a new one."""
    before = await asyncio.to_thread(bao.audit_log.read_text)
    bao.audit_limit = 1
    await bao.check()
    bao.audit_limit = 1 << 30
    await eventually(bao.audit_log.exists)
    await bao.put_credential("git", {"token": SecretStr("t")})
    assert [f.read_text() for f in bao.folder.glob("audit-*.log")] == [before]
    assert "kv/data/goalkeeper/git" in bao.audit_log.read_text()


async def test_asking_its_health_leaves_no_trace_in_the_audit_log(bao: OpenBaoServer) -> None:
    """Otherwise a supervisor that asks every few seconds would fill the disk."""
    vault = await Vault.login(bao.address, await bao.login("worker"))
    before = await asyncio.to_thread(bao.audit_log.read_text)
    assert await bao.check() is None
    assert await vault.healthy()
    assert await asyncio.to_thread(bao.audit_log.read_text) == before
    await vault.aclose()
