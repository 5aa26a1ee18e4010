"""What the operations on apps take and answer.

Data alone: how an app is brought up belongs to `connectors.apps`.
"""

from typing import Annotated

from pydantic import Field, StringConstraints

from connectors.git_models import CommitId, Repository
from goalkeeper.domain.base import Digest, Json, Model, Name

HealthPath = Annotated[str, StringConstraints(pattern=r"^/[!-~]*$", max_length=200)]
Port = Annotated[int, Field(ge=1, le=65535)]
Release = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
Replicas = Annotated[int, Field(ge=1, le=20)]


class AppFile(Model):
    """``goalkeeper-app.json`` at the root of an app's source."""

    command: Annotated[tuple[str, ...], Field(min_length=1, max_length=64)]
    port: Port = 8080
    health_path: HealthPath = "/healthz"


class Deployed(Model):
    """What runs of an app, enough to bring it back."""

    release: Release
    image: Digest
    commit: CommitId
    replicas: Replicas
    port: Port = 8080
    health_path: HealthPath = "/healthz"


class Preview(Model):
    """What to build and where it would go."""

    app: Name
    repository: Repository
    commit: CommitId
    environment: Name
    replicas: Replicas = 1
    port: Port | None = None
    """Instead of the one in ``goalkeeper-app.json``."""
    health_path: HealthPath | None = None
    """Instead of the one in ``goalkeeper-app.json``."""


class Previewed(Model):
    """The image that would be deployed, and what that would change."""

    app: Name
    image: Digest
    """The image's id: give it to `apps.deploy`, so that what was looked at is what runs."""
    commit: CommitId
    environment: Name
    replicas: Replicas
    current: Deployed | None
    changes: tuple[str, ...]
    """Sentences for people."""
    port: Port
    health_path: HealthPath


class Deploy(Model):
    """What to run."""

    app: Name
    environment: Name
    image: Digest
    commit: CommitId
    replicas: Replicas = 1
    port: Port = 8080
    health_path: HealthPath = "/healthz"


class DeployDone(Model):
    """What runs now, and what ran before."""

    release: Release
    endpoints: tuple[str, ...]
    """``http://host:port`` of each replica."""
    replicas: Replicas
    previous: Deployed | None


class Restore(Model):
    """What to take away, and what to bring back."""

    app: Name
    environment: Name
    release: Release
    """The release to take away."""
    previous: Deployed | None = None
    """The release to bring back; none: the app was not there before."""


class Restored(Model):
    """Where the app answers now; nowhere, when it was not there before."""

    endpoints: tuple[str, ...]


class Monitor(Model):
    """What to watch, and for how long."""

    app: Name
    environment: Name
    release: Release
    seconds: Annotated[float, Field(ge=0, le=3600)] = 10
    interval: Annotated[float, Field(ge=0.05, le=300)] = 1
    max_failures: Annotated[int, Field(ge=0, le=10_000)] = 0


class Monitored(Model):
    """What was seen; an unhealthy app is an error and not an answer."""

    checks: int
    """Requests to a replica."""
    failures: int
    healthy: bool


def undo_deploy(inputs: Deploy, outputs: DeployDone) -> dict[str, Json]:
    """The inputs of `apps.restore` for a deployment."""
    previous = outputs.previous
    return {
        "app": inputs.app,
        "environment": inputs.environment,
        "release": outputs.release,
        "previous": previous.model_dump(mode="json") if previous else None,
    }
