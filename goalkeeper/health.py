"""The worker's ``/healthz`` and ``/metrics``, on loopback.

It answers from a thread of its own, so that a busy event loop still shows its metrics.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from goalkeeper.domain.errors import InvalidSettings

_metrics = make_wsgi_app()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Probes every second are not worth a line."""


def _application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ.get("PATH_INFO") == "/healthz":
        start_response("200 OK", [("Content-Type", "application/json")])
        return [b'{"status": "ok"}\n']
    if environ.get("PATH_INFO") == "/metrics":
        answer: Iterable[bytes] = _metrics(environ, start_response)
        return answer
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [b"/healthz or /metrics\n"]


@contextmanager
def serve_health(port: int) -> Iterator[None]:
    """Serve on ``127.0.0.1:port`` for the length of the block.

    Raises:
        InvalidSettings: the port is taken.
    """
    try:
        server = make_server(
            "127.0.0.1", port, _application, server_class=_Server, handler_class=_Quiet
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
