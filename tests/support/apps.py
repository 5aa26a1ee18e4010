"""Deployed apps as the engine and their users see them, past the product's own bookkeeping."""

import contextlib
from dataclasses import dataclass
from typing import Any

import docker
import httpx
from docker.errors import APIError

from connectors.apps_containers import LABEL_APP


@dataclass(frozen=True)
class DeployedApp:
    """One app of one test, on the real engine."""

    name: str
    engine: docker.APIClient

    def containers(self) -> list[dict[str, Any]]:
        """Its replicas, running or not."""
        found: list[dict[str, Any]] = self.engine.containers(
            all=True, filters={"label": f"{LABEL_APP}={self.name}"}
        )
        return found

    async def greetings(self) -> set[str]:
        """What its replicas answer at their front page."""
        ports = [p["PublicPort"] for c in self.containers() for p in c["Ports"]]
        async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
            answers = [await http.get(f"http://127.0.0.1:{port}/") for port in ports]
        return {a.raise_for_status().text.strip() for a in answers}

    def remove(self) -> None:
        """Its containers and images; what is gone is fine."""
        with contextlib.suppress(APIError):
            for container in self.containers():
                self.engine.remove_container(container["Id"], force=True)
            for image in self.engine.images(f"goalkeeper-app-{self.name}"):
                self.engine.remove_image(image["Id"], force=True)
