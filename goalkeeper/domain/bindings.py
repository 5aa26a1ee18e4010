"""Places inside a task's inputs: JSON Pointers, and the values that later outputs put there.

It is pure and fast, since the workflow calls `resolve` before every task.
"""

from collections.abc import Collection, Mapping
from typing import Any

from goalkeeper.domain.base import Json
from goalkeeper.domain.errors import InvalidGoal
from goalkeeper.domain.expressions import evaluate
from goalkeeper.domain.plan import PlanTask
from goalkeeper.domain.shapes import Path


def pointer(path: Path) -> str:
    """The JSON Pointer (RFC 6901) of a path."""
    return "".join("/" + str(p).replace("~", "~0").replace("/", "~1") for p in path)


def resolve(task: PlanTask, scope: Mapping[str, Any]) -> dict[str, Json]:
    """The inputs that a task runs with, once everything it refers to has run.

    Args:
        task: from the plan; left as it is.
        scope: what expressions see, as `PlanTask.bindings` says. Parts of it stand in the answer
            uncopied.

    Raises:
        InvalidGoal: an expression has no value, or null where the operation needs one.
    """
    if not task.bindings:
        return task.inputs
    values: dict[str, Json] = {}
    for place, expression in task.bindings.items():
        try:
            value = evaluate(expression, scope)
        except InvalidGoal as error:
            raise InvalidGoal(f"task '{task.id}', input {place}: {error.message}") from None
        if value is None and place not in task.nullable:
            raise InvalidGoal(
                f"task '{task.id}' needs a value at {place}, but `{expression[:200]}` is null: "
                "an earlier task did not answer what the contract expects of it"
            )
        values[place] = value
    resolved: dict[str, Json] = replaced(task.inputs, values)
    return resolved


def replaced(value: Any, values: Mapping[str, Json]) -> Any:
    """A copy of a JSON value with others put at the given pointers, which must exist in it."""
    parents = {p[:i] for p in values for i, sign in enumerate(p) if sign == "/"}
    return _replaced(value, "", values, parents)


def _replaced(value: Any, at: str, values: Mapping[str, Json], parents: Collection[str]) -> Any:
    if at in values:
        return values[at]
    if at not in parents:
        return value
    if isinstance(value, Mapping):
        return {k: _replaced(v, at + pointer((k,)), values, parents) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(v, f"{at}/{i}", values, parents) for i, v in enumerate(value)]
    return value
