"""Goalkeeper's dealings with Vault: logging in, leasing, revoking, signing, and its error mapping.

It may not decide who gets what: Vault's own policies do; and no secret leaves it but inside
`SecretStr`. Only this module and `goalkeeper.vault_setup` know hvac, which blocks, hence threads.
"""

import asyncio
import base64
import contextlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import hvac
import structlog
from hvac import exceptions as hvac_errors
from pydantic import SecretStr, ValidationError

from goalkeeper.domain.base import Model
from goalkeeper.domain.credential import Credentials
from goalkeeper.domain.dsse import Signature, Signer
from goalkeeper.domain.errors import CredentialDenied, GoalkeeperError, VaultUnavailable
from goalkeeper.vault_api import (
    DECISION_KEY,
    FOLDER,
    KV,
    ROLE_POLICY,
    TOKEN_ROLE,
    TRANSIT,
    SealState,
    connect,
    connected,
    mapped,
    read_private,
    seal_state,
)
from goalkeeper.vault_keys import read_keys

log = structlog.get_logger(__name__)

T = TypeVar("T")

_WRAPPED_BY = re.compile(r"auth/approle/role/goalkeeper-(worker|gateway)/secret-id")


class VaultLogin(Model):
    """What one process needs to log in, once: the secret id is wrapped and single-use."""

    role_id: str
    wrapped_secret_id: SecretStr


@dataclass(frozen=True)
class Lease:
    """Secrets of one attempt, and the accessor that ends them all."""

    accessor: str
    role: str
    expires_at: datetime
    secrets: Credentials


class Vault:
    """One process's own login to Vault, renewed in the background until `aclose`."""

    def __init__(self, address: str, token: SecretStr, ttl: timedelta | None) -> None:
        """Use a token; without a `ttl` it is lent, and renewed and ended by whoever lent it."""
        self.address = address
        self._token = token
        self._client = connect(address, token.get_secret_value())
        # Threads of its own: a slow Vault must not hold up whoever else uses the default pool.
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="vault")
        self._ended = False
        self._renewal = asyncio.create_task(self._renew(ttl), name="vault-renewal") if ttl else None

    @classmethod
    async def login(cls, address: str, login: VaultLogin) -> "Vault":
        """Unwrap the secret id and log in by AppRole.

        Raises:
            CredentialDenied: the wrapped secret id was used before, is not ours, or is refused.
            VaultUnavailable: sealed or unreachable.
        """
        auth = await asyncio.to_thread(_log_in, address, login)
        return cls(
            address, SecretStr(auth["client_token"]), timedelta(seconds=auth["lease_duration"])
        )

    @classmethod
    async def from_file(cls, address: str, file: Path) -> "Vault":
        """Log in with a login file, and remove it since it works only once.

        Raises:
            CredentialDenied: the file is missing, readable by others, malformed or used up.
            VaultUnavailable: sealed or unreachable; the file is kept.
        """
        login = read_login(file)
        try:
            vault = await cls.login(address, login)
        except CredentialDenied:
            _remove(file)
            raise
        _remove(file)
        return vault

    def lend(self) -> SecretStr:
        """This login's token, for the processes that this one starts: they live on its login."""
        return self._token

    @classmethod
    def lent(cls, address: str, token: SecretStr) -> "Vault":
        """Another process's login: it is renewed, and ended, over there."""
        return cls(address, token, None)

    @property
    def ended(self) -> bool:
        """Whether this login is known to have ended: only a new start makes another."""
        return self._ended

    async def lease(
        self,
        ref_role: str,
        slots: Sequence[str],
        *,
        ttl: timedelta,
        meta: Mapping[str, str],
        opened: Callable[[str, datetime], Awaitable[None]],
    ) -> Lease:
        """Borrow the secrets of one role under a child token of their own.

        Args:
            ref_role: the role, which names both the child's policy and the secret.
            slots: the fields to read.
            ttl: when Vault ends the child by itself.
            meta: what Vault's own audit log says about the child; no secrets.
            opened: gets accessor and expiry, and returns once they are on record. It is awaited
                before any secret is read, so that nothing is alive that the ledger does not know.

        Raises:
            CredentialDenied: this role, or one of the fields, is not there for this process.
            VaultUnavailable: sealed or unreachable; retrying helps.
        """
        auth = await self._open_child(ref_role, ttl, meta)
        accessor = auth["accessor"]
        expires_at = datetime.now(UTC) + timedelta(seconds=auth["lease_duration"])
        try:
            await opened(accessor, expires_at)
            fields = await self._call(
                f"role '{ref_role}' has no secret at '{KV}/{FOLDER}/{ref_role}', or its policy "
                f"forbids reading it. Store one: goalkeeper credential set {ref_role}",
                lambda: self._read(auth["client_token"], ref_role),
            )
            return Lease(accessor, ref_role, expires_at, _pick(ref_role, fields, slots))
        except BaseException:
            with contextlib.suppress(GoalkeeperError):
                await self.revoke(accessor)
            raise

    async def revoke(self, accessor: str) -> None:
        """End a lease and everything issued under it; one that has ended already is fine.

        Raises:
            VaultUnavailable: sealed or unreachable: retry, the lease may be alive.
            CredentialDenied: this process may not revoke.
        """

        def end() -> None:
            try:
                self._client.auth.token.revoke_accessor(accessor)
            except (hvac_errors.InvalidPath, hvac_errors.InvalidRequest):
                # Which of the two an unknown accessor gives differs between Vault and OpenBao.
                return

        await self._call("this process may not revoke leases", end)

    async def public_keys(self) -> dict[str, str]:
        """Every version of the decision key: key id → base64 of the raw public key."""
        answer = await self._call(
            f"this process may not read the public key '{DECISION_KEY}'",
            lambda: self._client.secrets.transit.read_key(DECISION_KEY, mount_point=TRANSIT),
        )
        keys: Mapping[str, Any] = answer["data"]["keys"]
        return {_key_id(version): key["public_key"] for version, key in keys.items()}

    async def payload_keys(self) -> dict[str, SecretStr]:
        """The keys that Temporal's payloads are sealed with: id → base64.

        Raises:
            CredentialDenied: this process may not read them, or there are none.
            VaultUnavailable: sealed or unreachable; retrying helps.
        """
        return await self._call(
            "this process may not read the payload keys, or there are none",
            lambda: read_keys(self._client),
        )

    def signer(self) -> Signer:
        """Whoever signs decisions: Vault Transit; only the gateway's role may."""
        return _TransitSigner(self)

    async def healthy(self) -> bool:
        """Whether Vault answers unsealed and this process's login, as far as known, holds.

        Cheap and not in Vault's audit log, so it may be asked every second; a login that ended is
        noticed by the next renewal or call.
        """
        loop = asyncio.get_running_loop()
        state = await loop.run_in_executor(self._threads, seal_state, self.address)
        return not self._ended and state is SealState.ACTIVE

    async def aclose(self) -> None:
        """Stop renewing and end this login, if it is our own, with every lease still open."""
        if self._renewal is not None:
            self._renewal.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._renewal
        if not self._ended and self._renewal is not None:
            with contextlib.suppress(GoalkeeperError):
                await self._call("", self._client.auth.token.revoke_self)
        self._ended = True
        self._threads.shutdown(wait=False)
        self._client.adapter.close()

    async def _open_child(
        self, role: str, ttl: timedelta, meta: Mapping[str, str]
    ) -> dict[str, Any]:
        work = asyncio.ensure_future(
            self._call(
                f"this process may not lease role '{role}'. Check that the role exists "
                f"(policy '{ROLE_POLICY}{role}') and that this process is a worker.",
                lambda: self._child(role, ttl, meta),
            )
        )
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # The thread cannot be stopped: let it finish, then end what nobody knows of yet.
            with contextlib.suppress(GoalkeeperError):
                await self.revoke((await work)["accessor"])
            raise

    def _child(self, role: str, ttl: timedelta, meta: Mapping[str, str]) -> dict[str, Any]:
        seconds = f"{max(1, int(ttl.total_seconds()))}s"
        answer = self._client.auth.token.create(
            role_name=TOKEN_ROLE,
            policies=[ROLE_POLICY + role],
            meta={**meta, "role": role},
            ttl=seconds,
            explicit_max_ttl=seconds,
            renewable=False,
            no_default_policy=True,
            type="service",
        )
        auth: dict[str, Any] = answer["auth"]
        return auth

    def _read(self, token: str, role: str) -> dict[str, Any]:
        child = connect(self.address, token, self._client.session)
        answer = child.secrets.kv.v2.read_secret_version(
            f"{FOLDER}/{role}", mount_point=KV, raise_on_deleted_version=True
        )
        fields: dict[str, Any] = answer["data"]["data"]
        return fields

    async def _call(self, denied: str, work: Callable[[], T]) -> T:
        """Run one hvac call in a thread, with its errors mapped.

        Raises:
            VaultUnavailable: also when this process's own login has ended, since it gets another.
            CredentialDenied: Vault says no.
        """
        try:
            return await self._in_thread(denied, work)
        except CredentialDenied:
            if not self._ended and await self._knows_us():
                raise
            self._ended = True
            raise VaultUnavailable(
                "this process's own login to Vault has ended (Vault was away for longer than the "
                "login lasts, or it was revoked). Restart the process to log in again; the "
                "embedded stack's supervisor does so by itself."
            ) from None

    async def _knows_us(self) -> bool:
        try:
            await self._in_thread("", self._client.auth.token.lookup_self)
        except CredentialDenied:
            return False
        return True

    async def _in_thread(self, denied: str, work: Callable[[], T]) -> T:
        def run() -> T:
            with mapped(self.address, denied):
                return work()

        return await asyncio.get_running_loop().run_in_executor(self._threads, run)

    async def _renew(self, ttl: timedelta) -> None:
        pause = ttl.total_seconds() / 3
        while True:
            await asyncio.sleep(pause)
            try:
                answer = await self._call("", self._client.auth.token.renew_self)
                pause = answer["auth"]["lease_duration"] / 3
            except VaultUnavailable as error:
                log.warning("vault.login_not_renewed", error=error.message)
                if self._ended:
                    return
                pause = min(pause, 5.0)
            except CredentialDenied as error:
                log.warning("vault.login_not_renewed", error=error.message)


class _TransitSigner:
    """Signs in Vault: the private key never leaves it."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def sign(self, message: bytes) -> Signature:
        """Sign with the newest version of the decision key.

        Raises:
            CredentialDenied: only the gateway may sign.
            VaultUnavailable: sealed or unreachable.
        """
        transit = self._vault._client.secrets.transit
        answer = await self._vault._call(
            f"this process may not sign with '{DECISION_KEY}'; only the gateway may",
            lambda: transit.sign_data(
                DECISION_KEY,
                hash_input=base64.b64encode(message).decode(),
                mount_point=TRANSIT,
            ),
        )
        _, version, signature = answer["data"]["signature"].split(":")
        return Signature(keyid=_key_id(version), sig=signature)


def login_file(state: Path, role: str) -> Path:
    """Where the process of a role (``worker``, ``gateway``) finds its login."""
    return state / "run" / f"{role}.login.json"


def _remove(file: Path) -> None:
    file.unlink(missing_ok=True)


def read_login(file: Path) -> VaultLogin:
    """Read a login file that nobody else can read.

    Raises:
        CredentialDenied: it is missing, readable by others or malformed.
    """
    remedy = "It works once, so each start needs a new one; `goalkeeper up` writes it."
    text = read_private(file, "login to Vault", remedy)
    try:
        return VaultLogin.model_validate(json.loads(text))
    except (ValueError, ValidationError):
        raise CredentialDenied(f"'{file}' is not a login file: make a new one") from None


def _log_in(address: str, login: VaultLogin) -> dict[str, Any]:
    # The wrapping token authenticates its own look-up and unwrapping; there is no other login yet.
    with connected(address, login.wrapped_secret_id.get_secret_value()) as client:
        with mapped(
            address,
            "ALARM: the wrapped secret id of this login is unknown: it has expired, or somebody "
            "else has unwrapped it before. If the process started in time, treat the login as "
            "stolen: look in Vault's audit log who unwrapped it. Starting again makes a new one.",
        ):
            _check_origin(client)
            secret_id = client.sys.unwrap()["data"]["secret_id"]
        client.token = ""
        with mapped(address, "AppRole login with this role id and secret id; make a new login"):
            auth: dict[str, Any] = client.auth.approle.login(
                role_id=login.role_id, secret_id=secret_id, use_token=False
            )["auth"]
        return auth


def _check_origin(client: hvac.Client) -> None:
    """A wrapping token must come from AppRole: anybody could wrap a secret id of their own."""
    answer = client.write_data("sys/wrapping/lookup", data={"token": client.token})
    path = answer["data"]["creation_path"]
    if not _WRAPPED_BY.fullmatch(path):
        raise CredentialDenied(
            f"ALARM: the wrapped secret id was made at '{path[:100]}', not by Goalkeeper's "
            "AppRoles: somebody has replaced this login. It was not used."
        )


def _pick(role: str, fields: Mapping[str, Any], slots: Sequence[str]) -> Credentials:
    missing = [slot for slot in slots if slot not in fields]
    if missing:
        raise CredentialDenied(
            f"the secret of role '{role}' has no field '{missing[0]}' (it has: "
            f"{', '.join(sorted(fields)) or 'none'}). Store it: goalkeeper credential set {role}"
        )
    return {slot: SecretStr(str(fields[slot])) for slot in slots}


def _key_id(version: str) -> str:
    """``decisions:v3`` of ``3`` or ``v3``."""
    return f"{DECISION_KEY}:v{version.removeprefix('v')}"
