"""Ledgers outside of the product: they count what really happened, repeated or not.

They answer and listen only, and change nothing.
"""

import json
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import docker

from connectors.apps_containers import LABEL_APP
from sandbox.spec import LABEL_GOAL, LABEL_KIND


class Receiver:
    """A webhook's receiver that keeps every post, repeated or not."""

    def __init__(self) -> None:
        self.posts: list[dict[str, str]] = []
        posts = self.posts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                posts.append(json.loads(self.rfile.read(length)))
                self.send_response(HTTPStatus.NO_CONTENT)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def of(self, goal_id: str) -> list[str]:
        """The messages of one goal."""
        return [p["message"] for p in self.posts if p["goal_id"] == goal_id]

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Starts:
    """Every container that the engine has started since, as the engine itself tells it."""

    def __init__(self, host: str) -> None:
        self._api = docker.APIClient(base_url=host, version="auto")
        self._labels: list[dict[str, str]] = []
        wanted = {"type": "container", "event": "start", "label": LABEL_KIND}
        self._stream = self._api.events(decode=True, filters=wanted)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        for event in self._stream:
            self._labels.append(event["Actor"]["Attributes"])

    def sandboxes(self, goal_id: str) -> list[str]:
        """The tasks of a goal whose containers were started, one entry a start."""
        found = [a for a in self._labels if a.get(LABEL_GOAL) == goal_id]
        return sorted(a["goalkeeper.task"] for a in found)

    def services(self, app: str) -> int:
        """How often a container of an app was started."""
        return sum(a.get(LABEL_APP) == app for a in self._labels)

    def close(self) -> None:
        """Stop listening."""
        self._stream.close()
        self._thread.join()
        self._api.close()
