"""The supervisor: starts the stack's processes in order, restarts what dies, stops them in order.

It may not do any of their work; all that it keeps is ``stack.json``.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol
from urllib.parse import urlsplit

import structlog

from goalkeeper.domain.errors import (
    GoalkeeperError,
    InvalidSettings,
    ServiceUnavailable,
    StoreUnavailable,
)
from goalkeeper.embedded.files import make_folder
from goalkeeper.embedded.openbao import OpenBaoServer
from goalkeeper.embedded.own import OwnProcess
from goalkeeper.embedded.people import ensure_people
from goalkeeper.embedded.ports import HOST, Ports
from goalkeeper.embedded.process import Process, create_time, end
from goalkeeper.embedded.state import ServiceState, ServiceStatus, StackFile
from goalkeeper.embedded.temporal import TemporalServer, ui_codec
from goalkeeper.settings import Settings

log = structlog.get_logger(__name__)

SERVICES = ("vault", "temporal", "worker", "gateway")
_NEEDS = {"worker": ("vault", "temporal"), "gateway": ("vault", "temporal")}
_STOP_ORDER = ("gateway", "worker", "temporal", "vault")
_BACK_OFF = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_SETTLED = timedelta(seconds=30)
"""After this long without a fault, the next restart is quick again."""
_CHECK_EVERY = 2.0
_PATIENCE = timedelta(seconds=60)
"""How long a process may be unreachable, or say that it is not well, before it is restarted."""


class Service(Protocol):
    """One process of the stack, as the supervisor sees it."""

    name: str
    address: str
    process: Process
    restart_when_degraded: bool

    async def start(self) -> None:
        """Start and return once it is ready."""
        ...

    async def stop(self) -> None:
        """Stop in order."""
        ...

    async def check(self) -> str | None:
        """What it says is wrong; raises `ServiceUnavailable` when it says nothing at all."""
        ...


class Supervisor:
    """Runs the stack of one state folder. The caller holds the folder's lock."""

    def __init__(
        self,
        settings: Settings,
        services: Sequence[str] = SERVICES,
        *,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            settings: of this installation; where a port is taken, another one is used.
            services: which processes to run.
            progress: gets a line for every change.

        Raises:
            InvalidSettings: an unknown service, or ``stack.json`` is damaged.
        """
        unknown = set(services) - set(SERVICES)
        if unknown:
            raise InvalidSettings(
                f"there is no service '{sorted(unknown)[0]}'; there are: {', '.join(SERVICES)}"
            )
        self._folder = make_folder(settings.state)
        self._progress = progress
        self._before = StackFile.read(self._folder)
        self._end_leftovers()
        self._ports = Ports.choose(_wanted(settings, self._before))
        self._settings = settings.model_copy(update=_addresses(self._ports, services))
        self._services = self._make(services)
        self._status = {s.name: self._describe(s, ServiceState.WAITING) for s in self._services}
        self._running = {s.name: asyncio.Event() for s in self._services}

    async def run(self, until: asyncio.Event) -> None:
        """Keep the stack running until the event is set, then stop it in order.

        Raises:
            StoreUnavailable: the state folder cannot be written.
        """
        await asyncio.to_thread(
            ensure_people, self._settings.identities_file, self._folder / "tokens"
        )
        self._write()
        keepers = [
            asyncio.create_task(self._keep(s), name=f"keep-{s.name}") for s in self._services
        ]
        stopping = asyncio.create_task(until.wait())
        try:
            # A keeper never ends by itself; should one fail, the stack stops and says why.
            await asyncio.wait([stopping, *keepers], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (stopping, *keepers):
                task.cancel()
            ended = await asyncio.gather(stopping, *keepers, return_exceptions=True)
            await self._stop()
        for result in ended:
            if isinstance(result, Exception):
                raise result

    async def _keep(self, service: Service) -> None:
        """Start a service again whenever it ends."""
        tries = 0
        while True:
            began = datetime.now(UTC)
            try:
                await self._wait_for_needs(service)
                self._set(service, ServiceState.STARTING)
                await service.start()
                self._set(service, ServiceState.RUNNING)
                problem = await self._watch(service)
            except GoalkeeperError as error:
                problem = error.message
            await service.stop()
            tries = 0 if datetime.now(UTC) - began > _SETTLED else tries
            log.warning("stack.service_ended", service=service.name, problem=problem)
            self._set(service, ServiceState.WAITING, problem, restarted=True)
            await asyncio.sleep(_BACK_OFF[min(tries, len(_BACK_OFF) - 1)])
            tries += 1

    async def _wait_for_needs(self, service: Service) -> None:
        for need in _NEEDS.get(service.name, ()):
            if need in self._running:
                await self._running[need].wait()

    async def _watch(self, service: Service) -> str:
        """Return why it must be started again: it ended, or has been unwell for too long."""
        ended = asyncio.create_task(service.process.wait())
        unwell_since: datetime | None = None
        try:
            while True:
                await asyncio.wait({ended}, timeout=_CHECK_EVERY)
                if ended.done():
                    return f"ended with code {ended.result()}"
                problem, restart = await self._examine(service)
                self._set(
                    service, ServiceState.DEGRADED if problem else ServiceState.RUNNING, problem
                )
                if not (problem and restart):
                    unwell_since = None
                    continue
                unwell_since = unwell_since or datetime.now(UTC)
                if datetime.now(UTC) - unwell_since > _PATIENCE:
                    return f"was unwell for too long: {problem}"
        finally:
            ended.cancel()

    async def _examine(self, service: Service) -> tuple[str | None, bool]:
        """What is wrong, and whether a restart could cure it."""
        try:
            problem = await service.check()
        except ServiceUnavailable as error:
            return error.message, True
        # A worker that complains while Vault is down would complain again after a restart.
        needs = [self._running[n] for n in _NEEDS.get(service.name, ()) if n in self._running]
        return problem, service.restart_when_degraded and all(n.is_set() for n in needs)

    async def _stop(self) -> None:
        by_name = {s.name: s for s in self._services}
        for name in _STOP_ORDER:
            if name in by_name:
                await by_name[name].stop()
                self._set(by_name[name], ServiceState.STOPPED)
        self._write(ended=True)

    def _make(self, names: Sequence[str]) -> list[Service]:
        settings, logs = self._settings, self._settings.logs_folder
        vault: OpenBaoServer | None = None
        made: list[Service] = []
        for name in (n for n in SERVICES if n in names):
            if name == "vault":
                vault = OpenBaoServer(
                    self._folder / "vault", self._ports, log_file=logs / "vault.log"
                )
                made.append(vault)
            elif name == "temporal":
                made.append(
                    TemporalServer(
                        self._folder / "temporal",
                        self._ports,
                        log_file=logs / "temporal.log",
                        ui_codec=ui_codec(settings) if "gateway" in names else None,
                    )
                )
            else:
                made.append(OwnProcess(name, settings, own_address(name, settings), vault))
        return made

    def _set(
        self,
        service: Service,
        state: ServiceState,
        problem: str | None = None,
        *,
        restarted: bool = False,
    ) -> None:
        before = self._status[service.name]
        after = self._describe(service, state, problem, before.restarts + int(restarted))
        if state is before.state:
            after = after.model_copy(update={"since": before.since})
        if after == before:
            return
        event = self._running[service.name]
        if state is ServiceState.RUNNING:
            event.set()
        else:
            event.clear()
        self._status[service.name] = after
        try:
            self._write()
        except StoreUnavailable as error:
            # A full disk must not end the supervisor: what runs goes on running.
            log.error("stack.status_not_written", error=error.message)
        if state is not before.state:
            self._progress(f"{service.name}: {state}" + (f" ({problem})" if problem else ""))

    def _describe(
        self, service: Service, state: ServiceState, problem: str | None = None, restarts: int = 0
    ) -> ServiceStatus:
        return ServiceStatus(
            name=service.name,
            state=state,
            address=service.address,
            pid=service.process.pid,
            processes=service.processes if isinstance(service, OwnProcess) else (),
            restarts=restarts,
            problem=problem,
            log=service.process.log,
            since=datetime.now(UTC),
        )

    def _write(self, *, ended: bool = False) -> None:
        mine = os.getpid()
        pids = [s.process.pid for s in self._services if s.process.pid is not None]
        StackFile(
            pid=None if ended else mine,
            create_time=create_time(mine) or 0,
            ports=self._ports,
            services=tuple(self._status.values()),
            processes={pid: started for pid in pids if (started := create_time(pid)) is not None},
            settings=_addresses(self._ports, list(self._status)),
        ).write(self._folder)

    def _end_leftovers(self) -> None:
        for pid, started in (self._before.processes if self._before else {}).items():
            if end(pid, started):
                log.warning("stack.leftover_stopped", pid=pid)


def own_address(name: str, settings: Settings) -> str:
    """Where worker or gateway answers ``/healthz``."""
    if name == "gateway":
        return settings.gateway_url
    return f"http://{HOST}:{settings.worker_metrics_port}"


def _addresses(ports: Ports, services: Sequence[str]) -> dict[str, str | int]:
    """The settings that follow from the ports of what this stack runs."""
    found: dict[str, str | int] = {}
    if "temporal" in services:
        found["temporal_address"] = f"{HOST}:{ports.temporal}"
        found["temporal_ui_url"] = f"http://{HOST}:{ports.temporal_ui}"
    if "vault" in services:
        found["vault_address"] = f"http://{HOST}:{ports.vault}"
    if "gateway" in services:
        found["gateway_url"] = f"http://{HOST}:{ports.gateway}"
    if "worker" in services:
        found["worker_metrics_port"] = ports.worker
    return found


def _wanted(settings: Settings, before: StackFile | None) -> dict[str, int]:
    """Ports as the settings name them, and for those that no setting names, as they were."""
    wanted = before.ports.model_dump() if before is not None else {}
    addresses = {
        "temporal": f"//{settings.temporal_address}",
        "temporal_ui": settings.temporal_ui_url,
        "vault": settings.vault_address,
        "gateway": settings.gateway_url,
    }
    for name, address in addresses.items():
        wanted[name] = urlsplit(address).port or wanted.get(name, 0)
    return {**wanted, "worker": settings.worker_metrics_port}
