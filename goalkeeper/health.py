"""The worker's ``/healthz`` and ``/metrics``, on loopback.

It answers from a thread of its own, so that a busy event loop still shows its metrics; what it
says comes from the worker.
"""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import REGISTRY, CollectorRegistry, make_wsgi_app

from goalkeeper.domain.errors import InvalidSettings


@dataclass(frozen=True)
class Report:
    """How a worker is."""

    processes: Sequence[int]
    """Process ids of those that do the work and are ready."""
    problem: str | None = None
    """What is wrong, for whoever may restart it."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Probes every second are not worth a line."""


def _application(
    report: Callable[[], Report], metrics: CollectorRegistry
) -> Callable[..., Iterable[bytes]]:
    show_metrics = make_wsgi_app(metrics)

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("PATH_INFO") == "/healthz":
            found = report()
            status = "503 Service Unavailable" if found.problem else "200 OK"
            start_response(status, [("Content-Type", "application/json")])
            shown = {"status": "degraded" if found.problem else "ok", **asdict(found)}
            return [json.dumps(shown).encode() + b"\n"]
        if environ.get("PATH_INFO") == "/metrics":
            shown_metrics: Iterable[bytes] = show_metrics(environ, start_response)
            return shown_metrics
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"/healthz or /metrics\n"]

    return answer


@contextmanager
def serve_health(
    port: int, report: Callable[[], Report], metrics: CollectorRegistry = REGISTRY
) -> Iterator[None]:
    """Serve on ``127.0.0.1:port`` for the length of the block.

    Args:
        port: where.
        report: asked at each ``/healthz``, from another thread.
        metrics: what ``/metrics`` shows.

    Raises:
        InvalidSettings: the port is taken.
    """
    try:
        server = make_server(
            "127.0.0.1",
            port,
            _application(report, metrics),
            server_class=_Server,
            handler_class=_Quiet,
        )
    except OSError as error:
        raise InvalidSettings(
            f"port {port} for the worker's metrics cannot be used ({error.strerror}): "
            "stop what listens there, or set worker_metrics_port"
        ) from None
    thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
