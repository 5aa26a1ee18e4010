"""Starting and stopping: one process that works itself, or a parent of several that do.

It may not know what the work is.
"""

import asyncio
import os
from collections.abc import Collection
from contextlib import AsyncExitStack

import structlog

from goalkeeper.contracts.goal import Pool
from goalkeeper.health import Report, serve_health
from goalkeeper.settings import Settings
from goalkeeper.telemetry import configure_logging
from goalkeeper.vault import Vault, login_file
from goalkeeper.worker.parent import Parent
from goalkeeper.worker.pools import served
from goalkeeper.worker.serving import run_tuned, working
from goalkeeper.worker.signals import stop_event

log = structlog.get_logger(__name__)


def main(settings: Settings, *, pools: Collection[str] = (), processes: int | None = None) -> None:
    """Be a worker until SIGTERM or SIGINT, then drain; at a second one, end at once.

    Args:
        settings: of this installation.
        pools: which to serve; all of them when none is named.
        processes: how many processes work; as `settings` says when None.

    Raises:
        InvalidSettings: no such pool; identities, policy or a contract folder is wrong.
        CredentialDenied: the Vault login was refused.
        ServiceUnavailable, VaultUnavailable: Temporal or Vault does not answer.
    """
    chosen = served(settings, pools)
    count = processes or settings.worker_processes
    configure_logging("worker", level=settings.log_level)
    if count == 1:
        run_tuned(_alone(settings, chosen))
    else:
        asyncio.run(_several(settings, chosen, count))


async def _alone(settings: Settings, pools: Collection[Pool]) -> None:
    stop = stop_event()
    async with AsyncExitStack() as stack:
        vault = await _log_in(settings, stack)
        async with working(settings, vault, pools):

            def report() -> Report:
                return Report(processes=[os.getpid()], problem=_login_problem(vault))

            with serve_health(settings.worker_metrics_port, report):
                log.info("worker ready", task_queue=settings.task_queue, pools=pools)
                await stop.wait()
                log.info("worker draining", grace_seconds=settings.graceful_shutdown_seconds)


async def _several(settings: Settings, pools: Collection[Pool], count: int) -> None:
    stop = stop_event()
    async with AsyncExitStack() as stack:
        vault = await _log_in(settings, stack)
        parent = stack.enter_context(Parent(settings, pools, count, vault.lend()))

        def report() -> Report:
            return Report(parent.pids, _login_problem(vault) or parent.problem)

        with serve_health(settings.worker_metrics_port, report, parent.metrics):
            await parent.run(stop)


async def _log_in(settings: Settings, stack: AsyncExitStack) -> Vault:
    vault = await Vault.from_file(settings.vault_address, login_file(settings.state, "worker"))
    stack.push_async_callback(vault.aclose)
    return vault


def _login_problem(vault: Vault) -> str | None:
    """Why no task can get a credential any more, if that is so."""
    if vault.ended:
        return "this worker's login to Vault has ended; only a new start makes another"
    return None
