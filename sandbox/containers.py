"""Long-running services in containers on the local engine: built, published on loopback, removed.

It runs what it is told to run; which service needs which containers is the caller's affair.
"""

import asyncio
import io
import json
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import docker
import structlog
from docker.errors import APIError

from goalkeeper.domain.base import Json, digest_of
from goalkeeper.domain.errors import Conflict, InvalidGoal, NotFound, OperationFailed
from sandbox.engine import Engine, labels_filter
from sandbox.spec import LABEL_KIND, LABEL_SPEC, USER, hardened

log = structlog.get_logger(__name__)

LOOPBACK = "127.0.0.1"
NETWORK = "goalkeeper-services"
_LABEL_BUILD = "goalkeeper.build"
_APP = "/app"
_STOP_SECONDS = 5
_TRIES = 50
_KIND = {LABEL_KIND: "service"}


@dataclass(frozen=True)
class RunningContainer:
    """A service's container as it is now."""

    id: str
    name: str
    host: str
    port: int
    """On `host`; 0 while it is not running. A restart may change it."""
    labels: Mapping[str, str]
    image_id: str
    state: str
    """The engine's word: running, exited, restarting, …"""


class ServiceContainers:
    """Builds and runs services; each name is one container at most.

    Args:
        engine: the engine to use.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def build(
        self,
        name: str,
        base_image: str,
        source_tar: bytes,
        command: Sequence[str],
        labels: Mapping[str, str],
    ) -> str:
        """An image of `base_image` with the files under ``/app``; the same inputs, the same id.

        Nothing is executed and nothing is fetched while it is built.

        Args:
            name: the image's repository name; its tag follows from the content.
            base_image: a local image.
            source_tar: an uncompressed tar.
            command: what a container of it runs, in ``/app``.
            labels: further labels of the image.

        Returns:
            The image's id, ``sha256:…``.

        Raises:
            InvalidGoal: the base image is not there, or the tar is no tar.
        """
        try:
            base = await self._engine.image_id(base_image)
        except NotFound as error:
            raise InvalidGoal(error.message) from None
        recipe: dict[str, Json] = {
            "base": base,
            "source": digest_of(source_tar),
            "command": list(command),
            "labels": dict(labels),
        }
        content = digest_of(recipe)
        tag = f"{name}:{content.removeprefix('sha256:')[:12]}"
        if await self._built(tag) == content:
            return await self._engine.image_id(tag)
        marks = {**labels, _LABEL_BUILD: content}
        context = _context(base, source_tar, command)
        await self._engine.call(lambda api: _build(api, tag, context, marks))
        log.info("service.built", image=tag)
        return await self._engine.image_id(tag)

    async def image_exists(self, image_id: str) -> bool:
        """Whether the engine holds the image."""
        try:
            await self._engine.image_id(image_id)
        except NotFound:
            return False
        return True

    async def run(
        self,
        name: str,
        image_id: str,
        *,
        command: Sequence[str] | None = None,
        labels: Mapping[str, str],
        environment: Mapping[str, str],
        container_port: int,
        memory_mb: int = 256,
    ) -> RunningContainer:
        """Make sure that a container of this name runs this image in this way.

        One that does already is left alone; one that runs something else is replaced.

        Raises:
            InvalidGoal: the image is not there or cannot start.
            Conflict: another caller runs something else under this name.
        """
        spec = digest_of(
            {
                "image": image_id,
                "command": list(command or ()),
                "labels": dict(labels),
                "environment": dict(environment),
                "port": container_port,
                "memory_mb": memory_mb,
            }
        )
        host = hardened(memory_mb=memory_mb, cpus=1, pids=256) | {
            "network_mode": NETWORK,
            "port_bindings": {container_port: (LOOPBACK,)},
            "restart_policy": {"Name": "unless-stopped"},
            "tmpfs": {"/tmp": "rw,noexec,nosuid,nodev,size=64m"},  # noqa: S108  (the container's)
        }
        config = {
            "image": image_id,
            "command": list(command) if command else None,
            "environment": {"HOME": "/tmp", **environment},  # noqa: S108  (the container's own)
            "user": USER,
            "labels": {**labels, **_KIND, LABEL_SPEC: spec},
            "ports": [container_port],
        }
        for _ in range(_TRIES):
            found = await self._find(name)
            if found is not None and found["Config"]["Labels"].get(LABEL_SPEC) == spec:
                return await self._started(str(found["Id"]))
            if found is not None:
                await self.stop_and_remove(name)
            try:
                return await self._started(await self._create(name, config, host))
            except Conflict:
                # A lost attempt at the same work is still under way on the engine: soon visible.
                await asyncio.sleep(0.1)
        raise Conflict(f"the container '{name}' is being replaced by somebody else; try again")

    async def list(self, labels: Mapping[str, str]) -> list[RunningContainer]:
        """Every container, running or not, that has all of the labels; by name."""
        wanted = labels_filter({**labels, **_KIND})

        def look(api: docker.APIClient) -> list[dict[str, Any]]:
            found = api.containers(all=True, filters=wanted)
            return [api.inspect_container(c["Id"]) for c in found]

        return sorted(map(_described, await self._engine.call(look)), key=lambda c: c.name)

    async def stop_and_remove(self, name: str) -> None:
        """Ask it to stop, then remove it; gone already is fine."""
        try:
            await self._engine.call(lambda api: api.stop(name, timeout=_STOP_SECONDS))
        except NotFound:
            return
        await self._engine.remove(name)

    async def logs(self, name: str, tail: int = 100) -> str:
        """The last lines that it printed.

        Raises:
            NotFound: there is no such container.
        """
        raw: bytes = await self._engine.call(lambda api: api.logs(name, tail=tail))
        return raw.decode(errors="replace")

    async def _built(self, tag: str) -> str | None:
        """The recipe's digest of an image that is there."""
        found = await self._engine.call(
            lambda api: api.images(filters={"reference": tag, "dangling": False})
        )
        return (found[0]["Labels"] or {}).get(_LABEL_BUILD) if found else None

    async def _find(self, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = await self._engine.call(lambda api: api.inspect_container(name))
        except NotFound:
            return None
        return found

    async def _create(self, name: str, config: dict[str, Any], host: dict[str, Any]) -> str:
        def create(api: docker.APIClient) -> str:
            settings = api.create_host_config(**host)
            return str(api.create_container(name=name, host_config=settings, **config)["Id"])

        if not await self.image_exists(config["image"]):
            raise InvalidGoal(f"the image '{config['image']}' is not on the engine; build it again")
        await self._engine.call(_ensure_network)
        return await self._engine.call(create)

    async def _started(self, container: str) -> RunningContainer:
        """Start it, where it is not running, and describe it."""

        def start(api: docker.APIClient) -> dict[str, Any]:
            api.start(container)
            found: dict[str, Any] = api.inspect_container(container)
            return found

        try:
            return _described(await self._engine.call(start))
        except OperationFailed as error:
            await self._engine.remove(container)
            raise InvalidGoal(f"the service cannot start: {error.message}") from None


def _ensure_network(api: docker.APIClient) -> None:
    """The services' own bridge: no way to each other and, without address translation, none out.

    A published port still answers, since the engine's proxy stands on the bridge itself.
    """
    if api.networks(names=[f"^{NETWORK}$"]):
        return
    try:
        api.create_network(
            NETWORK,
            driver="bridge",
            check_duplicate=True,
            labels=dict(_KIND),
            options={
                "com.docker.network.bridge.enable_icc": "false",
                "com.docker.network.bridge.enable_ip_masquerade": "false",
            },
        )
    except APIError as error:
        if error.status_code != 409:
            raise
        # Another replica's start was faster.


def _context(base: str, source_tar: bytes, command: Sequence[str]) -> bytes:
    """A build context: our recipe and the caller's tar, which the engine unpacks."""
    recipe = (
        f"FROM {base}\nADD source.tar {_APP}/\nWORKDIR {_APP}\nUSER {USER}\n"
        f"ENTRYPOINT []\nCMD {json.dumps(list(command))}\n"
    )
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in (("Dockerfile", recipe.encode()), ("source.tar", source_tar)):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _build(api: docker.APIClient, tag: str, context: bytes, labels: dict[str, str]) -> None:
    said = api.build(
        fileobj=io.BytesIO(context),
        custom_context=True,
        tag=tag,
        labels=labels,
        network_mode="none",
        rm=True,
        forcerm=True,
        decode=True,
    )
    for line in said:
        if "error" in line:
            reason = re.sub(r"\s+", " ", str(line["error"]))[:300]
            raise InvalidGoal(f"the image '{tag}' cannot be built: {reason}")


def _described(found: dict[str, Any]) -> RunningContainer:
    """What the engine says, in our words."""
    bindings = [
        b for many in (found["NetworkSettings"]["Ports"] or {}).values() for b in many or ()
    ]
    return RunningContainer(
        id=found["Id"],
        name=found["Name"].lstrip("/"),
        host=LOOPBACK,
        port=int(bindings[0]["HostPort"]) if bindings else 0,
        labels=found["Config"]["Labels"] or {},
        image_id=found["Image"],
        state=found["State"]["Status"],
    )
