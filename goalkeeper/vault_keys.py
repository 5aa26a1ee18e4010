"""The payload keys as Vault holds them: one secret, whose fields are key id → base64 of the key.

It may not overwrite or remove one: histories that a lost key sealed could never be read again.
"""

import base64
import json
import os
from typing import Any

import hvac
from hvac import exceptions as hvac_errors
from pydantic import SecretStr, ValidationError

from goalkeeper.domain.base import Model
from goalkeeper.domain.errors import CredentialDenied
from goalkeeper.settings import Settings
from goalkeeper.vault_api import KV, PAYLOAD_KEYS, connected, mapped, read_private

_BYTES = 32
_PATCH = {"Content-Type": "application/merge-patch+json"}


class ClientLogin(Model):
    """The login that the clients of one installation share: it opens the payload keys alone."""

    role_id: str
    secret_id: SecretStr

    def disclosed(self) -> str:
        """JSON with the secret in clear: for a file of mode 0600, and nothing else."""
        return json.dumps(
            {"role_id": self.role_id, "secret_id": self.secret_id.get_secret_value()}, indent=2
        )


class HeldKeys(Model):
    """Which keys Vault holds; no values."""

    ids: tuple[str, ...] = ()
    """Oldest first; the last one is the current one."""
    version: int = 0
    """Of the secret that holds them."""
    changed_at: str | None = None
    """When the current one was added, as Vault says (RFC 3339)."""


def read_as_client(settings: Settings) -> dict[str, SecretStr]:
    """The keys, by the login of clients. Blocking.

    Raises:
        CredentialDenied: the login file is missing, readable by others, malformed or refused.
        VaultUnavailable: sealed or unreachable; retrying helps.
    """
    login = read_client_login(settings)
    address = settings.vault_address
    why = (
        f"the clients' login in '{settings.client_login_file}' may not read the payload keys, or "
        "is not this Vault's. Restart the stack (goalkeeper down, goalkeeper up) to have it made"
    )
    with connected(address) as client, mapped(address, why):
        answer = client.auth.approle.login(
            role_id=login.role_id, secret_id=login.secret_id.get_secret_value(), use_token=False
        )
        client.token = answer["auth"]["client_token"]
        return read_keys(client)


def read_client_login(settings: Settings) -> ClientLogin:
    """The login of clients.

    Raises:
        CredentialDenied: the file is missing, readable by others or malformed.
    """
    file = settings.client_login_file
    remedy = (
        "Without it the goals in Temporal, which are encrypted, can be neither written nor read. "
        "`goalkeeper up` makes it; elsewhere, set vault_client_login to such a file."
    )
    text = read_private(file, "login to Vault for clients", remedy)
    try:
        return ClientLogin.model_validate(json.loads(text))
    except (ValueError, ValidationError):
        raise CredentialDenied(f"'{file}' is not a login file: make a new one") from None


def read_keys(client: hvac.Client) -> dict[str, SecretStr]:
    """The keys themselves; hvac's errors pass."""
    answer = client.secrets.kv.v2.read_secret_version(
        PAYLOAD_KEYS, mount_point=KV, raise_on_deleted_version=True
    )
    fields: dict[str, Any] = answer["data"]["data"]
    return {key_id: SecretStr(str(value)) for key_id, value in fields.items()}


def held_keys(client: hvac.Client) -> HeldKeys:
    """Their ids alone, which may be read without the right to read the keys."""
    answer = client.read(f"{KV}/subkeys/{PAYLOAD_KEYS}")
    if answer is None:
        return HeldKeys()
    metadata = answer["data"]["metadata"]
    return HeldKeys(
        ids=tuple(sorted(answer["data"]["subkeys"], key=_number)),
        version=metadata["version"],
        changed_at=metadata["created_time"],
    )


def add_key(client: hvac.Client) -> None:
    """Add a key, which becomes the current one; hvac's errors pass.

    A patch, so that the earlier keys are never sent, and only if nobody else changed them since.
    """
    held = held_keys(client)
    key_id = f"k{max(map(_number, held.ids), default=0) + 1}"
    fields = {key_id: base64.b64encode(os.urandom(_BYTES)).decode()}
    if held.version == 0:
        client.secrets.kv.v2.create_or_update_secret(PAYLOAD_KEYS, fields, cas=0, mount_point=KV)
        return
    client.adapter.request(
        "patch",
        f"/v1/{KV}/data/{PAYLOAD_KEYS}",
        headers=_PATCH,
        json={"options": {"cas": held.version}, "data": fields},
    )


def _number(key_id: str) -> int:
    digits = key_id.removeprefix("k")
    if not digits.isdecimal():
        raise hvac_errors.InvalidRequest(f"the payload keys hold a field '{key_id[:40]}'")
    return int(digits)
