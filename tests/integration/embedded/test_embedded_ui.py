"""What the embedded Temporal UI is told about opening payloads, and who else can see it."""

import asyncio
from pathlib import Path

import httpx
import psutil
import pytest
from pydantic import SecretStr

from goalkeeper.embedded import Ports, TemporalServer
from goalkeeper.embedded.temporal import ui_codec
from goalkeeper.payloads.access import ui_token_file
from goalkeeper.settings import Settings

URL = "http://127.0.0.1:8400/codec/ui/canary-token"


async def codec_of(server: TemporalServer) -> str:
    """Where the UI says that it sends payloads."""
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(30):
        while True:
            try:
                answer = await client.get(f"{server.ui_url}/api/v1/settings")
            except httpx.TransportError:
                await asyncio.sleep(0.05)
                continue
            return str(answer.json()["Codec"]["Endpoint"])


async def test_the_ui_gets_the_address_and_no_command_line_shows_it(tmp_path: Path) -> None:
    """It has a token in it, and command lines are everybody's to read."""
    server = TemporalServer(tmp_path, Ports.free(), ui_codec=SecretStr(URL))
    await server.start()
    try:
        assert await codec_of(server) == URL
        assert server.process.pid is not None
        command = " ".join(psutil.Process(server.process.pid).cmdline())
        assert "canary-token" not in command
        assert (tmp_path / "ui.yaml").stat().st_mode & 0o077 == 0
    finally:
        await server.stop()


async def test_without_an_address_the_ui_opens_nothing(temporal_server: TemporalServer) -> None:
    """It shows ciphertext then."""
    assert await codec_of(temporal_server) == ""


def test_each_stack_makes_a_token_of_its_own(tmp_path: Path) -> None:
    """For the gateway to read, and nobody else."""
    settings = Settings(state=tmp_path)
    first, second = ui_codec(settings), ui_codec(settings)
    assert first is not None
    assert second is not None
    assert first != second
    file = ui_token_file(tmp_path)
    assert second.get_secret_value() == f"{settings.gateway_url}/codec/ui/{file.read_text()}"
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("setting", ["ui_payloads", "payload_encryption"])
def test_where_the_ui_is_to_open_nothing_there_is_no_token(tmp_path: Path, setting: str) -> None:
    """Because it shall show ciphertext, or because there is none."""
    assert ui_codec(Settings.model_validate({"state": tmp_path, setting: False})) is None
    assert not ui_token_file(tmp_path).exists()
