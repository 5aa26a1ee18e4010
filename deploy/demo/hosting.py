"""The demo's git host as a process of its own, with tokens that Vault hands out.

It is for demos and tests; it starts on a free port of loopback and ends with its block.
"""

import asyncio
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import SecretStr

from deploy.demo.githost import HEALTH_PATH
from deploy.demo.repository import DemoRepository
from goalkeeper import embedded
from goalkeeper.settings import Settings

_APP = "greeter"
_HOST_READY = 20.0


@dataclass(frozen=True)
class DemoHost:
    """The demo's git host and its repository."""

    url: str
    repository: DemoRepository
    tokens: Mapping[str, SecretStr]


@asynccontextmanager
async def running_git_host(folder: Path) -> AsyncIterator[DemoHost]:
    """A real git host on loopback for the length of the block."""
    root = folder / "git"
    root.mkdir(parents=True, exist_ok=True)
    repository = DemoRepository.create(root, _APP)
    tokens = {scope: SecretStr(secrets.token_urlsafe(24)) for scope in ("read", "write")}
    token_file = folder / "tokens"
    token_file.touch(mode=0o600)
    token_file.write_text("".join(f"{s} {t.get_secret_value()}\n" for s, t in tokens.items()))
    port = _free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deploy.demo.githost", "--root", str(root)),
        *("--port", str(port), "--token-file", str(token_file)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await _answers(f"http://127.0.0.1:{port}{HEALTH_PATH}")
        yield DemoHost(f"http://127.0.0.1:{port}/{_APP}.git", repository, tokens)
    finally:
        process.terminate()
        await process.wait()


async def _answers(url: str) -> None:
    async with httpx.AsyncClient() as http, asyncio.timeout(_HOST_READY):
        while True:
            try:
                if (await http.get(url)).is_success:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def store_tokens(settings: Settings, host: DemoHost) -> None:
    """Into Vault, from where each attempt borrows its own for as long as it runs."""
    await embedded.put_credential(settings, "git-reader", {"token": host.tokens["read"]})
    await embedded.put_credential(settings, "git-writer", {"token": host.tokens["write"]})
