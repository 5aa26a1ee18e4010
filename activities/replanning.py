"""A pending task with other inputs: validated, pinned and judged like one that is planned.

It changes no more than the inputs; that they differ is for the workflow to show to people.
"""

from collections.abc import Mapping, Sequence

from goalkeeper.domain.base import Json
from goalkeeper.domain.errors import InvalidGoal
from goalkeeper.domain.expressions import Template
from goalkeeper.domain.operation import Operation
from goalkeeper.domain.plan import BUILT_IN, PlanTask
from goalkeeper.domain.shapes import Path
from goalkeeper.domain.taskinputs import BoundInputs, objections

_TOLD = 5


def check_changeable(task: PlanTask, inputs: Mapping[str, Json]) -> None:
    """Refuse what cannot be changed by giving other inputs.

    Raises:
        InvalidGoal: the task has no inputs of its own, or they are not for people to choose.
    """
    if task.operation in BUILT_IN:
        raise InvalidGoal(
            f"task '{task.id}' is carried out by the workflow itself: only the inputs of an "
            "operation can be changed"
        )
    if task.undoes is not None:
        raise InvalidGoal(f"task '{task.id}' undoes what was done, as the ledger says: it is fixed")
    unknown = sorted(set(inputs) - set(task.inputs))
    if unknown:
        raise InvalidGoal(
            f"task '{task.id}' ({task.operation}) has no input '{unknown[0][:80]}'; it has "
            f"{', '.join(sorted(task.inputs)) or 'none'}"
        )


def changed(task: PlanTask, inputs: Mapping[str, Json], operation: Operation) -> PlanTask:
    """The task with other inputs: values, which take the place of expressions too.

    Raises:
        InvalidGoal: the operation does not take them.
    """
    kept = {p: e for p, e in task.bindings.items() if _first(p) not in inputs}
    bound = BoundInputs(
        inputs={**task.inputs, **inputs},
        bindings=kept,
        nullable=tuple(p for p in task.nullable if p in kept),
    )
    waiting: dict[Path, Template] = {_path(p, bound.inputs): Template(()) for p in kept}
    wrong = [
        f"{'.'.join(map(str, path)) or 'the inputs'}: {words}"
        for path, words, _ in objections(operation, bound, waiting)
    ]
    if wrong:
        raise InvalidGoal(f"task '{task.id}' ({operation.name}): {'; '.join(wrong[:_TOLD])}")
    return task.model_copy(
        update={"inputs": bound.inputs, "bindings": bound.bindings, "nullable": bound.nullable}
    )


def _first(pointer: str) -> str:
    return _unescaped(pointer.split("/")[1])


def _path(pointer: str, inputs: Json) -> Path:
    """A pointer as a path: numbers where there is a list."""
    path: list[str | int] = []
    at: Json = inputs
    for part in map(_unescaped, pointer.split("/")[1:]):
        path.append(int(part) if isinstance(at, Sequence) and not isinstance(at, str) else part)
        at = _child(at, path[-1])
    return tuple(path)


def _child(value: Json, key: str | int) -> Json:
    if isinstance(value, dict):
        return value.get(str(key))
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        return value[key]
    return None


def _unescaped(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")
