"""The worker process: opens what activities work with, and serves the task queue.

A composition root: it wires, and decides nothing.
"""

import asyncio
import contextlib
import gc
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import structlog
import uvloop
from temporalio.client import Client
from temporalio.worker import Worker

from activities.goal import GoalActivities
from activities.parts import Leaser, Parts
from connectors.git import GitConnector
from connectors.registry import build_registry
from goalkeeper.audit import AuditLog
from goalkeeper.catalogue import Catalogue
from goalkeeper.evidence import EvidenceStore
from goalkeeper.health import serve_health
from goalkeeper.identities import Identities
from goalkeeper.ledger import Ledger
from goalkeeper.policy import PolicyEngine
from goalkeeper.settings import Settings
from goalkeeper.telemetry import configure_logging, tracing
from goalkeeper.temporal import connect
from goalkeeper.vault import Vault
from sandbox.containers import ServiceContainers
from sandbox.engine import Engine
from sandbox.runner import SandboxConnector
from workflows.goal import GoalWorkflow

log = structlog.get_logger(__name__)

_REAP_EVERY = timedelta(minutes=1)


def main(settings: Settings) -> None:
    """Be the worker process: `run`, in a process set up for many small tasks.

    Raises:
        GoalkeeperError: as `run` does.
    """
    # What is imported stays: not searching it for garbage again and again saves a seventh of the
    # worker's time in a fan-out.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    uvloop.run(run(settings))


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain.

    Raises:
        InvalidSettings: identities, policy or a contract folder is wrong.
        CredentialDenied: the Vault login was refused.
        ServiceUnavailable, VaultUnavailable: Temporal or Vault does not answer.
    """
    configure_logging("worker", level=settings.log_level)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        vault = await Vault.from_file(
            settings.vault_address, settings.state / "run" / "worker.login.json"
        )
        stack.push_async_callback(vault.aclose)
        client = await connect(settings, interceptors=tracing(settings, "worker"))
        async with serving(settings, client, vault):
            with serve_health(settings.worker_metrics_port):
                log.info("worker ready", task_queue=settings.task_queue)
                await stop.wait()
                log.info("worker draining", grace_seconds=settings.graceful_shutdown_seconds)


@asynccontextmanager
async def serving(settings: Settings, client: Client, vault: Leaser) -> AsyncIterator[Parts]:
    """A worker on the task queue for the length of the block."""
    async with AsyncExitStack() as stack:
        engine = Engine(settings.docker_host)
        stack.callback(engine.close)
        git = GitConnector(settings)
        sandbox = SandboxConnector(settings, git.export, engine)
        audit = AuditLog.open(settings.audit_file)
        stack.push_async_callback(audit.aclose)
        ledger = Ledger.open(settings.ledger_file)
        stack.push_async_callback(ledger.aclose)

        async def release(goal_id: str) -> None:
            await sandbox.release(goal_id)

        parts = Parts(
            registry=build_registry(
                settings, git=git, containers=ServiceContainers(engine), sandbox=sandbox
            ),
            policy=PolicyEngine.load(settings.policy),
            identities=Identities.load(settings.identities_file),
            catalogue=Catalogue.load(settings),
            vault=vault,
            audit=audit,
            ledger=ledger,
            evidence=EvidenceStore(settings.evidence_folder),
            window=settings.window,
            release=release,
        )
        reaper = asyncio.create_task(_reap(sandbox))
        stack.callback(reaper.cancel)
        async with build_worker(settings, client, parts):
            yield parts


def build_worker(settings: Settings, client: Client, parts: Parts) -> Worker:
    """The Temporal worker with the measured settings."""
    return Worker(
        client,
        task_queue=settings.task_queue,
        workflows=[GoalWorkflow],
        activities=GoalActivities(parts).all,
        max_concurrent_activities=settings.worker_activities,
        max_concurrent_local_activities=settings.worker_activities,
        max_cached_workflows=settings.worker_cached_workflows,
        # The default of 3 costs 8 % on a fan-out and a third more of the server's CPU.
        max_eager_activity_reservations_per_workflow_task=settings.window,
        # A cancellation reaches the activity with the answer to a heartbeat.
        max_heartbeat_throttle_interval=timedelta(seconds=5),
        default_heartbeat_throttle_interval=timedelta(seconds=5),
        graceful_shutdown_timeout=timedelta(seconds=settings.graceful_shutdown_seconds),
    )


async def _reap(sandbox: SandboxConnector) -> None:
    """Remove containers that outlived their deadline, whoever left them."""
    while True:
        with contextlib.suppress(Exception):
            # The engine may be down; the next round looks again.
            await sandbox.reap()
        await asyncio.sleep(_REAP_EVERY.total_seconds())
