"""Goalkeeper's own processes under the supervisor: worker and gateway.

It starts them and asks their health; what they do is theirs.
"""

import asyncio
import json
import os
import sys
from typing import Annotated
from urllib.parse import urlsplit

import httpx
from pydantic import ConfigDict, Field, ValidationError

from goalkeeper.domain.base import Model
from goalkeeper.domain.errors import ServiceUnavailable
from goalkeeper.embedded.files import write_private
from goalkeeper.embedded.openbao import OpenBaoServer
from goalkeeper.embedded.process import Process
from goalkeeper.settings import PREFIX, Settings, load_settings
from goalkeeper.vault import login_file

_READY = 60.0


class Health(Model):
    """What worker or gateway answers on ``/healthz``."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    processes: Annotated[tuple[int, ...], Field(max_length=64)] = ()
    """Process ids of those that do the work and are ready."""
    problem: Annotated[str, Field(max_length=500)] | None = None
    """What is wrong; nothing when all is well."""


class OwnProcess:
    """``python -m goalkeeper worker`` or ``gateway``, with a fresh login to Vault at each start."""

    restart_when_degraded = True

    def __init__(
        self, name: str, settings: Settings, address: str, vault: OpenBaoServer | None
    ) -> None:
        """Describe it; `start` starts it.

        Args:
            name: the subcommand.
            settings: what it is to run with.
            address: answers ``/healthz``.
            vault: makes its logins; None when somebody else provides the login file.
        """
        self.name = name
        self.address = address
        self.processes: tuple[int, ...] = ()
        """The process ids that it says do its work."""
        self._settings = settings
        self._vault = vault
        self.process = Process(
            name,
            settings.logs_folder / f"{name}.log",
            grace=settings.graceful_shutdown_seconds + 5,
        )

    async def start(self) -> None:
        """Start and return once it says that it is healthy.

        Raises:
            ServiceUnavailable: it ended or was not healthy in time; the message has its last lines.
            VaultUnavailable: no login could be made.
        """
        if self._vault is not None:
            login = await self._vault.login(self.name)
            text = json.dumps(
                {
                    "role_id": login.role_id,
                    "wrapped_secret_id": login.wrapped_secret_id.get_secret_value(),
                }
            )
            await asyncio.to_thread(
                write_private, login_file(self._settings.state, self.name), text
            )
        self.process.environ = environment(self._settings)
        state = str(self._settings.state)
        await self.process.spawn((sys.executable, "-m", "goalkeeper", self.name, "--state", state))
        await self._ready()

    async def stop(self) -> None:
        """Ask it to stop, with its grace."""
        await self.process.stop()

    async def kill(self) -> None:
        """End it as a crash would."""
        await self.process.kill()

    async def check(self) -> str | None:
        """What it says is wrong, or nothing.

        Raises:
            ServiceUnavailable: it does not answer.
        """
        found = await healthz(self.name, self.address)
        self.processes = found.processes
        return found.problem

    async def _ready(self) -> None:
        deadline = asyncio.get_running_loop().time() + _READY
        problem: str | None = "did not answer"
        while self.process.pid is not None and asyncio.get_running_loop().time() < deadline:
            try:
                if self.process.listens(urlsplit(self.address).port or 0):
                    problem = await self.check()
            except ServiceUnavailable as error:
                problem = error.message
            else:
                if problem is None:
                    return
            await asyncio.sleep(0.1)
        ended = self.process.returncode
        what = f"is not healthy: {problem}" if ended is None else f"ended with code {ended}"
        raise ServiceUnavailable(
            f"the {self.name} {what}. Its log, '{self.process.log}', ends:\n{self.process.tail()}"
        )


async def healthz(name: str, address: str) -> Health:
    """Ask ``/healthz``.

    Raises:
        ServiceUnavailable: there is no answer.
    """
    try:
        # No proxy of the environment: this is loopback.
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            answer = await client.get(f"{address}/healthz")
    except httpx.HTTPError as error:
        raise ServiceUnavailable(
            f"the {name} at {address} does not answer ({type(error).__name__})"
        ) from None
    try:
        said = Health.model_validate_json(answer.content)
    except ValidationError:
        said = Health()
    if answer.is_success:
        return said.model_copy(update={"problem": None})
    problem = said.problem or f"HTTP {answer.status_code}: {answer.text[:200]}"
    return said.model_copy(update={"problem": problem})


def environment(settings: Settings) -> dict[str, str]:
    """The variables with which a child process reads these very settings.

    Only what it would not read by itself, so that a value of the settings file stays in there.
    """
    by_itself = load_settings(settings.state, environ=os.environ).model_dump(mode="json")
    wanted = settings.model_dump(mode="json")
    return {
        PREFIX + name.upper(): json.dumps(value) if isinstance(value, list) else str(value)
        for name, value in wanted.items()
        if value is not None and value != by_itself[name]
    }
