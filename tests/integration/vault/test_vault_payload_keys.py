"""The payload keys in a real Vault: who may read them, who may add one, and nobody removes any."""

from collections.abc import Iterator
from pathlib import Path

import hvac
import pytest
from hvac.exceptions import Forbidden
from pydantic import SecretStr

from goalkeeper.domain.errors import CredentialDenied, VaultUnavailable
from goalkeeper.embedded import OpenBaoServer, Ports
from goalkeeper.payloads import KeyRing, client_keys
from goalkeeper.settings import Settings
from goalkeeper.vault import Vault
from goalkeeper.vault_api import KV, PAYLOAD_KEYS, connected
from goalkeeper.vault_keys import read_as_client, read_client_login
from goalkeeper.vault_setup import VaultAdmin
from tests.integration.vault.conftest import CANARY


@pytest.fixture
def settings(bao: OpenBaoServer, tmp_path: Path) -> Settings:
    """Of a client of this Vault."""
    return Settings(
        state=tmp_path, vault_address=bao.address, vault_client_login=bao.client_login_file
    )


@pytest.fixture
def client(settings: Settings) -> Iterator[hvac.Client]:
    """Logged in as the CLI would be."""
    login = read_client_login(settings)
    with connected(settings.vault_address) as found:
        found.auth.approle.login(login.role_id, login.secret_id.get_secret_value())
        yield found


async def test_worker_gateway_and_clients_read_the_same_keys(
    worker: Vault, gateway: Vault, settings: Settings
) -> None:
    """What one of them seals the others open."""
    keys = await worker.payload_keys()
    assert keys
    assert await gateway.payload_keys() == keys
    ring = await client_keys(settings).ring()
    assert ring.current == KeyRing.of(keys).current


async def test_a_new_key_becomes_the_current_one_and_the_old_stay(
    bao: OpenBaoServer, worker: Vault
) -> None:
    """Whatever was sealed stays readable."""
    before = await worker.payload_keys()
    held = await bao.rotate_payload_key()
    after = await worker.payload_keys()
    assert {k: after[k] for k in before} == before
    assert set(after) - set(before) == {held.ids[-1]}
    assert KeyRing.of(after).current == held.ids[-1]
    assert await bao.payload_keys() == held
    assert held.changed_at is not None


async def test_the_operator_neither_reads_nor_replaces_nor_removes_a_key(
    bao: OpenBaoServer,
) -> None:
    """It may add one, and see their ids."""
    with VaultAdmin.of(bao.address, bao.keys()) as admin:
        kv = admin._client.secrets.kv.v2
        with pytest.raises(Forbidden):
            kv.read_secret_version(PAYLOAD_KEYS, mount_point=KV, raise_on_deleted_version=True)
        with pytest.raises(Forbidden):
            kv.create_or_update_secret(PAYLOAD_KEYS, {"k1": "mine"}, mount_point=KV)
        with pytest.raises(Forbidden):
            kv.delete_latest_version_of_secret(PAYLOAD_KEYS, mount_point=KV)
        with pytest.raises(Forbidden):
            kv.delete_metadata_and_all_versions(PAYLOAD_KEYS, mount_point=KV)


def test_the_clients_login_opens_the_payload_keys_alone(client: hvac.Client) -> None:
    """Neither a credential, nor a signature, nor a token of more."""
    kv = client.secrets.kv.v2
    with pytest.raises(Forbidden):
        kv.read_secret_version(
            "goalkeeper/git-writer", mount_point=KV, raise_on_deleted_version=True
        )
    with pytest.raises(Forbidden):
        kv.create_or_update_secret(PAYLOAD_KEYS, {"k1": "mine"}, mount_point=KV)
    with pytest.raises(Forbidden):
        client.secrets.transit.sign_data("decisions", hash_input="eA==")
    with pytest.raises(Forbidden):
        client.auth.token.create(policies=["goalkeeper-worker"])


async def test_a_role_named_like_the_keys_does_not_touch_them(
    bao: OpenBaoServer, worker: Vault
) -> None:
    """Credentials of roles lie in another folder."""
    before = await worker.payload_keys()
    await bao.put_credential(PAYLOAD_KEYS, {"k1": SecretStr(CANARY)})
    await bao.put_credential("payload-keys", {"k1": SecretStr(CANARY)})
    assert await worker.payload_keys() == before


async def test_keys_and_the_clients_login_outlive_a_restart(tmp_path: Path) -> None:
    """A second start makes neither anew."""
    server = OpenBaoServer(tmp_path / "vault", Ports.free())
    settings = Settings(state=tmp_path, vault_address=server.address)
    await server.start()
    try:
        keys, login = read_as_client(settings), read_client_login(settings)
        await server.kill()
        await server.start()
        assert read_as_client(settings) == keys
        assert read_client_login(settings) == login
        assert settings.client_login_file.stat().st_mode & 0o777 == 0o600
    finally:
        await server.stop()
    with pytest.raises(VaultUnavailable, match="goalkeeper status"):
        read_as_client(settings)


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        (None, 0o600, "`goalkeeper up` makes it"),
        ("{}", 0o600, "is not a login file"),
        ("{}", 0o644, "can be read by others"),
        (
            '{"role_id": "00000000-0000-0000-0000-000000000000", "secret_id": "x"}',
            0o600,
            "not this Vault's",
        ),
    ],
)
def test_a_login_that_does_not_serve_is_refused_with_what_to_do(
    settings: Settings, tmp_path: Path, content: str | None, mode: int, says: str
) -> None:
    """Missing, damaged, open to others, or of another Vault."""
    file = tmp_path / "client.login.json"
    if content is not None:
        file.write_text(content)
        file.chmod(mode)
    with pytest.raises(CredentialDenied, match=says):
        read_as_client(settings.model_copy(update={"vault_client_login": file}))


def test_the_first_key_is_there_from_the_start(bao: OpenBaoServer) -> None:
    """The set-up makes it, and no set-up makes another."""
    with VaultAdmin.of(bao.address, bao.keys()) as admin:
        before = admin.payload_keys()
        admin.prepare()
        assert admin.payload_keys() == before
        assert before.ids[0] == "k1"
