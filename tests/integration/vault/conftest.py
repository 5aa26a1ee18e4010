import json
from collections.abc import AsyncIterator, Callable, Iterator

import hvac
import pytest
import pytest_asyncio
from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest
from pydantic import SecretStr

from goalkeeper.embedded import OpenBaoServer, Ports
from goalkeeper.vault import Vault
from goalkeeper.vault_api import connect, connected
from goalkeeper.vault_setup import VaultAdmin

CANARY = "canary-8f3a91"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def bao(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OpenBaoServer]:
    """A real OpenBao, set up as the embedded stack does, with one credential in it."""
    server = OpenBaoServer(tmp_path_factory.mktemp("vault"), Ports.free())
    await server.start()
    await server.put_credential(
        "git-writer", {"token": SecretStr(CANARY), "user": SecretStr("robot")}
    )
    yield server
    await server.stop()


@pytest_asyncio.fixture
async def worker(bao: OpenBaoServer) -> AsyncIterator[Vault]:
    """Logged in as a worker."""
    vault = await Vault.login(bao.address, await bao.login("worker"))
    yield vault
    await vault.aclose()


@pytest_asyncio.fixture
async def gateway(bao: OpenBaoServer) -> AsyncIterator[Vault]:
    """Logged in as the gateway."""
    vault = await Vault.login(bao.address, await bao.login("gateway"))
    yield vault
    await vault.aclose()


@pytest.fixture
def stranger(bao: OpenBaoServer) -> Iterator[Callable[[str], hvac.Client]]:
    """Makes a client that may update one path, and nothing else."""
    made: list[hvac.Client] = []

    def client(path: str) -> hvac.Client:
        name = "goalkeeper-stranger"
        with VaultAdmin.of(bao.address, bao.keys()) as admin:
            policy = json.dumps({"path": {path: {"capabilities": ["update"]}}})
            admin._client.sys.create_or_update_acl_policy(name, policy)
            approle = admin._client.auth.approle
            approle.create_or_update_approle(name, token_policies=[name])
            role_id = approle.read_role_id(name)["data"]["role_id"]
            secret_id = approle.generate_secret_id(name)["data"]["secret_id"]
        with connected(bao.address) as anybody:
            answer = anybody.auth.approle.login(role_id, secret_id, use_token=False)
        made.append(connect(bao.address, answer["auth"]["client_token"]))
        return made[-1]

    yield client
    for one in made:
        one.adapter.close()


@pytest.fixture
def is_alive(stranger: Callable[[str], hvac.Client]) -> Callable[[str], bool]:
    """Asks Vault itself whether the lease of an accessor is alive."""
    client = stranger("auth/token/lookup-accessor")

    def ask(accessor: str) -> bool:
        try:
            client.auth.token.lookup_accessor(accessor)
        except (Forbidden, InvalidPath, InvalidRequest):
            return False
        return True

    return ask
