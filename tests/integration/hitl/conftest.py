"""The gateway as a process of its own, beside a worker, Temporal and OpenBao that are real."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import yaml
from pydantic import SecretStr

from goalkeeper.domain.dsse import Signature, Signer
from goalkeeper.embedded.openbao import OpenBaoServer
from goalkeeper.embedded.ports import Ports
from goalkeeper.embedded.temporal import TemporalServer
from goalkeeper.identities import token_digest
from goalkeeper.settings import Settings, load_settings
from goalkeeper.vault import Vault
from tests.support.engine import Engine, running_engine

PEOPLE = {"dana": "developers", "olive": "operators", "oscar": "operators"}


def token_of(name: str) -> str:
    """A person's token."""
    return f"token-of-{name}-{'x' * 30}"


@dataclass
class VaultKey:
    """The decision key in Vault, where the worker's fake has a key of its own."""

    signer: Signer
    public_keys: dict[str, str]

    async def sign(self, message: bytes) -> Signature:
        """Sign in Vault."""
        return await self.signer.sign(message)


@dataclass
class GatewayProcess:
    """One installation's gateway; it may be killed and started again on the same state."""

    settings: Settings
    bao: OpenBaoServer
    process: asyncio.subprocess.Process | None = None
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.settings.state / "gateway.log"

    async def start(self) -> None:
        """Start it with a fresh login, and return once it is healthy."""
        await self.spawn()
        async with asyncio.timeout(30), httpx.AsyncClient() as client:
            while not await self._healthy(client):
                assert self.process is not None
                assert self.process.returncode is None, self.log.read_text()
                await asyncio.sleep(0.05)

    async def spawn(self) -> asyncio.subprocess.Process:
        """Start it and wait for nothing."""
        login = await self.bao.login("gateway")
        file = self.settings.state / "run" / "gateway.login.json"
        file.parent.mkdir(exist_ok=True)
        secret = login.wrapped_secret_id.get_secret_value()
        file.write_text(json.dumps({"role_id": login.role_id, "wrapped_secret_id": secret}))
        file.chmod(0o600)
        environ = {
            "GOALKEEPER_TEMPORAL_ADDRESS": self.settings.temporal_address,
            "GOALKEEPER_VAULT_ADDRESS": self.settings.vault_address,
            "GOALKEEPER_GATEWAY_URL": self.settings.gateway_url,
            # The engine beside it has a fake Vault, without keys.
            "GOALKEEPER_PAYLOAD_ENCRYPTION": "false",
        }
        command = ("-m", "goalkeeper", "--state", str(self.settings.state), "gateway")
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, *command, stdout=log, stderr=log, env={**os.environ, **environ}
            )
        return self.process

    async def stop(self) -> int:
        """Ask it to stop, and return its exit code."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.terminate()
        async with asyncio.timeout(20):
            return await self.process.wait()

    async def kill(self) -> None:
        """End it as a crash would."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    def api(self, person: str) -> httpx.AsyncClient:
        """A client with a person's token."""
        return httpx.AsyncClient(
            base_url=self.settings.gateway_url,
            headers={"Authorization": f"Bearer {token_of(person)}"},
            timeout=20,
        )

    async def _healthy(self, client: httpx.AsyncClient) -> bool:
        try:
            return (await client.get(f"{self.settings.gateway_url}/healthz")).is_success
        except httpx.TransportError:
            return False


def state_folder(folder: Path) -> Path:
    """A state folder with three people."""
    folder.mkdir()
    people = [
        {
            "id": name,
            "name": name.title(),
            "groups": [group],
            "token_digest": token_digest(SecretStr(token_of(name))),
        }
        for name, group in PEOPLE.items()
    ]
    file = folder / "identities.yaml"
    file.write_text(yaml.safe_dump({"version": "1", "people": people}))
    file.chmod(0o600)
    return folder


def settings_in(folder: Path, temporal: TemporalServer, bao: OpenBaoServer) -> Settings:
    """A new installation on the shared servers."""
    return load_settings(
        state_folder(folder),
        environ={},
        temporal_address=temporal.address,
        vault_address=bao.address,
        gateway_url=f"http://127.0.0.1:{Ports.free().gateway}",
    )


@pytest.fixture(scope="session")
async def gateway(
    temporal_server: TemporalServer,
    openbao_server: OpenBaoServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[GatewayProcess]:
    """A running gateway that no test stops."""
    folder = tmp_path_factory.mktemp("gateway") / "state"
    process = GatewayProcess(settings_in(folder, temporal_server, openbao_server), openbao_server)
    await process.start()
    yield process
    await process.stop()


@pytest.fixture
async def mortal_gateway(
    temporal_server: TemporalServer, openbao_server: OpenBaoServer, tmp_path: Path
) -> AsyncIterator[GatewayProcess]:
    """A running gateway of the test's own, to stop and to kill."""
    settings = settings_in(tmp_path / "state", temporal_server, openbao_server)
    process = GatewayProcess(settings, openbao_server)
    await process.start()
    yield process
    await process.stop()


@pytest.fixture
async def vault(openbao_server: OpenBaoServer) -> AsyncIterator[Vault]:
    """Logged in as the gateway."""
    made = await Vault.login(openbao_server.address, await openbao_server.login("gateway"))
    yield made
    await made.aclose()


@pytest.fixture
async def engine(
    temporal_server: TemporalServer, vault: Vault, tmp_path: Path
) -> AsyncIterator[Engine]:
    """A worker that trusts the decision key in Vault and no other."""
    folder = tmp_path / "worker"
    folder.mkdir()
    async with running_engine(temporal_server.address, folder) as made:
        key = VaultKey(vault.signer(), await vault.public_keys())
        made.vault.signer = key  # type: ignore[assignment]  # has what the fake asks for
        yield made
