"""The Cedar schema: which operations, inputs, entities and attributes a rule can name.

It describes; whether a policy fits is for `goalkeeper.policy.checking` to say.
"""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from goalkeeper.domain.operation import Operation

CONTEXT = ("compensating", "contract", "inputs", "risk", "roles")
"""The attributes of `context`."""
_TYPES = {"string": "String", "integer": "Long", "number": "Long", "boolean": "Bool"}
"""JSON Schema's words in Cedar's; a number that is not whole is not handed to Cedar at all."""


def cedar_schema(operations: Mapping[str, Operation]) -> str:
    """The whole schema, as Cedar reads it."""
    head = files("goalkeeper.library").joinpath("policy.cedarschema").read_text()
    services = sorted({name.partition(".")[0] for name in operations})
    return "\n".join(
        (
            head,
            *(f"action {json.dumps(service)};" for service in services),
            *(_action(operations[name]) for name in sorted(operations)),
        )
    )


def input_types(operation: Operation) -> dict[str, str]:
    """The inputs that rules can see, with Cedar's type for each.

    One of any type counts as text: Cedar has no word for "any".
    """
    schema = operation.inputs.model_json_schema()
    kinds = {name: _kind(found) for name, found in schema.get("properties", {}).items()}
    return {name: kind for name, kind in kinds.items() if kind is not None}


def _kind(found: Mapping[str, Any]) -> str | None:
    if found.get("$ref", "").endswith("/JsonValue"):
        return "String"
    named = [k.get("type") for k in found.get("anyOf", (found,))]
    others = [k for k in named if k != "null"]
    return _TYPES.get(str(others[0])) if len(others) == 1 else None


def _action(operation: Operation) -> str:
    # All are optional: what is bound to an earlier task's output is unknown when a goal is planned.
    inputs = "".join(
        f"      {json.dumps(name)}?: {kind},\n" for name, kind in input_types(operation).items()
    )
    service = operation.name.partition(".")[0]
    return f"""
// {operation.summary} ({operation.risk.value})
action {json.dumps(operation.name)} in [{json.dumps(service)}] appliesTo {{
  principal: [Person],
  resource: [Environment],
  context: {{
    "risk": String,
    "contract": String,
    "roles": Set<String>,
    "compensating": Bool,
    "inputs": {{
{inputs}    }},
  }},
}};"""
