"""Where apps run, as an interface, and what the labels on their containers say.

Whoever runs containers implements `Containers`; nothing here does.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from connectors.apps_models import Deployed

LABEL_APP = "goalkeeper.app"
LABEL_ENVIRONMENT = "goalkeeper.environment"
LABEL_RELEASE = "goalkeeper.release"
LABEL_DEPLOYED = "goalkeeper.deployed"
LABEL_PREVIOUS = "goalkeeper.previous"


class Container(Protocol):
    """One container of an app as the engine sees it."""

    @property
    def name(self) -> str:
        """Unique on its engine."""

    @property
    def host(self) -> str:
        """Where its port is published."""

    @property
    def port(self) -> int:
        """The published port; 0 while it is not running."""

    @property
    def labels(self) -> Mapping[str, str]:
        """Ours among them."""

    @property
    def state(self) -> str:
        """The engine's word: running, exited, restarting and so on."""


class Containers(Protocol):
    """Where apps run."""

    async def build(
        self,
        name: str,
        base_image: str,
        source_tar: bytes,
        command: Sequence[str],
        labels: Mapping[str, str],
    ) -> str:
        """An image of the source on top of the base; answers its id."""

    async def image_exists(self, image_id: str) -> bool:
        """Whether the image is still there."""

    async def run(
        self,
        name: str,
        image_id: str,
        *,
        labels: Mapping[str, str],
        environment: Mapping[str, str],
        container_port: int,
        memory_mb: int,
    ) -> Container:
        """Make sure that a container of this name runs this image."""

    async def list(self, labels: Mapping[str, str]) -> Sequence[Container]:
        """Every container that has all the labels."""

    async def stop_and_remove(self, name: str) -> None:
        """Stop and remove it; gone already is fine."""

    async def logs(self, name: str, tail: int) -> str:
        """The last lines that it printed."""


def current(there: Sequence[Container]) -> Deployed | None:
    """What is deployed, while a newer release may be coming up beside it."""
    releases = {c.labels[LABEL_RELEASE]: c for c in there}
    for container in releases.values():
        before = previous_of(container)
        if before is None or before.release not in releases:
            return deployed_of(container)
    return None


def endpoint(container: Container) -> str:
    """Where a replica answers."""
    return f"http://{container.host}:{container.port}"


def deployed_of(container: Container) -> Deployed:
    """The release that a container is part of."""
    return Deployed.model_validate_json(container.labels[LABEL_DEPLOYED])


def previous_of(container: Container) -> Deployed | None:
    """What ran before the release that a container is part of."""
    said = container.labels.get(LABEL_PREVIOUS, "")
    return Deployed.model_validate_json(said) if said else None
