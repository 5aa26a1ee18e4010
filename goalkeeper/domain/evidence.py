"""Evidence: a stored artifact, addressed by its SHA-256."""

from typing import Annotated

from pydantic import Field

from goalkeeper.domain.base import Digest, Model


class Evidence(Model):
    """A reference to a stored artifact: small, safe for history."""

    digest: Digest
    size: Annotated[int, Field(ge=0)]
    """Bytes."""
    media_type: str = "text/plain; charset=utf-8"
    name: str
    """What it is, for people: ``output.log``, ``preview.json``."""
