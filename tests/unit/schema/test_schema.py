from typing import Any

import pytest
from jsonschema import Draft202012Validator

from goalkeeper.catalogue import Catalogue
from goalkeeper.domain.contract import Contract
from goalkeeper.schema import DIALECT, PUBLIC, contract_schema, schemas
from tests.unit.compiler.operations import OPERATIONS

SCHEMA = contract_schema(OPERATIONS)


def errors(*tasks: dict[str, Any], **more: Any) -> list[str]:
    """What an editor would underline."""
    value = {"name": "demo", "tasks": list(tasks), **more}
    return [e.message for e in Draft202012Validator(SCHEMA).iter_errors(value)]


def test_every_schema_is_a_schema() -> None:
    """Valid in its dialect, and there for each public model and operation."""
    found = schemas(OPERATIONS)
    assert {*PUBLIC, "contract", "git.merge_branch.inputs", "git.merge_branch.outputs"} <= set(
        found
    )
    for schema in found.values():
        assert schema["$schema"] == DIALECT
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", ["read-file", "deploy-branch"])
def test_the_shipped_contracts_satisfy_the_schema(name: str) -> None:
    """Editors do not complain where the compiler does not."""
    located = Catalogue().find(name).located
    assert list(Draft202012Validator(SCHEMA).iter_errors(located.data)) == []


def test_an_editor_sees_misspelt_keys_everywhere() -> None:
    """Of the contract, a task, an input, and of `with:` by its operation."""
    ok = {"id": "a", "uses": "note.take"}
    assert errors(ok) == []
    assert errors(ok, nme="x")
    assert errors({**ok, "need": []})
    assert errors(ok, inputs={"x": {"typ": "string"}})
    assert errors({**ok, "with": {"txt": "x"}})
    assert errors({**ok, "credentials": {"tokn": "x"}})


def test_with_follows_from_uses() -> None:
    """The same inputs are right for one operation and wrong for another."""
    inputs = {"repository": "r", "path": "p"}
    assert errors({"id": "a", "uses": "git.read_file", "with": inputs}) == []
    assert errors({"id": "a", "uses": "apps.deploy", "with": inputs})
    assert errors({"id": "a", "uses": "git.read_file"})
    assert errors({"id": "a", "uses": "git.unknown"})


def test_an_expression_may_stand_for_any_value_but_a_command() -> None:
    """Numbers, nested fields and variables take expressions; commands do not."""
    run = {
        "command": ["x"],
        "memory_mb": "${{ inputs.m }}",
        "environment": {"A": "${{ inputs.a }}"},
    }
    source = {"repository": "${{ inputs.r }}", "commit": "c"}
    assert errors({"id": "a", "uses": "sandbox.run", "with": {**run, "source": source}}) == []
    assert (
        errors({"id": "a", "uses": "sandbox.run", "with": {**run, "source": "${{ inputs.s }}"}})
        == []
    )
    assert errors({"id": "a", "uses": "sandbox.run", "with": {**run, "memory_mb": "much"}})
    assert errors({"id": "a", "uses": "sandbox.run", "with": {**run, "command": "${{ inputs.c }}"}})


def test_operations_are_offered_with_what_they_do() -> None:
    """Completion lists them, the approval included."""
    uses = SCHEMA["$defs"]["TaskSpec"]["properties"]["uses"]
    assert "approval" in uses["enum"]
    assert len(uses["enum"]) == len(uses["markdownEnumDescriptions"]) == len(OPERATIONS) + 1


def test_every_object_of_a_contract_is_closed() -> None:
    """An open object would hide typing mistakes from editors."""
    for name, definition in {"Contract": SCHEMA, **SCHEMA["$defs"]}.items():
        if "properties" in definition:
            assert definition["additionalProperties"] is False, name


def test_what_the_schema_takes_the_model_takes() -> None:
    """Both read `with`, not the model's own name for it."""
    task = {"id": "a", "uses": "note.take", "with": {"text": "x"}}
    assert errors(task) == []
    assert Contract.model_validate({"name": "demo", "tasks": [task]}).tasks[0].with_ == {
        "text": "x"
    }
