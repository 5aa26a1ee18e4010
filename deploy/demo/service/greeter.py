"""A web service that greets."""

import json
import os
import signal
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GREETING = "Hello from Goalkeeper!"


def healthy() -> bool:
    """Whether the service can do its work."""
    return True


class Handler(BaseHTTPRequestHandler):
    """Answers the three paths of the service."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer one request."""
        path = self.path.partition("?")[0]
        if path == "/":
            self.answer(HTTPStatus.OK, f"{GREETING}\n", "text/plain; charset=utf-8")
        elif path == "/version":
            body = json.dumps({"greeting": GREETING}) + "\n"
            self.answer(HTTPStatus.OK, body, "application/json")
        elif path == "/healthz":
            status = HTTPStatus.OK if healthy() else HTTPStatus.SERVICE_UNAVAILABLE
            self.answer(status, f"{status.phrase}\n", "text/plain; charset=utf-8")
        else:
            self.answer(HTTPStatus.NOT_FOUND, "Not found\n", "text/plain; charset=utf-8")

    def answer(self, status: HTTPStatus, text: str, media_type: str) -> None:
        """Send one whole answer."""
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve(host: str, port: int) -> ThreadingHTTPServer:
    """A server that is listening; the caller runs it."""
    return ThreadingHTTPServer((host, port), Handler)


def main() -> None:
    """Serve until told to stop."""
    # All addresses of its container; who reaches it from outside is the engine's to say.
    server = serve("0.0.0.0", int(os.environ.get("PORT", "8080")))  # noqa: S104
    # Process 1 of a container has no default handler. shutdown() waits for the loop below to
    # end, so it must be called from another thread.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main()
