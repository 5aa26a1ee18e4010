import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from goalkeeper.domain.errors import CredentialDenied, GoalkeeperError, VaultUnavailable
from goalkeeper.embedded.ports import Ports
from goalkeeper.vault_api import SealState, connected, mapped, seal_state

SECRET = "raw-upstream-answer"


class _Stub(BaseHTTPRequestHandler):
    """Answers every request with the status that its path ends with."""

    def do_GET(self) -> None:
        status = self.server.status  # type: ignore[attr-defined] # set by the fixture
        body = json.dumps({"errors": [SECRET]}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    """A real HTTP server that answers as it is told to."""
    with HTTPServer(("127.0.0.1", 0), _Stub) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _raised(address: str) -> GoalkeeperError:
    with (
        pytest.raises(GoalkeeperError) as raised,
        connected(address, "t") as client,
        mapped(address, "why it matters"),
    ):
        client.auth.token.lookup_self()
    return raised.value


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, CredentialDenied),
        (403, CredentialDenied),
        (404, CredentialDenied),
        (429, VaultUnavailable),
        (500, VaultUnavailable),
        (501, VaultUnavailable),
        (502, VaultUnavailable),
        (503, VaultUnavailable),
        (418, VaultUnavailable),
    ],
)
def test_every_answer_becomes_one_of_our_errors_without_vaults_own_text(
    server: HTTPServer, status: int, error: type[GoalkeeperError]
) -> None:
    """Refusals are permanent, everything else is worth a retry; raw answers stay out."""
    server.status = status  # type: ignore[attr-defined] # read by the stub
    raised = _raised(f"http://127.0.0.1:{server.server_port}")
    assert type(raised) is error
    assert SECRET not in raised.message


def test_a_sealed_vault_is_called_sealed(server: HTTPServer) -> None:
    """The message says which state it is in and what to do."""
    server.status = 503  # type: ignore[attr-defined] # read by the stub
    address = f"http://127.0.0.1:{server.server_port}"
    assert "sealed" in _raised(address).message
    assert seal_state(address) is SealState.SEALED


def test_an_unreachable_vault_is_called_unreachable() -> None:
    """Nobody listens: retrying may help, and the address is named."""
    address = f"http://127.0.0.1:{Ports.free().vault}"
    raised = _raised(address)
    assert isinstance(raised, VaultUnavailable)
    assert address in raised.message
    assert seal_state(address) is SealState.UNREACHABLE


def test_no_token_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that the user's shell happens to hold is not ours to use."""
    monkeypatch.setenv("VAULT_TOKEN", "somebody's")
    with connected("http://127.0.0.1:1") as client:
        assert not client.token


def test_a_loopback_vault_is_never_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain HTTP to this machine would hand secrets to the proxy."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with connected("http://127.0.0.1:8200") as near, connected("http://vault.example") as far:
        assert near.session.trust_env is False
        assert far.session.trust_env is True
