"""Reaching Vault: connections, the one place that maps hvac's errors, and the seal state.

It holds no login, and neither leases nor signs.
"""

import contextlib
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

import hvac
import requests
from hvac import exceptions as hvac_errors

from goalkeeper.domain.errors import CredentialDenied, VaultUnavailable

KV = "kv"
FOLDER = "goalkeeper"
"""Under `KV`: one secret a role, its fields are the slots."""
PAYLOAD_KEYS = "goalkeeper-payload-keys"
"""Under `KV`, and outside of `FOLDER`: no role's secret can take its place."""
TRANSIT = "transit"
DECISION_KEY = "decisions"
TOKEN_ROLE = "goalkeeper"  # noqa: S105 - the name of a role, not a token
ROLE_POLICY = "goalkeeper-role-"
"""Prefix of the policy that lets a child token read one role's secret, and nothing else."""
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_TIMEOUT = 10.0


class SealState(StrEnum):
    """What Vault's health end-point says, as far as a set-up cares."""

    UNREACHABLE = "unreachable"
    UNINITIALISED = "uninitialised"
    SEALED = "sealed"
    STANDBY = "standby"
    ACTIVE = "active"


def connect(address: str, token: str = "", session: requests.Session | None = None) -> hvac.Client:
    """A client that reads no token from the environment.

    A loopback address is never asked through a proxy, whatever the environment says.
    """
    if session is None:
        session = requests.Session()
        session.trust_env = urlsplit(address).hostname not in _LOOPBACK
    return hvac.Client(url=address, token=token, session=session, timeout=_TIMEOUT)


@contextlib.contextmanager
def connected(address: str, token: str = "") -> Iterator[hvac.Client]:
    """A client for a few calls, closed afterwards."""
    client = connect(address, token)
    try:
        yield client
    finally:
        client.adapter.close()


@contextlib.contextmanager
def mapped(address: str, denied: str) -> Iterator[None]:
    """Turn what hvac and requests raise into our errors.

    Args:
        address: where Vault is, for the message.
        denied: what a refusal means here and what to do about it.

    Raises:
        VaultUnavailable: sealed, unreachable, overloaded or a server error.
        CredentialDenied: refused, or nothing is there.
    """
    try:
        yield
    except (hvac_errors.Forbidden, hvac_errors.Unauthorized):
        raise CredentialDenied(f"Vault refused: {denied}") from None
    except hvac_errors.InvalidPath:
        raise CredentialDenied(f"Vault has nothing there: {denied}") from None
    except hvac_errors.InvalidRequest:
        raise CredentialDenied(f"Vault calls the request invalid: {denied}") from None
    except hvac_errors.VaultDown:
        raise VaultUnavailable(
            f"Vault at {address} is sealed, so no credential can be leased and nothing signed. "
            "Unseal it; restarting the embedded stack (goalkeeper down, goalkeeper up) does."
        ) from None
    except hvac_errors.VaultNotInitialized:
        raise VaultUnavailable(
            f"Vault at {address} is not initialised; `goalkeeper up` sets up the embedded one"
        ) from None
    except requests.RequestException as error:
        raise VaultUnavailable(
            f"Vault at {address} does not answer ({type(error).__name__}). Check that it runs: "
            "`goalkeeper status`; the call is worth retrying."
        ) from None
    except hvac_errors.VaultError as error:
        raise VaultUnavailable(
            f"Vault at {address} failed to answer ({type(error).__name__}); its log says why, "
            "a full disk for one. The call is worth retrying."
        ) from None


def read_private(file: Path, purpose: str, remedy: str) -> str:
    """The text of a login file that nobody else can read.

    Args:
        file: where it is.
        purpose: whose login it is, for the message.
        remedy: how to come by another one.

    Raises:
        CredentialDenied: it is missing, or readable by others.
    """
    try:
        mode = file.stat().st_mode
        text = file.read_text()
    except OSError as error:
        raise CredentialDenied(
            f"no {purpose}: '{file}' cannot be read ({error.strerror}). {remedy}"
        ) from None
    if mode & 0o077:
        raise CredentialDenied(
            f"'{file}' can be read by others (mode {mode & 0o777:04o}), so its login may be known. "
            "Make a new one with mode 0600."
        )
    return text


def seal_state(address: str) -> SealState:
    """Ask without a login. Never raises."""
    try:
        with connected(address) as client:
            answer = client.sys.read_health_status(method="GET")
    except requests.RequestException:
        return SealState.UNREACHABLE
    code = answer.status_code if isinstance(answer, requests.Response) else 200
    return {
        200: SealState.ACTIVE,
        429: SealState.STANDBY,
        501: SealState.UNINITIALISED,
        503: SealState.SEALED,
    }.get(code, SealState.STANDBY)
