"""Setting up a Vault for Goalkeeper: initialising, unsealing, policies, roles, keys and logins.

It may not lease or sign; that is `goalkeeper.vault`. Everything here is idempotent and blocking.
"""

import json
from collections.abc import Mapping
from typing import Any

from hvac import exceptions as hvac_errors
from pydantic import SecretStr

from goalkeeper.domain.base import Model
from goalkeeper.domain.errors import CredentialDenied, VaultUnavailable
from goalkeeper.vault import VaultLogin
from goalkeeper.vault_api import (
    DECISION_KEY,
    FOLDER,
    KV,
    PAYLOAD_KEYS,
    ROLE_POLICY,
    TOKEN_ROLE,
    TRANSIT,
    connect,
    connected,
    mapped,
)
from goalkeeper.vault_keys import ClientLogin, HeldKeys, add_key, held_keys

OPERATOR = "goalkeeper-operator"
_CLIENT = "goalkeeper-client"
_LOOPBACK_ONLY = ["127.0.0.0/8", "::1/128"]
_WRAP_TTL = "120s"

_SELF = {
    "auth/token/lookup-self": ["read"],
    "auth/token/renew-self": ["update"],
    "auth/token/revoke-self": ["update"],
}
_READ_PAYLOAD_KEYS = {f"{KV}/data/{PAYLOAD_KEYS}": ["read"]}
_POLICIES: Mapping[str, Mapping[str, list[str]]] = {
    "goalkeeper-worker": {
        **_SELF,
        f"auth/token/create/{TOKEN_ROLE}": ["create", "update"],
        "auth/token/revoke-accessor": ["update"],
        f"{TRANSIT}/keys/{DECISION_KEY}": ["read"],
        **_READ_PAYLOAD_KEYS,
    },
    "goalkeeper-gateway": {
        **_SELF,
        f"{TRANSIT}/sign/{DECISION_KEY}": ["update"],
        f"{TRANSIT}/keys/{DECISION_KEY}": ["read"],
        **_READ_PAYLOAD_KEYS,
    },
    # The CLI and the Python client on this machine: they write and read goals, and no more.
    _CLIENT: _READ_PAYLOAD_KEYS,
    # Whoever keeps the unseal key: may repeat the set-up, make logins and store secrets. It can
    # read no secret and sign nothing under its own name, so Vault's audit log would show it.
    OPERATOR: {
        **_SELF,
        "sys/mounts": ["read"],
        f"sys/mounts/{KV}": ["create", "update"],
        f"sys/mounts/{TRANSIT}": ["create", "update"],
        "sys/auth": ["read"],
        "sys/policies/acl/goalkeeper-*": ["create", "update"],
        f"auth/token/roles/{TOKEN_ROLE}": ["create", "update"],
        "auth/approle/role/goalkeeper-*": ["create", "read", "update"],
        f"{KV}/data/{FOLDER}/*": ["create", "update"],
        # May make the first payload key and add others; neither read one nor replace any.
        f"{KV}/data/{PAYLOAD_KEYS}": ["create", "patch"],
        f"{KV}/subkeys/{PAYLOAD_KEYS}": ["read"],
        f"{TRANSIT}/keys/{DECISION_KEY}": ["create", "read", "update"],
        f"{TRANSIT}/keys/{DECISION_KEY}/rotate": ["update"],
    },
}


class Keys(Model):
    """What initialising gave. The root token is there only until the set-up is through."""

    unseal_key: SecretStr
    root_token: SecretStr | None = None
    operator_role_id: str | None = None
    operator_secret_id: SecretStr | None = None

    def disclosed(self) -> str:
        """JSON with the secrets in clear: for a file of mode 0600, and nothing else."""
        plain = {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in self
            if value is not None
        }
        return json.dumps(plain, indent=2)


def initialise(address: str) -> Keys:
    """Initialise an empty Vault with one unseal key.

    Raises:
        VaultUnavailable: it does not answer.
        CredentialDenied: it is initialised already.
    """
    with connected(address) as client, mapped(address, "it is initialised already"):
        answer = client.sys.initialize(secret_shares=1, secret_threshold=1)
    return Keys(
        unseal_key=SecretStr(answer["keys_base64"][0]), root_token=SecretStr(answer["root_token"])
    )


def unseal(address: str, key: SecretStr) -> None:
    """Unseal; harmless when it is unsealed.

    Raises:
        CredentialDenied: the key is not this Vault's.
    """
    why = "the unseal key does not fit this Vault's storage"
    with connected(address) as client, mapped(address, why):
        client.sys.submit_unseal_key(key.get_secret_value())


class VaultAdmin:
    """A privileged login, held for the length of a `with` block and revoked at its end.

    The root token outlives a block that fails: without it the set-up could not be repeated.
    """

    def __init__(self, address: str, token: SecretStr, *, root: bool = False) -> None:
        self._address = address
        self._root = root
        self._client = connect(address, token.get_secret_value())

    @classmethod
    def of(cls, address: str, keys: Keys) -> "VaultAdmin":
        """By the root token while the set-up is not through, else as the operator.

        Raises:
            CredentialDenied: the operator's login is not in `keys`, or refused.
        """
        if keys.root_token is not None:
            return cls(address, keys.root_token, root=True)
        if keys.operator_role_id is None or keys.operator_secret_id is None:
            raise CredentialDenied("the operator's login to Vault is missing from the keys file")
        why = "the operator's login in the keys file is not valid any more"
        with connected(address) as client, mapped(address, why):
            answer = client.auth.approle.login(
                role_id=keys.operator_role_id,
                secret_id=keys.operator_secret_id.get_secret_value(),
                use_token=False,
            )
        return cls(address, SecretStr(answer["auth"]["client_token"]))

    def __enter__(self) -> "VaultAdmin":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if self._root and kind is not None:
                return
            with mapped(self._address, "revoking the operator's token"):
                self._client.auth.token.revoke_self()
        except (VaultUnavailable, CredentialDenied):
            pass  # It ends by itself within minutes, and the block's own error matters more.
        finally:
            self._client.adapter.close()

    def prepare(self) -> None:
        """Bring mounts, keys, policies and roles to what this version wants."""
        with mapped(self._address, "setting up mounts, policies and roles"):
            self._mount()
            for name, paths in _POLICIES.items():
                self._client.sys.create_or_update_acl_policy(name, _policy(paths))
            self._client.write_data(
                f"auth/token/roles/{TOKEN_ROLE}",
                data={
                    "allowed_policies_glob": [ROLE_POLICY + "*"],
                    "disallowed_policies": ["default"],
                    # Not orphans: when a worker's login ends, so does all it has leased.
                    "orphan": False,
                    "renewable": False,
                    "token_no_default_policy": True,
                },
            )
            for role in ("goalkeeper-worker", "goalkeeper-gateway"):
                self._app_role(role, secret_id_num_uses=1, secret_id_ttl="5m", token_period="1h")  # noqa: S106 - a duration
            self._app_role(OPERATOR, token_ttl="5m", token_max_ttl="10m")  # noqa: S106 - durations
            # A batch token costs no storage, and each command line takes one.
            self._app_role(_CLIENT, token_type="batch", token_ttl="60s", token_max_ttl="60s")  # noqa: S106 - no secrets
            if not held_keys(self._client).ids:
                add_key(self._client)

    def operator_login(self) -> tuple[str, SecretStr]:
        """A role id and a new secret id for the operator."""
        with mapped(self._address, "making the operator's login"):
            approle = self._client.auth.approle
            secret: dict[str, Any] = approle.generate_secret_id(OPERATOR)
            return self._role_id(OPERATOR), SecretStr(secret["data"]["secret_id"])

    def wrapped_login(self, role: str) -> VaultLogin:
        """A login for one process: its secret id wrapped, for one use, for two minutes.

        Args:
            role: ``worker`` or ``gateway``.
        """
        name = f"goalkeeper-{role}"
        with mapped(self._address, f"making a login for '{name}'"):
            wrapped = self._client.auth.approle.generate_secret_id(name, wrap_ttl=_WRAP_TTL)
            return VaultLogin(
                role_id=self._role_id(name),
                wrapped_secret_id=SecretStr(wrapped["wrap_info"]["token"]),
            )

    def client_login(self, known: ClientLogin | None = None) -> ClientLogin:
        """The login that all clients of this installation share; the known one while it fits."""
        with mapped(self._address, f"making a login for '{_CLIENT}'"):
            role_id = self._role_id(_CLIENT)
            if known is not None and known.role_id == role_id:
                return known
            made = self._client.auth.approle.generate_secret_id(_CLIENT)
            return ClientLogin(role_id=role_id, secret_id=SecretStr(made["data"]["secret_id"]))

    def payload_keys(self) -> HeldKeys:
        """Which payload keys there are; their values stay in Vault."""
        with mapped(self._address, "listing the payload keys"):
            return held_keys(self._client)

    def rotate_payload_key(self) -> HeldKeys:
        """Seal with a new key from now on; what earlier ones sealed stays readable."""
        with mapped(self._address, "adding a payload key; if somebody else did so now, try again"):
            add_key(self._client)
            return held_keys(self._client)

    def put_secret(self, role: str, fields: Mapping[str, SecretStr]) -> None:
        """Store the secret of a role, replacing all its fields, and let workers lease it."""
        path = f"{FOLDER}/{role}"
        with mapped(self._address, f"storing the secret of role '{role}'"):
            self._client.sys.create_or_update_acl_policy(
                ROLE_POLICY + role, _policy({f"{KV}/data/{path}": ["read"]})
            )
            self._client.secrets.kv.v2.create_or_update_secret(
                path,
                {slot: secret.get_secret_value() for slot, secret in fields.items()},
                mount_point=KV,
            )

    def rotate_decision_key(self) -> None:
        """Sign with a new version from now on; signatures by earlier ones stay valid."""
        with mapped(self._address, "rotating the decision key"):
            self._client.secrets.transit.rotate_key(DECISION_KEY, mount_point=TRANSIT)

    def _mount(self) -> None:
        client = self._client
        mounts = client.sys.list_mounted_secrets_engines()["data"]
        if f"{KV}/" not in mounts:
            client.sys.enable_secrets_engine("kv", path=KV, options={"version": "2"})
        if f"{TRANSIT}/" not in mounts:
            client.sys.enable_secrets_engine("transit", path=TRANSIT)
        try:
            client.secrets.transit.read_key(DECISION_KEY, mount_point=TRANSIT)
        except hvac_errors.InvalidPath:
            client.secrets.transit.create_key(DECISION_KEY, key_type="ed25519", mount_point=TRANSIT)
        if "approle/" not in client.sys.list_auth_methods()["data"]:
            client.sys.enable_auth_method("approle")

    def _app_role(self, name: str, **limits: object) -> None:
        self._client.auth.approle.create_or_update_approle(
            name,
            token_policies=[name],
            token_no_default_policy=True,
            token_bound_cidrs=_LOOPBACK_ONLY,
            secret_id_bound_cidrs=_LOOPBACK_ONLY,
            **limits,
        )

    def _role_id(self, name: str) -> str:
        answer: dict[str, Any] = self._client.auth.approle.read_role_id(name)
        return str(answer["data"]["role_id"])


def _policy(paths: Mapping[str, list[str]]) -> str:
    return json.dumps({"path": {path: {"capabilities": can} for path, can in paths.items()}})
