import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from temporalio import workflow
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from goalkeeper.domain.errors import ServiceUnavailable
from goalkeeper.embedded import Ports, TemporalServer

CONTRACT = SearchAttributeKey.for_keyword("GoalContract")


@workflow.defn
class Waiting:
    """Ends when it is told to."""

    def __init__(self) -> None:
        self.told = False

    @workflow.run
    async def run(self) -> str:
        """Wait, then answer."""
        await workflow.wait_condition(lambda: self.told)
        return "done"

    @workflow.signal
    def go_on(self) -> None:
        """Tell it."""
        self.told = True


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def temporal(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TemporalServer]:
    """A started server."""
    server = TemporalServer(tmp_path_factory.mktemp("temporal"), Ports.free())
    await server.start()
    yield server
    await server.kill()


async def test_a_workflow_survives_a_killed_server(temporal: TemporalServer) -> None:
    """Same port, same history, the client of before: it goes on where it was."""
    client = await Client.connect(temporal.address)
    # A cache of none: what goes on is what the server kept, not what the worker remembers.
    worker = Worker(
        client,
        task_queue="q",
        workflows=[Waiting],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=0,
    )
    async with worker:
        handle = await client.start_workflow(Waiting.run, id="survivor", task_queue="q")
        await temporal.kill()
        with pytest.raises(ServiceUnavailable):
            await temporal.check()
        await temporal.start()
        await handle.signal(Waiting.go_on)
        assert await handle.result() == "done"


async def test_goals_can_be_searched_for(temporal: TemporalServer) -> None:
    """The search attributes are registered, again after every start."""
    client = await Client.connect(temporal.address)
    attributes = TypedSearchAttributes([SearchAttributePair(CONTRACT, "read-file")])
    handle = await client.start_workflow(
        "Nobody", id="searched", task_queue="none", search_attributes=attributes
    )
    async with asyncio.timeout(20):
        while not (await client.count_workflows("GoalContract = 'read-file'")).count:  # noqa: ASYNC110 - the server indexes it
            await asyncio.sleep(0.02)
    description = await handle.describe()
    assert description.status is WorkflowExecutionStatus.RUNNING


async def test_ended_goals_are_kept_for_a_month(temporal: TemporalServer) -> None:
    """The server's own default is a day."""
    client = await Client.connect(temporal.address)
    described = await client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace="default")
    )
    retention = described.config.workflow_execution_retention_ttl.ToTimedelta()
    assert retention == timedelta(days=30)


async def test_it_listens_on_loopback_only(temporal: TemporalServer) -> None:
    """Every port of it, its inner ones included."""
    assert temporal.process.pid is not None
    connections = psutil.Process(temporal.process.pid).net_connections("tcp")
    listening = {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


async def test_somebody_elses_server_on_its_port_is_not_taken_for_it(
    temporal: TemporalServer, tmp_path: Path
) -> None:
    """It says that the port is taken instead of using the other's data."""
    other = TemporalServer(tmp_path, temporal.ports)
    with pytest.raises(ServiceUnavailable, match="in use"):
        await other.start()


async def test_its_database_is_for_its_owner_alone(temporal: TemporalServer) -> None:
    """Histories are nobody else's business."""
    files = [f for f in temporal.folder.rglob("*") if f.is_file()]
    assert {oct(f.stat().st_mode & 0o077) for f in files} == {"0o0"}
