from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from hvac.exceptions import Forbidden, InvalidRequest

from goalkeeper.domain.approval import DECISION_TYPE
from goalkeeper.domain.base import Model
from goalkeeper.domain.dsse import open_envelope, seal
from goalkeeper.domain.errors import CredentialDenied, GrantMismatch
from goalkeeper.embedded import OpenBaoServer
from goalkeeper.vault import Vault
from goalkeeper.vault_setup import VaultAdmin


class Statement(Model):
    """Something to sign."""

    text: str


async def _opened(accessor: str, expires_at: datetime) -> None:
    raise AssertionError("nothing may be opened")


async def test_what_the_gateway_signs_the_worker_verifies(worker: Vault, gateway: Vault) -> None:
    """With the public keys that Vault shows to both, versions rotated away included."""
    old = await seal(Statement(text="before"), DECISION_TYPE, gateway.signer())
    keys = await worker.public_keys()
    assert keys == await gateway.public_keys()
    assert open_envelope(old, Statement, DECISION_TYPE, keys).text == "before"


async def test_a_signature_by_a_rotated_key_still_verifies(
    bao: OpenBaoServer, worker: Vault, gateway: Vault
) -> None:
    """Each version has a key id of its own, and the newest signs."""
    old = await seal(Statement(text="before"), DECISION_TYPE, gateway.signer())
    earlier = await worker.public_keys()
    with VaultAdmin.of(bao.address, bao.keys()) as admin:
        admin.rotate_decision_key()
    new = await seal(Statement(text="after"), DECISION_TYPE, gateway.signer())
    keys = await worker.public_keys()
    assert set(keys) == set(earlier) | {new.signatures[0].keyid}
    assert new.signatures[0].keyid not in earlier
    for envelope in (old, new):
        open_envelope(envelope, Statement, DECISION_TYPE, keys)
    with pytest.raises(GrantMismatch):
        open_envelope(new, Statement, DECISION_TYPE, earlier)


async def test_a_worker_cannot_sign(worker: Vault) -> None:
    """It verifies approvals and can make none."""
    with pytest.raises(CredentialDenied, match="only the gateway may"):
        await worker.signer().sign(b"approve everything")


async def test_the_gateway_cannot_lease_or_revoke(worker: Vault, gateway: Vault) -> None:
    """It asks and signs; secrets are none of its business."""
    with pytest.raises(CredentialDenied, match="that this process is a worker"):
        await gateway.lease(
            "git-writer", ("token",), ttl=timedelta(minutes=1), meta={}, opened=_opened
        )
    with pytest.raises(CredentialDenied):
        await gateway.revoke("whatever")


async def test_neither_reads_a_secret_with_its_own_login(worker: Vault, gateway: Vault) -> None:
    """Only a lease does, which is on record."""
    for vault in (worker, gateway):
        with pytest.raises(Forbidden):
            vault._client.secrets.kv.v2.read_secret_version(
                "goalkeeper/git-writer", mount_point="kv", raise_on_deleted_version=True
            )


@pytest.mark.parametrize(
    "policies",
    [
        ["root"],
        ["default"],
        ["goalkeeper-gateway"],
        ["goalkeeper-operator"],
        ["goalkeeper-role-git-writer", "goalkeeper-gateway"],
    ],
)
async def test_a_worker_cannot_make_itself_a_token_of_another_kind(
    worker: Vault, policies: list[str]
) -> None:
    """Children get the policy of a role, or none is made."""
    create = worker._client.auth.token.create
    with pytest.raises((Forbidden, InvalidRequest)):
        create(role_name="goalkeeper", policies=policies)
    with pytest.raises(Forbidden):
        create(policies=policies)


async def test_a_worker_cannot_change_what_it_may_do(worker: Vault) -> None:
    """No policies, roles, logins or keys."""
    client = worker._client
    attempts: list[Callable[[], object]] = [
        lambda: client.sys.create_or_update_acl_policy("goalkeeper-worker", 'path "*" {}'),
        lambda: client.auth.approle.generate_secret_id("goalkeeper-gateway"),
        lambda: client.auth.approle.read_role_id("goalkeeper-gateway"),
        lambda: client.secrets.transit.rotate_key("decisions"),
        lambda: client.secrets.transit.export_key("decisions", key_type="signing-key"),
        lambda: client.sys.seal(),
    ]
    for attempt in attempts:
        with pytest.raises(Forbidden):
            attempt()


async def test_the_operator_reads_no_secret_and_signs_nothing(bao: OpenBaoServer) -> None:
    """The login that repeats the set-up has no other power under its own name."""
    with VaultAdmin.of(bao.address, bao.keys()) as admin:
        with pytest.raises(Forbidden):
            admin._client.secrets.kv.v2.read_secret_version(
                "goalkeeper/git-writer", mount_point="kv", raise_on_deleted_version=True
            )
        with pytest.raises(Forbidden):
            admin._client.secrets.transit.sign_data("decisions", hash_input="eA==")
