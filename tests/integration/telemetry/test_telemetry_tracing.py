"""OpenTelemetry traces of a goal, sent to a collector that listens."""

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from goalkeeper.embedded.temporal import TemporalServer
from goalkeeper.settings import load_settings
from goalkeeper.telemetry import tracing
from tests.support.engine import plan_of, running_engine


class Collector:
    """Takes OTLP over HTTP, and remembers the spans' names."""

    def __init__(self) -> None:
        self.spans: list[str] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = ExportTraceServiceRequest.FromString(body)
                for resource in request.resource_spans:
                    for scope in resource.scope_spans:
                        collector.spans += [s.name for s in scope.spans]
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector on loopback."""
    made = Collector()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()


async def test_a_goal_is_traced_when_an_endpoint_is_set(
    temporal_server: TemporalServer,
    tmp_path: Path,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Workflow and activities become spans at the collector."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    async with running_engine(
        temporal_server.address, tmp_path, otlp_endpoint=collector.endpoint
    ) as engine:
        handle = await engine.submit(plan_of({"id": "a", "uses": "fake.write"}))
        await engine.result(handle)
        async with asyncio.timeout(15):
            while "RunActivity:connector.execute" not in collector.spans:  # noqa: ASYNC110 - a thread
                await asyncio.sleep(0.02)
    assert "StartWorkflow:GoalWorkflow" in collector.spans


def test_without_an_endpoint_nothing_is_traced(tmp_path: Path) -> None:
    """No interceptor, no exporter, no cost."""
    assert tracing(load_settings(tmp_path, environ={}), "worker") == []
