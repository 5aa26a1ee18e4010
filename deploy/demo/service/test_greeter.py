"""The service as its users see it, over real HTTP."""

import json
import threading
import unittest
from http.client import HTTPConnection

import greeter


class GreeterTest(unittest.TestCase):
    """What each path answers."""

    def setUp(self) -> None:
        """Start the service on a free port of loopback."""
        self.server = greeter.serve("127.0.0.1", 0)
        thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        thread.start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(self.server.shutdown)

    def get(self, path: str) -> tuple[int, str]:
        """The status and text of one answer."""
        connection = HTTPConnection("127.0.0.1", self.server.server_port, timeout=5)
        self.addCleanup(connection.close)
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()

    def test_the_front_page_greets(self) -> None:
        """The greeting is polite: it ends with an exclamation mark."""
        status, text = self.get("/")
        self.assertEqual(status, 200)
        self.assertEqual(text, greeter.GREETING + "\n")
        self.assertTrue(text.strip().endswith("!"))

    def test_the_version_is_machine_readable(self) -> None:
        """Other programs read the greeting as JSON."""
        status, text = self.get("/version")
        self.assertEqual(status, 200)
        self.assertEqual(json.loads(text), {"greeting": greeter.GREETING})

    def test_a_fresh_service_is_healthy(self) -> None:
        """A deployment waits for this."""
        self.assertEqual(self.get("/healthz")[0], 200)

    def test_unknown_paths_are_not_found(self) -> None:
        """Nothing else is served."""
        self.assertEqual(self.get("/etc/passwd")[0], 404)


if __name__ == "__main__":
    unittest.main()
