"""The test stand: servers and workers of its own in a folder that goes away afterwards.

Goalkeeper's side is the production worker, started as `goalkeeper up` starts it; nothing of the
installation whose command this is gets touched.
"""

import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import uuid4

import temporalio.client
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from goalkeeper.contracts.goal import WORKFLOW, GoalInput
from goalkeeper.domain.approval import SUBMISSION_TYPE, Submission
from goalkeeper.domain.contract import Contract
from goalkeeper.domain.dsse import Signer, seal
from goalkeeper.domain.errors import ServiceUnavailable, from_code
from goalkeeper.embedded import OpenBaoServer, Ports, TemporalServer
from goalkeeper.embedded.own import OwnProcess
from goalkeeper.embedded.people import ensure_people
from goalkeeper.embedded.ports import HOST
from goalkeeper.embedded.process import Process
from goalkeeper.embedded.supervisor import own_address
from goalkeeper.settings import Settings
from goalkeeper.temporal import connect
from goalkeeper.vault import Vault

BARE_QUEUE = "bare"
REQUESTER = "developer"
APPROVER = "operator"
"""Two of the people that every new installation begins with."""


@dataclass(frozen=True)
class Stand:
    """Both sides, ready to be measured."""

    settings: Settings
    client: temporalio.client.Client
    """As Goalkeeper's own clients connect."""
    bare: temporalio.client.Client
    """As anybody's."""
    signer: Signer
    """The gateway's."""
    worker: Process
    """Goalkeeper's."""

    async def goal_input(self, contract: Contract, goal_id: str) -> GoalInput:
        """A goal with the gateway's word on who asks, as `goalkeeper submit` would send it."""
        goal = GoalInput(definition=contract, requester=REQUESTER)
        said = Submission(
            goal_id=goal_id, person=REQUESTER, input_digest=goal.digest, at=datetime.now(UTC)
        )
        envelope = await seal(said, SUBMISSION_TYPE, self.signer)
        return goal.model_copy(update={"attestation": envelope})

    async def submit(self, goal: GoalInput, goal_id: str) -> WorkflowHandle[Any, Any]:
        """Start a goal."""
        return await self.client.start_workflow(
            WORKFLOW, goal, id=goal_id, task_queue=self.settings.task_queue
        )

    async def start_bare(
        self, workflow: Callable[..., Any], *args: Any
    ) -> WorkflowHandle[Any, Any]:
        """Start one of the bare workflows."""
        return await start_bare(self.bare, workflow, *args)


async def start_bare(
    client: temporalio.client.Client, workflow: Callable[..., Any], *args: Any
) -> WorkflowHandle[Any, Any]:
    """Start a bare workflow on the server of a client."""
    handle: WorkflowHandle[Any, Any] = await client.start_workflow(
        workflow, args=args, id=new_id("bare"), task_queue=BARE_QUEUE
    )
    return handle


async def finish(handle: WorkflowHandle[Any, Any]) -> Any:
    """The result of either side's workflow.

    Raises:
        GoalkeeperError: it failed, so there is nothing to measure.
    """
    try:
        return await handle.result()
    except WorkflowFailureError as error:
        cause = error.cause
        code = cause.type if isinstance(cause, ApplicationError) and cause.type else "Failed"
        raise from_code(
            code, f"the benchmark's workflow '{handle.id}' failed: {cause or error}"
        ) from None


def new_id(kind: str) -> str:
    """A workflow id that was never used."""
    return f"bench-{kind}-{uuid4().hex[:12]}"


@asynccontextmanager
async def open_stand(
    settings: Settings,
    progress: Callable[[str], None],
    *,
    worker_module: Sequence[str] = (),
) -> AsyncIterator[Stand]:
    """Servers, workers and clients for the length of the block.

    Args:
        settings: of the installation; its engine, image and worker's limits are taken over.
        progress: gets a line for each thing that starts.
        worker_module: ``-m``, a module and its options, to run instead of ``goalkeeper``: it
            gets the worker's command line.

    Raises:
        ServiceUnavailable: a server or worker does not start; the message has the end of its log.
        StoreUnavailable: the temporary folder cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="goalkeeper-bench-") as name:
        folder = Path(name)
        async with AsyncExitStack() as stack:
            ports = Ports.free()
            mine = stand_settings(settings, folder, ports)
            ensure_people(mine.identities_file, folder / "tokens")
            progress("starting Temporal and OpenBao")
            temporal = TemporalServer(folder / "temporal", ports)
            stack.push_async_callback(temporal.stop)
            await temporal.start()
            vault = OpenBaoServer(folder / "vault", ports)
            stack.push_async_callback(vault.stop)
            await vault.start()
            progress("starting the workers")
            worker = OwnProcess("worker", mine, own_address("worker", mine), vault)
            if worker_module:
                worker.process = _Instead(worker.process, worker_module)
            stack.push_async_callback(worker.stop)
            await worker.start()
            await stack.enter_async_context(bare_worker(mine.temporal_address, mine.logs_folder))
            gateway = await Vault.login(mine.vault_address, await vault.login("gateway"))
            stack.push_async_callback(gateway.aclose)
            bare = await temporalio.client.Client.connect(
                mine.temporal_address, namespace=mine.temporal_namespace
            )
            client = await connect(mine)
            yield Stand(mine, client, bare, gateway.signer(), worker.process)


def stand_settings(settings: Settings, folder: Path, ports: Ports) -> Settings:
    """The installation's settings, but everything that is kept or listened on is the stand's."""
    return settings.model_copy(
        update={
            "state": folder,
            "temporal_address": f"{HOST}:{ports.temporal}",
            "temporal_namespace": "default",
            "vault_address": f"http://{HOST}:{ports.vault}",
            "worker_metrics_port": ports.worker,
            "identities": folder / "identities.yaml",
            # The shipped policy: numbers of two installations shall be comparable.
            "policy": Path(str(files("goalkeeper.library").joinpath("policy.cedar"))),
            "contracts": (),
        }
    )


@asynccontextmanager
async def bare_worker(address: str, logs: Path) -> AsyncIterator[None]:
    """A worker for the bare workflows, on any Temporal server.

    Raises:
        ServiceUnavailable: it ended before the block did.
    """
    process = Process("bare worker", logs / f"bare-{address.rpartition(':')[2]}.log")
    await process.spawn(
        (
            *(sys.executable, "-m", "goalkeeper.bench.bare_worker"),
            *("--address", address, "--namespace", "default", "--task-queue", BARE_QUEUE),
        )
    )
    try:
        yield
        if process.pid is None:
            raise ServiceUnavailable(
                f"the bare worker ended with code {process.returncode}:\n{process.tail()}"
            )
    finally:
        await process.stop()


class _Instead(Process):
    """The same process, run by another module that gets its command line."""

    def __init__(self, process: Process, module: Sequence[str]) -> None:
        super().__init__(process.name, process.log, grace=60)
        self._module = module

    async def spawn(self, command: Sequence[str]) -> None:
        python, _, _, *arguments = command
        await super().spawn((python, *self._module, *arguments))
