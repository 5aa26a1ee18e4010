"""The gateway process: connects what it needs, listens on loopback, stops without losing a click.

It is a composition root and holds no logic.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import structlog
import uvicorn

from goalkeeper import temporal
from goalkeeper.audit import AuditLog
from goalkeeper.domain.errors import InvalidSettings
from goalkeeper.evidence import EvidenceStore
from goalkeeper.identities import Identities
from goalkeeper.payloads import PayloadKeys
from goalkeeper.payloads.access import payload_access
from goalkeeper.settings import Settings
from goalkeeper.telemetry import configure_logging, tracing
from goalkeeper.vault import Vault, login_file
from hitl.app import create_app
from hitl.goals import TemporalGoals
from hitl.services import Services, assemble

_log = structlog.get_logger(__name__)

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_DRAIN_SECONDS = 10


async def serve(settings: Settings) -> None:
    """Run the gateway until SIGTERM or SIGINT.

    Raises:
        InvalidSettings: the identities file or `gateway_url` is wrong, or the port is taken.
        VaultUnavailable: Vault is sealed or unreachable.
        CredentialDenied: Vault refuses the gateway's login.
        ServiceUnavailable: Temporal does not answer.
        StoreUnavailable: the audit log cannot be opened.
    """
    configure_logging("gateway", level=settings.log_level)
    identities = Identities.load(settings.identities_file)
    async with contextlib.AsyncExitStack() as stack:
        listener = stack.enter_context(_listen(settings.gateway_url))
        log = AuditLog.open(settings.audit_file)
        stack.push_async_callback(log.aclose)
        # Read at the first payload, by the login below.
        keys = PayloadKeys(lambda: vault.payload_keys())
        client = await temporal.connect(
            settings, interceptors=tracing(settings, "gateway"), keys=keys
        )
        # Last of what can fail: a login works once.
        vault = await Vault.from_file(settings.vault_address, login_file(settings.state, "gateway"))
        stack.push_async_callback(vault.aclose)
        services = assemble(
            identities=identities,
            goals=TemporalGoals(client),
            log=log,
            signer=vault.signer(),
            vault_healthy=vault.healthy,
            payloads=payload_access(settings, keys),
            evidence=EvidenceStore(settings.evidence_folder),
            workflow_url=f"{settings.temporal_ui_url}/namespaces/{settings.temporal_namespace}"
            "/workflows/{}",
        )
        await run(services, settings.gateway_url, listener)


async def run(services: Services, url: str, listener: socket.socket) -> None:
    """Serve requests and deliver what was left undelivered, until a signal asks to stop."""
    server = _Server(
        uvicorn.Config(
            create_app(services, url),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_DRAIN_SECONDS,
        )
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.handle_exit, number, None)
    delivering = asyncio.create_task(services.delivery.run())
    delivering.add_done_callback(lambda task: _stop_if_broken(task, server))
    _log.info("gateway listens", url=url)
    try:
        await server.serve(sockets=[listener])
    finally:
        delivering.cancel()
        await asyncio.wait([delivering])
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    _log.info("gateway stopped")


class _Server(uvicorn.Server):
    """Uvicorn, with the signals left to us.

    Its own handling raises the signal again once requests are drained, which would end the process
    before Vault's token is given back and the audit log's head is signed.
    """

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def _stop_if_broken(task: asyncio.Task[None], server: uvicorn.Server) -> None:
    """A gateway that no longer delivers must not look healthy: it ends, to be started again."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("delivery broke; the gateway stops", exc_info=error)
        server.should_exit = True


def _listen(url: str) -> socket.socket:
    """A bound socket, before anything else is started.

    Raises:
        InvalidSettings: not loopback, or taken.
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname not in _LOOPBACK or parts.port is None:
        raise InvalidSettings(
            f"gateway_url is '{url}', and the gateway listens on loopback only: people's tokens "
            "would cross the network unprotected. Use http://127.0.0.1:PORT; from another machine, "
            "come through an SSH tunnel."
        )
    family = socket.AF_INET6 if parts.hostname == "::1" else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((parts.hostname, parts.port))
    except OSError as error:
        listener.close()
        raise InvalidSettings(
            f"the gateway cannot listen on {parts.hostname}:{parts.port} ({error.strerror}); stop "
            "what uses the port (`goalkeeper status`), or set gateway_url to another"
        ) from None
    return listener
