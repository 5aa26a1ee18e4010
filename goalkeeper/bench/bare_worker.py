"""The bare workflows' worker, in a process of its own as Goalkeeper's is.

A composition root: it wires, and measures nothing.
"""

import argparse
import asyncio
import signal
import sys

from temporalio.client import Client
from temporalio.worker import Worker, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from goalkeeper.bench.bare import WORKFLOWS, noop


def bare_runner() -> WorkflowRunner:
    """The SDK's workflow sandbox with its own settings."""
    # Importing this package anew for each workflow would burden the bare side with our imports.
    restrictions = SandboxRestrictions.default.with_passthrough_modules("goalkeeper")
    return SandboxedWorkflowRunner(restrictions=restrictions)


async def serve(address: str, namespace: str, task_queue: str) -> None:
    """Serve until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    client = await Client.connect(address, namespace=namespace)
    async with Worker(
        client,
        task_queue=task_queue,
        workflows=WORKFLOWS,
        activities=[noop],
        workflow_runner=bare_runner(),
    ):
        await stop.wait()


def main() -> int:
    """Run until SIGTERM; the exit code."""
    parser = argparse.ArgumentParser(prog="goalkeeper.bench.bare_worker", description=__doc__)
    for name in ("--address", "--namespace", "--task-queue"):
        parser.add_argument(name, required=True)
    chosen = parser.parse_args()
    asyncio.run(serve(chosen.address, chosen.namespace, chosen.task_queue))
    return 0


if __name__ == "__main__":
    sys.exit(main())
