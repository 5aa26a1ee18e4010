"""JSON Schemas of what Goalkeeper reads and answers, for editors and other programs.

It describes; validation itself is pydantic's.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from goalkeeper.contracts.goal import (
    CancelInput,
    ControlInput,
    DecisionSignal,
    EventSignal,
    GoalInput,
    Progress,
    Summary,
    TaskChangeInput,
    TaskControlInput,
)
from goalkeeper.domain.approval import Action, ApprovalRequest, Decision, Grant, Submission
from goalkeeper.domain.audit import AuditEvent, Checkpoint
from goalkeeper.domain.builtin import CHILD_GOAL, WAITS
from goalkeeper.domain.contract import CHILD, GATE, WAIT, Contract
from goalkeeper.domain.credential import CredentialRef
from goalkeeper.domain.dsse import Envelope
from goalkeeper.domain.evidence import Evidence
from goalkeeper.domain.goal import Failure, GoalResult, TaskStatus
from goalkeeper.domain.operation import Operation
from goalkeeper.domain.plan import Plan, PlanTask
from goalkeeper.domain.policy import Requirement, Verdict

DIALECT = "https://json-schema.org/draft/2020-12/schema"

PUBLIC: Mapping[str, type[BaseModel]] = {
    "action": Action,
    "approval-request": ApprovalRequest,
    "audit-event": AuditEvent,
    "cancel-input": CancelInput,
    "checkpoint": Checkpoint,
    "control-input": ControlInput,
    "credential-ref": CredentialRef,
    "decision": Decision,
    "decision-signal": DecisionSignal,
    "envelope": Envelope,
    "event-signal": EventSignal,
    "evidence": Evidence,
    "failure": Failure,
    "goal-input": GoalInput,
    "goal-result": GoalResult,
    "grant": Grant,
    "plan": Plan,
    "plan-task": PlanTask,
    "progress": Progress,
    "requirement": Requirement,
    "submission": Submission,
    "summary": Summary,
    "task-change-input": TaskChangeInput,
    "task-control-input": TaskControlInput,
    "task-status": TaskStatus,
    "verdict": Verdict,
}
"""The models that cross a boundary, by the name of their schema."""

_EXPRESSION = {
    "type": "string",
    "pattern": r"\$\{\{",
    "description": "${{ JMESPath over inputs, tasks, states, each and goal }}",
}


def schemas(operations: Mapping[str, Operation]) -> dict[str, dict[str, Any]]:
    """Every schema by name: those of the models, of contract files, and of each operation.

    Args:
        operations: what is installed: contract files are described with exactly these.
    """
    found = {name: _schema(model) for name, model in PUBLIC.items()}
    found["contract"] = contract_schema(operations)
    for name, operation in operations.items():
        found[f"{name}.inputs"] = _schema(operation.inputs)
        found[f"{name}.outputs"] = {
            "$schema": DIALECT,
            **operation.outputs.model_json_schema(mode="serialization"),
        }
    return dict(sorted(found.items()))


def contract_schema(operations: Mapping[str, Operation]) -> dict[str, Any]:
    """The schema of contract files, in which `with:` and `credentials:` follow from `uses:`."""
    schema = _schema(Contract)
    definitions = schema["$defs"]
    task = definitions["TaskSpec"]
    names = sorted(operations)
    task["properties"]["uses"] |= {
        "enum": [*names, GATE, CHILD, WAIT],
        "markdownEnumDescriptions": [
            *(operations[n].summary for n in names),
            "Ask people; what it covers waits for their answer.",
            CHILD_GOAL.summary,
            "Wait for a length of time, until a point in time, or for an event.",
        ],
    }
    task["properties"]["lock"]["anyOf"].append({"type": "string"})
    task["properties"]["when"]["anyOf"] = [_EXPRESSION, {"type": "boolean"}]
    inputs, shared = _operation_inputs({**operations, **WAITS, CHILD: CHILD_GOAL})
    definitions |= shared
    task["allOf"] = [
        *(_rule(operations[n], inputs[n]) for n in names),
        _rule(CHILD_GOAL, inputs[CHILD]),
        _rule(WAITS["for"], {"anyOf": [inputs[word] for word in WAITS]}),
    ]
    described: dict[str, Any] = _with_seconds(schema)
    return described


def _with_seconds(schema: Any) -> Any:
    """The schema with each duration as it may be written: ISO 8601, or a number of seconds."""
    if isinstance(schema, list):
        return [_with_seconds(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    found = {k: _with_seconds(v) for k, v in schema.items()}
    return found | {"type": ["string", "number"]} if found.get("format") == "duration" else found


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return {"$schema": DIALECT, **model.model_json_schema()}


def _operation_inputs(
    operations: Mapping[str, Operation],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """References to the operations' input schemas by name, and the definitions behind them."""
    models = {o.inputs for o in operations.values()}
    references, whole = models_json_schema(
        [(m, "validation") for m in sorted(models, key=lambda m: (m.__module__, m.__name__))],
        ref_template="#/$defs/with.{model}",
    )
    definitions = {f"with.{k}": _templated(v) for k, v in whole.get("$defs", {}).items()}
    by_name = {n: references[(o.inputs, "validation")] for n, o in operations.items()}
    return by_name, definitions


def _rule(operation: Operation, inputs: Mapping[str, Any]) -> dict[str, Any]:
    credentials = {
        "properties": {slot: True for slot in operation.credentials},
        "additionalProperties": False,
    }
    # An operation whose inputs all have defaults needs no `with:`; JSON Schema cannot see that
    # from the reference, so the model is asked.
    needed = any(f.is_required() for f in operation.inputs.model_fields.values())
    then: dict[str, Any] = {"properties": {"with": inputs, "credentials": credentials}}
    if needed:
        then["required"] = ["with"]
    return {
        "if": {"properties": {"uses": {"const": operation.name}}, "required": ["uses"]},
        "then": then,
    }


def _templated(schema: Any) -> Any:
    """A schema of values as one of what may be written: a value, or an expression instead."""
    if not isinstance(schema, Mapping):
        return schema
    changed = dict(schema)
    for word in ("properties", "patternProperties"):
        if word in schema:
            changed[word] = {k: _or_expression(v) for k, v in schema[word].items()}
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), Mapping):
            changed[word] = _or_expression(schema[word])
    for word in ("anyOf", "oneOf"):
        if word in schema:
            changed[word] = [_templated(choice) for choice in schema[word]]
    return changed


def _or_expression(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema, or an expression; as it is where the operation takes none."""
    if schema.get("expressions") is False:
        return {k: v for k, v in schema.items() if k != "expressions"}
    inner = _templated(schema)
    about = {k: inner.pop(k) for k in ("title", "description", "default") if k in inner}
    return {**about, "anyOf": [inner, _EXPRESSION]}
