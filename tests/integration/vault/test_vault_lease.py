import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hvac.exceptions import Forbidden
from pydantic import SecretStr

from goalkeeper.domain.errors import CredentialDenied, VaultUnavailable
from goalkeeper.embedded import OpenBaoServer
from goalkeeper.vault import Lease, Vault
from goalkeeper.vault_api import connected

CANARY = "canary-8f3a91"
MINUTE = timedelta(minutes=1)
IsAlive = Callable[[str], bool]


class Ledger:
    """Notes what was opened, as the lease ledger does."""

    def __init__(self) -> None:
        self.opened: list[tuple[str, datetime]] = []

    async def __call__(self, accessor: str, expires_at: datetime) -> None:  # noqa: D102 - see above
        self.opened.append((accessor, expires_at))


async def _lease(vault: Vault, ledger: Ledger, *slots: str, role: str = "git-writer") -> Lease:
    return await vault.lease(
        role, slots or ("token",), ttl=MINUTE, meta={"goal": "g", "task": "t"}, opened=ledger
    )


def _is_known(bao: OpenBaoServer, token: str) -> bool:
    with connected(bao.address, token) as client:
        try:
            # Its policy lets it read this; the answer to an ended token is a refusal.
            client.secrets.kv.v2.read_secret_version(
                "goalkeeper/git-writer", mount_point="kv", raise_on_deleted_version=True
            )
        except Forbidden:
            return False
    return True


async def test_a_lease_gives_the_fields_that_were_asked_for(worker: Vault) -> None:
    """No others, masked, with the time at which Vault ends it."""
    lease = await _lease(worker, ledger := Ledger(), "token")
    assert {k: v.get_secret_value() for k, v in lease.secrets.items()} == {"token": CANARY}
    assert CANARY not in repr(lease)
    assert ledger.opened == [(lease.accessor, lease.expires_at)]
    assert lease.expires_at <= datetime.now(UTC) + MINUTE
    await worker.revoke(lease.accessor)


async def test_the_ledger_knows_a_lease_before_its_secret_is_read(
    bao: OpenBaoServer, worker: Vault, is_alive: IsAlive
) -> None:
    """When the ledger cannot be written, no secret is read and the lease ends at once."""
    seen: list[str] = []

    async def opened(accessor: str, _: datetime) -> None:
        seen.append(accessor)
        raise OSError("the disk is full")

    before = _reads(bao)
    with pytest.raises(OSError, match="disk is full"):
        await worker.lease("git-writer", ("token",), ttl=MINUTE, meta={}, opened=opened)
    assert _reads(bao) == before
    assert not is_alive(seen[0])


def _reads(bao: OpenBaoServer) -> int:
    return bao.audit_log.read_text().count('"path":"kv/data/goalkeeper/git-writer"')


async def test_a_revoked_lease_is_gone_and_revoking_again_is_fine(
    worker: Vault, is_alive: IsAlive
) -> None:
    """So that a retried activity may revoke whatever the ledger lists."""
    lease = await _lease(worker, Ledger())
    assert is_alive(lease.accessor)
    await worker.revoke(lease.accessor)
    assert not is_alive(lease.accessor)
    await worker.revoke(lease.accessor)
    await worker.revoke("never-was")


async def test_a_lease_ends_by_itself(bao: OpenBaoServer, worker: Vault) -> None:
    """Its time is an upper bound, whoever forgets it."""
    child = worker._child("git-writer", timedelta(seconds=1), {})
    assert _is_known(bao, child["client_token"])
    async with asyncio.timeout(20):
        while _is_known(bao, child["client_token"]):  # noqa: ASYNC110 - Vault brings it about
            await asyncio.sleep(0.05)


async def test_a_role_without_a_secret_says_how_to_store_one(
    worker: Vault, is_alive: IsAlive
) -> None:
    """And leaves no lease behind."""
    with pytest.raises(CredentialDenied, match="goalkeeper credential set nobody"):
        await _lease(worker, ledger := Ledger(), role="nobody")
    assert not is_alive(ledger.opened[0][0])


async def test_a_missing_field_is_named_with_those_that_are_there(worker: Vault) -> None:
    """Names only, no values."""
    with pytest.raises(CredentialDenied, match=r"no field 'password' \(it has: token, user\)") as e:
        await _lease(worker, Ledger(), "token", "password")
    assert CANARY not in e.value.message


async def test_a_lease_can_read_its_own_secret_and_nothing_else(
    bao: OpenBaoServer, worker: Vault
) -> None:
    """No other role, no signing, no further children, no renewal."""
    child = worker._child("git-writer", MINUTE, {})
    with connected(bao.address, child["client_token"]) as client:
        attempts: list[Callable[[], object]] = [
            lambda: client.read("kv/data/goalkeeper/other"),
            lambda: client.secrets.kv.v2.list_secrets("goalkeeper", mount_point="kv"),
            lambda: client.secrets.transit.sign_data("decisions", hash_input="eA=="),
            lambda: client.auth.token.create(),
            lambda: client.auth.token.renew_self(),
        ]
        for attempt in attempts:
            with pytest.raises(Forbidden):
                attempt()
    await worker.revoke(child["accessor"])


async def test_a_lease_that_is_cancelled_while_vault_answers_is_revoked(
    worker: Vault, is_alive: IsAlive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request cannot be taken back, so what it made is ended."""
    asked, go_on = threading.Event(), threading.Event()
    made: list[dict[str, Any]] = []
    child = worker._child

    def slow(*args: Any) -> dict[str, Any]:
        asked.set()
        go_on.wait(10)
        made.append(child(*args))
        return made[0]

    monkeypatch.setattr(worker, "_child", slow)  # a Vault that takes its time
    leasing = asyncio.create_task(_lease(worker, ledger := Ledger()))
    await asyncio.to_thread(asked.wait, 10)
    leasing.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await leasing
    assert ledger.opened == []
    assert not is_alive(made[0]["accessor"])


async def test_when_a_workers_login_ends_so_does_all_that_it_leased(bao: OpenBaoServer) -> None:
    """One revocation stops everything that a worker was given."""
    worker = await Vault.login(bao.address, await bao.login("worker"))
    child = worker._child("git-writer", MINUTE, {})
    assert _is_known(bao, child["client_token"])
    await worker.aclose()
    assert not _is_known(bao, child["client_token"])


async def test_a_worker_whose_login_has_ended_asks_for_a_retry(bao: OpenBaoServer) -> None:
    """It is restarted with another login, so the task is not to be failed for good."""
    worker = await Vault.login(bao.address, await bao.login("worker"))
    assert await worker.healthy()
    worker._client.auth.token.revoke_self()
    with pytest.raises(VaultUnavailable, match="login to Vault has ended"):
        await _lease(worker, Ledger())
    assert not await worker.healthy()
    await worker.aclose()


async def test_a_login_is_renewed_before_it_ends(bao: OpenBaoServer, worker: Vault) -> None:
    """In the background, as long as the process lives."""
    token = SecretStr(worker._client.token)
    before = _renewals(bao)
    same = Vault(bao.address, token, timedelta(seconds=0.3))
    async with asyncio.timeout(10):
        while _renewals(bao) == before:  # noqa: ASYNC110 - Vault's audit log shows it
            await asyncio.sleep(0.02)
    assert await same.healthy()
    await same.aclose()


def _renewals(bao: OpenBaoServer) -> int:
    return bao.audit_log.read_text().count("auth/token/renew-self")


async def test_no_secret_is_in_vaults_own_audit_log(bao: OpenBaoServer, worker: Vault) -> None:
    """Who leased what is; the value is not."""
    lease = await _lease(worker, Ledger())
    await worker.revoke(lease.accessor)
    text = await asyncio.to_thread(bao.audit_log.read_text)
    assert "kv/data/goalkeeper/git-writer" in text
    assert CANARY not in text
