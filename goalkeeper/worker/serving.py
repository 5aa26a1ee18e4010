"""One process's work: opens what activities work with, and serves the queues of its pools.

It may not know whether it is the only process or one of several.
"""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import uvloop
from temporalio.client import Client

from activities.parts import Leaser, Parts
from connectors.git import GitConnector
from connectors.registry import build_registry
from goalkeeper.audit import AuditLog
from goalkeeper.catalogue import Catalogue
from goalkeeper.contracts.goal import Pool
from goalkeeper.evidence import EvidenceStore
from goalkeeper.identities import Identities
from goalkeeper.ledger import Ledger
from goalkeeper.payloads import PayloadKeys
from goalkeeper.policy import PolicyEngine
from goalkeeper.settings import Settings
from goalkeeper.telemetry import tracing
from goalkeeper.temporal import connect
from goalkeeper.vault import Vault
from goalkeeper.worker.pools import running_workers
from sandbox.containers import ServiceContainers
from sandbox.engine import Engine
from sandbox.runner import SandboxConnector

_REAP_EVERY = timedelta(minutes=1)


def run_tuned(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end, in a process set up for many small tasks."""
    # What is imported stays: not searching it for garbage again and again saves a seventh of the
    # worker's time in a fan-out.
    gc.freeze()
    # A goal that leaves the cache is cyclic garbage, and old by then: only a full search finds it,
    # and the last number says how much may pile up before one. At 20 it was 700 MiB.
    gc.set_threshold(20_000, 10, 1)
    uvloop.run(work)


@asynccontextmanager
async def working(settings: Settings, vault: Vault, pools: Collection[Pool]) -> AsyncIterator[None]:
    """Serve for the length of the block, and drain at its end.

    Draining: nothing new is taken, what runs gets `graceful_shutdown_seconds` to end, and what has
    not ended then is given back to Temporal; its container runs on, for the next worker to adopt.

    Raises:
        InvalidSettings: identities, policy or a contract folder is wrong.
        ServiceUnavailable: Temporal does not answer.
    """
    keys = PayloadKeys(vault.payload_keys)
    client = await connect(settings, interceptors=tracing(settings, "worker"), keys=keys)
    async with serving(settings, client, vault, pools):
        yield


@asynccontextmanager
async def serving(
    settings: Settings, client: Client, vault: Leaser, pools: Collection[Pool]
) -> AsyncIterator[Parts]:
    """Workers on the queues of the pools for the length of the block."""
    async with AsyncExitStack() as stack:
        # Connected to at first use: a worker that needs no container needs no engine.
        engine = Engine(settings.docker_host)
        stack.callback(engine.close)
        git = GitConnector(settings)
        sandbox = SandboxConnector(settings, git.export, engine)
        audit = AuditLog.open(settings.audit_file)
        stack.push_async_callback(audit.aclose)
        ledger = Ledger.open(settings.ledger_file)
        stack.push_async_callback(ledger.aclose)

        async def release(goal_id: str) -> None:
            # Where sandboxes are another worker's affair, its reaper removes what is left.
            if "sandbox" in pools:
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
            pools=settings.pools,
        )
        if "sandbox" in pools:
            reaper = asyncio.create_task(_reap(sandbox))
            stack.callback(reaper.cancel)
        async with running_workers(settings, client, parts, pools):
            yield parts


async def _reap(sandbox: SandboxConnector) -> None:
    """Remove containers that outlived their deadline, whoever left them."""
    while True:
        with contextlib.suppress(Exception):
            # The engine may be down; the next round looks again.
            await sandbox.reap()
        await asyncio.sleep(_REAP_EVERY.total_seconds())
