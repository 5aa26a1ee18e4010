"""What holds for every connector, the sandbox included."""

import inspect
import pkgutil
from collections.abc import Mapping

import pytest
from pydantic import SecretStr

from connectors.base import ServiceConnector, from_os_error, operations
from connectors.core import CoreConnector, Value
from connectors.git import GitConnector
from connectors.git_models import BranchMerged
from connectors.registry import SANDBOX, SHIPPED, Registry, build_registry, known_operations
from goalkeeper.contracts.connector import Connector
from goalkeeper.domain.base import Json, canonical
from goalkeeper.domain.errors import NotFound, OperationFailed, StoreUnavailable
from goalkeeper.domain.operation import Operation, Risk
from goalkeeper.settings import Settings
from tests.unit.connectors.conftest import COMMIT, Caller, FakeContainers

OPERATIONS = known_operations(Settings())
EVERY: tuple[type[Connector], ...] = (*SHIPPED, pkgutil.resolve_name(SANDBOX))
REPOSITORY = "https://git.example.org/greeter.git"
IMAGE = "sha256:" + "a" * 64
DEPLOYED: dict[str, Json] = {"release": "b" * 12, "image": IMAGE, "commit": COMMIT, "replicas": 1}
DONE: Mapping[str, tuple[dict[str, Json], list[dict[str, Json]]]] = {
    "git.merge_branch": (
        {"repository": REPOSITORY, "branch": "x", "expected_commit": COMMIT, "message": "Merge"},
        [
            {"commit": "d" * 40, "base_before": "e" * 40, "merged": True},
            {"commit": "d" * 40, "base_before": "e" * 40, "merged": False},
        ],
    ),
    "apps.deploy": (
        {"app": "greeter", "environment": "production", "image": IMAGE, "commit": COMMIT},
        [
            {"release": "c" * 12, "endpoints": [], "replicas": 1, "previous": None},
            {"release": "c" * 12, "endpoints": [], "replicas": 1, "previous": DEPLOYED},
        ],
    ),
}
"""For each operation that can be undone: inputs, and outputs that it may have had."""


@pytest.mark.parametrize("name", sorted(OPERATIONS))
class TestEveryOperation:
    """One operation at a time."""

    def test_it_declares_itself(self, name: str) -> None:
        """Name, a sentence for people, and a risk that policy can judge by."""
        operation = OPERATIONS[name]
        assert operation.name == name
        assert operation.summary
        assert isinstance(operation.risk, Risk)

    def test_only_harmless_operations_are_quick(self, name: str) -> None:
        """A local activity leaves no trace of its own in history."""
        operation = OPERATIONS[name]
        assert not operation.quick or (operation.risk is Risk.READ and operation.idempotent)

    def test_its_models_have_schemas_that_refuse_unknown_keys(self, name: str) -> None:
        """Editors complete them, and typing errors are seen."""
        operation = OPERATIONS[name]
        for model in (operation.inputs, operation.outputs):
            schema = model.model_json_schema()
            assert schema["additionalProperties"] is False
            assert canonical(schema)

    def test_no_input_can_hold_a_secret(self, name: str) -> None:
        """Secrets come by credential slots alone, since inputs stand in history."""
        for field in OPERATIONS[name].inputs.model_fields.values():
            assert "Secret" not in str(field.annotation)

    def test_what_undoes_it_exists_and_takes_what_it_is_given(self, name: str) -> None:
        """For every answer that the operation may have given."""
        operation = OPERATIONS[name]
        if operation.compensation is None:
            assert name not in DONE
            return
        undo = OPERATIONS[operation.compensation.operation]
        assert undo.idempotent
        assert set(undo.credentials) <= set(operation.credentials)
        given, answers = DONE[name]
        for answer in answers:
            inputs = operation.compensation.inputs(
                operation.inputs.model_validate(given), operation.outputs.model_validate(answer)
            )
            assert canonical(dict(inputs))
            undo.inputs.model_validate(inputs)

    def test_its_pins_name_inputs(self, name: str) -> None:
        """Planning freezes what is there."""
        operation = OPERATIONS[name]
        assert set(operation.pins) <= set(operation.inputs.model_fields)


@pytest.mark.parametrize("connector", EVERY, ids=lambda c: c.service)
class TestEveryConnector:
    """One service at a time."""

    def test_its_operations_are_its_own(self, connector: type[Connector]) -> None:
        """No service carries out another's operations."""
        assert all(n.partition(".")[0] == connector.service for n in connector.operations)

    def test_each_operation_has_its_method(self, connector: type[Connector]) -> None:
        """An operation that is declared is one that works."""
        if issubclass(connector, ServiceConnector):
            for name in connector.operations:
                assert inspect.iscoroutinefunction(getattr(connector, name.partition(".")[2]))


def test_services_and_operations_are_unique() -> None:
    """Nobody's operation hides another's."""
    names = [name for connector in EVERY for name in connector.operations]
    assert len(names) == len(set(names)) == len(OPERATIONS)
    assert len({connector.service for connector in EVERY}) == len(EVERY)


def test_an_operation_outside_its_service_is_refused() -> None:
    """The table of a service is closed."""
    echo = CoreConnector.operations["core.echo"]
    with pytest.raises(ValueError, match="does not fit"):
        operations("git", echo)
    with pytest.raises(ValueError, match="does not fit"):
        operations("core", echo, echo)


async def test_what_the_operating_system_refuses_is_an_error_of_ours(call: Caller) -> None:
    """A full disk is worth retrying, a missing right is not."""

    class Failing(ServiceConnector):
        service = "core"
        operations = CoreConnector.operations

        async def echo(self, *_: object) -> Value:
            raise PermissionError(13, "Permission denied")

    with pytest.raises(OperationFailed, match="Permission denied"):
        await Failing().execute(call("core.echo", {}), {})
    assert isinstance(from_os_error(OSError(28, "No space left"), "x"), StoreUnavailable)


class TestCore:
    """The operations that touch nothing."""

    @pytest.mark.parametrize("operation", ["core.echo", "core.noop"])
    @pytest.mark.parametrize("value", [None, 1, "x", {"a": [True]}])
    async def test_a_value_comes_back(self, call: Caller, operation: str, value: Json) -> None:
        """Whatever JSON it is."""
        result = await CoreConnector().execute(call(operation, {"value": value}), {})
        assert result.outputs == Value(value=value)


class TestRegistry:
    """Finding the connector of an operation."""

    def registry(self, settings: Settings, engine: FakeContainers) -> Registry:
        """What a worker without a sandbox has."""
        return build_registry(settings, git=GitConnector(settings), containers=engine)

    async def test_it_finds_and_runs_an_operation(
        self, engine: FakeContainers, call: Caller
    ) -> None:
        """By the operation's whole name."""
        registry = self.registry(Settings(), engine)
        asked = call("core.echo", {"value": "hello"})
        result = await registry.connector_for("core.echo").execute(
            asked, {"token": SecretStr("canary")}
        )
        assert result.outputs == Value(value="hello")
        assert set(registry) == {"core", "git", "apps", "notify"}

    def test_an_unknown_operation_is_not_found(self, engine: FakeContainers) -> None:
        """The message lists the services that there are."""
        registry = self.registry(Settings(), engine)
        for name in ("core.echoes", "nobody.echo"):
            with pytest.raises(NotFound, match="apps, core, git, notify"):
                registry.connector_for(name)

    def test_two_connectors_of_one_service_are_refused(self) -> None:
        """Otherwise one would silently win."""
        with pytest.raises(ValueError, match="two connectors"):
            Registry([CoreConnector(), CoreConnector()])

    def test_a_worker_offers_what_compiling_knows(self, engine: FakeContainers) -> None:
        """All but the sandbox's, which is handed in."""
        offered: Mapping[str, Operation] = self.registry(Settings(), engine).operations
        assert set(OPERATIONS) - set(offered) == {"sandbox.run"}


def test_outputs_are_models_that_survive_json() -> None:
    """What history holds can be read back."""
    merged = BranchMerged(commit="d" * 40, base_before="e" * 40, merged=True)
    assert BranchMerged.model_validate_json(merged.model_dump_json()) == merged
