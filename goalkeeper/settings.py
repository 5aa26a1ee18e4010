"""Settings: where things are and how much they may use.

Read once by a composition root and handed down; nothing else reads the environment. In rising
order of precedence: the defaults below, ``stack.json`` (addresses that `goalkeeper up` chose),
``settings.toml`` in the state folder (or the file that ``GOALKEEPER_CONFIG`` names), and
environment variables ``GOALKEEPER_<NAME>``.
"""

import difflib
import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, ValidationError, field_validator

from goalkeeper.domain.base import Model
from goalkeeper.domain.errors import InvalidSettings

DEFAULT_STATE = Path("~/.local/state/goalkeeper")
PREFIX = "GOALKEEPER_"
_NOT_SETTINGS = {"CONFIG", "TOKEN", "AS"}
"""Variables that the CLI reads itself."""

DEPLOYMENT = "goalkeeper"
"""The name of the worker deployment whose versions Temporal tells apart."""

Port = Annotated[int, Field(ge=1, le=65535)]
LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
    BeforeValidator(lambda level: level.upper() if isinstance(level, str) else level),
]


class Settings(Model):
    """Everything that differs from one installation to the next."""

    state: Path = DEFAULT_STATE
    """The folder that holds the embedded stack, the audit log, evidence and logs."""
    temporal_address: str = "127.0.0.1:7233"
    temporal_namespace: str = "default"
    task_queue: str = "goalkeeper"
    temporal_ui_url: str = "http://127.0.0.1:8233"
    vault_address: str = "http://127.0.0.1:8200"
    vault_client_login: Path | None = None
    """The login file of clients (`role_id`, `secret_id`; mode 0600), which may read the payload
    keys; ``vault/client.login.json`` in the state folder when unset."""
    payload_encryption: bool = True
    """Whether what goes to Temporal is sealed; what was sealed before is read in any case."""
    ui_payloads: bool = True
    """Whether the embedded stack's Temporal UI shows payloads in clear to whoever can open it on
    this machine; if not, it shows ciphertext to all but those signed in to the console."""
    gateway_url: str = "http://127.0.0.1:8400"
    worker_metrics_port: Port = 9464
    contracts: tuple[Path, ...] = ()
    """Folders with further contracts; the shipped ones are always known."""
    policy: Path | None = None
    """A Cedar policy file instead of the shipped one, or a shipped phase: ``phase:read-only``."""
    identities: Path | None = None
    """The identities file; ``identities.yaml`` in the state folder when unset."""
    docker_host: str = "unix:///var/run/docker.sock"
    sandbox_image: str = "goalkeeper-base:1"
    sandbox_concurrency: Annotated[int, Field(ge=1, le=64)] = max(2, os.cpu_count() or 2)
    worker_activities: Annotated[int, Field(ge=1, le=1000)] = 200
    """Activities that one worker runs at a time; below `window`, a wide goal costs half as much
    again, since what finds no free place at once goes the long way through the server's queue."""
    worker_processes: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes of the worker that `goalkeeper up` starts; a second one gains nothing on two
    processors."""
    pools: tuple[Literal["connectors", "sandbox"], ...] = ()
    """Worker pools with a task queue of their own (``TASK_QUEUE-POOL``), for all workers alike."""
    deployment_version: Annotated[
        str | None, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$")
    ] = None
    """What this worker's version is called where Temporal is to tell versions apart; new goals
    then wait until one is made current."""
    worker_cached_workflows: Annotated[int, Field(ge=0, le=100_000)] = 500
    window: Annotated[int, Field(ge=1, le=500)] = 200
    """Tasks of one goal that run at a time."""
    graceful_shutdown_seconds: Annotated[float, Field(ge=0, le=600)] = 10
    webhook_url: str | None = None
    """Where `notify.send` posts besides the local feed."""
    git_hosts: tuple[str, ...] = ()
    """``host`` or ``host:port`` that git may be asked on; empty allows any."""
    git_allow_file: bool = False
    """Whether a repository may be a folder of this machine (``file:///…``)."""
    otlp_endpoint: str | None = None
    """OpenTelemetry traces go here over OTLP/HTTP; unset means none are made."""
    log_level: LogLevel = "INFO"

    @field_validator("temporal_address", "temporal_ui_url", "vault_address", "gateway_url")
    @classmethod
    def _has_a_port(cls, address: str) -> str:
        try:
            urlsplit(address if "//" in address else f"//{address}").port  # noqa: B018 - it checks
        except ValueError:
            raise ValueError(f"'{address}' has no possible port (1 to 65535)") from None
        return address

    @property
    def identities_file(self) -> Path:
        """Where people are listed."""
        return self.identities or self.state / "identities.yaml"

    @property
    def client_login_file(self) -> Path:
        """Where clients find their login to Vault."""
        return self.vault_client_login or self.state / "vault" / "client.login.json"

    @property
    def audit_file(self) -> Path:
        """The audit log's database."""
        return self.state / "audit" / "audit.sqlite"

    @property
    def ledger_file(self) -> Path:
        """Grants spent, leases alive, effects to undo."""
        return self.state / "ledger.sqlite"

    @property
    def evidence_folder(self) -> Path:
        """Artifacts by digest, and live output."""
        return self.state / "evidence"

    @property
    def logs_folder(self) -> Path:
        """One log a process."""
        return self.state / "logs"


def load_settings(
    state: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    config: Path | None = None,
    **overrides: Any,
) -> Settings:
    """Read the settings of one installation.

    Args:
        state: the state folder; else ``GOALKEEPER_STATE``, else the default.
        environ: the environment; ``os.environ`` when None.
        config: the settings file; else ``GOALKEEPER_CONFIG``, else ``settings.toml`` in `state`.
        overrides: values that win over everything.

    Raises:
        InvalidSettings: a file does not parse, a name is misspelt or a value is wrong.
    """
    env = os.environ if environ is None else environ
    chosen = state or Path(env.get(PREFIX + "STATE", str(DEFAULT_STATE)))
    folder = chosen.expanduser().absolute()
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}

    def take(values: Mapping[str, Any], where: str) -> None:
        for name, value in values.items():
            if name not in Settings.model_fields:
                raise InvalidSettings(_misspelt(name, where))
            merged[name] = value
            origin[name] = where

    take(_stack(folder), str(folder / "stack.json"))
    named = config or (Path(env[PREFIX + "CONFIG"]) if PREFIX + "CONFIG" in env else None)
    take(
        _toml(named or folder / "settings.toml", must_exist=named is not None),
        str(named or folder / "settings.toml"),
    )
    for variable in sorted(env):
        name = variable.removeprefix(PREFIX)
        if variable.startswith(PREFIX) and name not in _NOT_SETTINGS:
            take(
                {name.lower(): _from_text(name.lower(), env[variable])},
                f"environment variable {variable}",
            )
    take(overrides, "the call")
    merged["state"] = folder
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        raise InvalidSettings(
            f"setting '{name}' (from {origin.get(name, 'defaults')}) is wrong: "
            + first["msg"].removeprefix("Value error, ")
        ) from None


def _misspelt(name: str, where: str) -> str:
    close = difflib.get_close_matches(name, list(Settings.model_fields), n=1)
    hint = (
        f"; did you mean '{close[0]}'?"
        if close
        else f"; known settings: {', '.join(sorted(Settings.model_fields))}"
    )
    return f"{where}: there is no setting '{name}'{hint}"


def _from_text(name: str, text: str) -> Any:
    """Lists are written as JSON or with commas; everything else is for pydantic to read."""
    field = Settings.model_fields.get(name)
    if field is not None and str(field.annotation).startswith("tuple"):
        return _list(text)
    return text


def _list(text: str) -> Any:
    try:
        return json.loads(text) if text.startswith("[") else [t for t in text.split(",") if t]
    except ValueError:
        return text  # Not a list, as pydantic will say.


def _toml(file: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except FileNotFoundError:
        if must_exist:
            raise InvalidSettings(f"the settings file '{file}' does not exist") from None
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"{file}: not valid TOML: {error}") from None
    except OSError as error:
        raise InvalidSettings(f"cannot read the settings file '{file}': {error.strerror}") from None


def _stack(folder: Path) -> dict[str, Any]:
    file = folder / "stack.json"
    try:
        settings: dict[str, Any] = json.loads(file.read_text()).get("settings", {})
    except FileNotFoundError:
        return {}
    except NotADirectoryError:
        raise InvalidSettings(
            f"the state folder '{folder}' is not a folder; choose another with --state"
        ) from None
    except (ValueError, AttributeError, OSError):
        raise InvalidSettings(
            f"'{file}' cannot be read. Stop the stack's processes, remove the file, and start "
            "again: nothing else is lost with it."
        ) from None
    return settings
