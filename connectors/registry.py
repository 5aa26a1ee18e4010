"""Which connectors there are, and which of them carries out an operation.

It builds the connectors of this package; the sandbox, which is not one of them, is handed in.
"""

import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from connectors.apps import AppsConnector
from connectors.apps_containers import Containers
from connectors.core import CoreConnector
from connectors.git import GitConnector
from connectors.notify import NotifyConnector
from goalkeeper.contracts.connector import Connector
from goalkeeper.domain.errors import NotFound
from goalkeeper.domain.operation import Operation
from goalkeeper.settings import Settings

SHIPPED: tuple[type[Connector], ...] = (
    CoreConnector,
    GitConnector,
    AppsConnector,
    NotifyConnector,
)
SANDBOX = "sandbox.runner:SandboxConnector"


class Registry(Mapping[str, Connector]):
    """Connectors by service."""

    def __init__(self, connectors: Iterable[Connector]) -> None:
        self._connectors: dict[str, Connector] = {}
        for connector in connectors:
            if connector.service in self._connectors:
                raise ValueError(f"two connectors call themselves '{connector.service}'")
            self._connectors[connector.service] = connector
        self.operations: Mapping[str, Operation] = _merged(self._connectors.values())

    def connector_for(self, operation: str) -> Connector:
        """Who carries an operation out.

        Raises:
            NotFound: nobody here does.
        """
        if operation not in self.operations:
            raise NotFound(
                f"no connector of this worker has the operation '{operation}'; "
                f"its services are {', '.join(sorted(self))}"
            )
        return self[operation.partition(".")[0]]

    def __getitem__(self, service: str) -> Connector:
        return self._connectors[service]

    def __iter__(self) -> Iterator[str]:
        return iter(self._connectors)

    def __len__(self) -> int:
        return len(self._connectors)


def build_registry(
    settings: Settings,
    *,
    git: GitConnector,
    containers: Containers,
    sandbox: Connector | None = None,
) -> Registry:
    """Every connector of one worker.

    Args:
        settings: folders, images and addresses.
        git: also where apps and sandboxes get their source from.
        containers: where apps run.
        sandbox: the connector of ``sandbox.run``, where this worker has one.
    """
    shipped: list[Connector] = [
        CoreConnector(),
        git,
        AppsConnector(containers, git.export, base_image=settings.sandbox_image),
        NotifyConnector(settings.state, settings.webhook_url),
    ]
    return Registry([*shipped, sandbox] if sandbox else shipped)


def known_operations(_: Settings | None = None) -> Mapping[str, Operation]:
    """The operations that goals can name: for compiling without an engine or a network."""
    # By name, since this package and the sandbox do not import each other; only its declaration
    # is read.
    sandbox: type[Connector] = pkgutil.resolve_name(SANDBOX)
    return _merged((*SHIPPED, sandbox))


def _merged(connectors: Iterable[type[Connector] | Connector]) -> Mapping[str, Operation]:
    merged = {name: operation for c in connectors for name, operation in c.operations.items()}
    return MappingProxyType(merged)
