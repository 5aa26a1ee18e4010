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


@pytest.mark.parametrize("name", ["read-file", "deploy-branch", "promote-branch"])
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
    """Completion lists them, and what the interpreter does itself."""
    uses = SCHEMA["$defs"]["TaskSpec"]["properties"]["uses"]
    assert {"approval", "goal", "wait"} <= set(uses["enum"])
    assert len(uses["enum"]) == len(uses["markdownEnumDescriptions"]) == len(OPERATIONS) + 3


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


def test_a_wait_takes_one_of_its_words() -> None:
    """Like every operation, it is told apart by `uses`."""
    assert errors({"id": "w", "uses": "wait", "with": {"for": "PT5M"}}) == []
    assert errors({"id": "w", "uses": "wait", "with": {"for": "${{ inputs.long }}"}}) == []
    assert errors({"id": "w", "uses": "wait", "with": {"signal": "x", "timeout": 60}}) == []
    assert errors({"id": "w", "uses": "wait", "with": {"fro": "PT5M"}})
    assert errors({"id": "w", "uses": "wait", "with": {"for": "PT5M", "signal": "x"}})
    assert errors({"id": "w", "uses": "wait"})


def test_a_child_goal_takes_a_contract_and_inputs() -> None:
    """Whatever the inputs are."""
    child = {"id": "c", "uses": "goal", "with": {"contract": "x", "inputs": {"n": [1]}}}
    assert errors(child) == []
    assert errors({**child, "with": {"contract": "x", "input": {}}})
    assert errors({**child, "with": {"inputs": {}}})


def test_every_shape_of_a_task_is_described() -> None:
    """So that editors explain it, in `tasks` as in `finally`."""
    task = {
        "id": "a",
        "uses": "note.take",
        "run": "all_done",
        "when": "${{ states.b == 'Failed' }}",
        "for_each": "${{ inputs.names }}",
        "width": 3,
        "on_failure": "continue",
        "lock": "prod",
        "schedule_to_close_timeout": "PT1H",
        "retry": {"non_retryable": ["RateLimited"]},
    }
    assert errors(task, **{"finally": [task], "on_failure": "stop"}) == []
    assert errors({**task, "lock": {"name": "x", "while_waiting": "hold", "hold_for": 60}}) == []
    assert errors({**task, "for_each": [1, "x", {}], "when": False}) == []
    for wrong in (
        {"run": "any"}, {"when": "x"}, {"width": 0}, {"on_failure": "ignore"},
        {"lock": {"nam": "x"}}, {"for_each": 3},
    ):  # fmt: skip
        assert errors({**task, **wrong}), wrong
        assert errors({"id": "b", "uses": "note.take"}, **{"finally": [{**task, **wrong}]}), wrong
    properties = SCHEMA["$defs"]["TaskSpec"]["properties"]
    told = {"id", "uses", "credentials"}
    assert [k for k, v in properties.items() if "description" not in v and k not in told] == []
