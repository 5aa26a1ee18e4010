"""One task's ``with:``: its expressions found, checked against the operation, and bound.

It sees one task at a time; the graph belongs to `goalkeeper.domain.compiler`.
"""

import copy
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import to_jsonable_python

from goalkeeper.domain.base import Json
from goalkeeper.domain.bindings import pointer, replaced
from goalkeeper.domain.errors import InvalidContract
from goalkeeper.domain.expressions import (
    Reference,
    Template,
    has_expression,
    parse_template,
    spelt,
)
from goalkeeper.domain.operation import Operation
from goalkeeper.domain.problems import Problems, clean_location, did_you_mean, reword
from goalkeeper.domain.shapes import (
    Path,
    Schema,
    accepted_at,
    alternatives_at,
    compatible,
    keys_of,
    shape,
    types_of,
)

_TEXT = frozenset({"string"})
_LIST = frozenset({"array"})


def find_templates(value: Json, base: Path, problems: Problems) -> dict[Path, Template]:
    """Every string that holds an expression, by its path below `base`."""
    found: dict[Path, Template] = {}
    for path, text, is_key in _strings(value, ()):
        if not has_expression(text):
            continue
        if is_key:
            problems.add(base + path, "expressions stand in values, not in keys", key=True)
            continue
        try:
            found[path] = parse_template(text)
        except InvalidContract as error:
            problems.add(base + path, error.message)
    return found


def check_use(
    operation: Operation, templates: Mapping[Path, Template], problems: Problems, base: Path
) -> None:
    """Refuse expressions where the operation takes none."""
    for path in templates:
        for i in range(1, len(path) + 1):
            places = accepted_at(operation.inputs, path[:i])
            if any(s.get("expressions") is False for s in places):
                problems.add(
                    base + path,
                    f"'{path[0]}' takes no expressions, since a value could change what it means; "
                    "pass values by `environment:` and read them from there",
                )
                break


def check_reference(
    reference: Reference, source: Schema, called: str, problems: Problems, at: Path
) -> None:
    """Refuse a reference to what its source does not answer.

    Args:
        reference: from an expression.
        source: what stands at its root and name.
        called: what the source is, for the message.
        problems: takes the objection.
        at: where the expression stands.
    """
    for i, step in enumerate(reference.path):
        if alternatives_at(source, reference.path[: i + 1]):
            continue
        before = alternatives_at(source, reference.path[:i])
        where = spelt(reference.root, reference.name, *reference.path[:i])
        if not isinstance(step, str):
            why = "is no list"
        elif "array" in (types_of(before) or ()):
            why = f"is a list; write {where}[*].{step} for all of it, {where}[0].{step} for one"
        else:
            hint = did_you_mean(step, keys_of(before), known_as="fields")
            why = f"has no field '{step}'{hint}"
        problems.add(at, f"'{where}' ({called}) {why}")
        return


def types_given(template: Template, source: Schema | None) -> frozenset[str] | None:
    """The JSON types that a template may yield; None for any.

    Args:
        template: from the contract.
        source: what stands at the root and name of its `whole` reference, where that is known.
    """
    if template.is_text:
        return _TEXT
    whole = template.whole
    if whole is None or source is None:
        return None
    if None in whole.path:
        return _LIST
    return types_of(alternatives_at(source, whole.path))


def check_type(
    given: frozenset[str] | None, target: Operation, problems: Problems, at: Path, path: Path
) -> None:
    """Refuse an expression whose type the place cannot take."""
    wanted = types_of(accepted_at(target.inputs, path))
    if wanted and not compatible(given, wanted):
        problems.add(
            at,
            f"'{path[-1]}' of {target.name} takes {words_of(wanted)}, and this is "
            f"{words_of(given)}",
        )


def words_of(types: frozenset[str] | None) -> str:
    """JSON types in words."""
    return " or ".join(sorted(types - {"null"}) or ["null"]) if types else "anything"


@dataclass(frozen=True)
class BoundInputs:
    """A task's inputs as the plan holds them."""

    inputs: dict[str, Json]
    bindings: dict[str, str]
    nullable: tuple[str, ...]


def bind(
    operation: Operation,
    written: Mapping[str, Json],
    templates: Mapping[Path, Template],
    values: Mapping[str, Json],
) -> BoundInputs:
    """Put the goal's inputs in, and defaults where nothing is written.

    Raises:
        InvalidGoal: an expression over the goal's inputs has no value.
    """
    bindings: dict[str, str] = {}
    literals: dict[str, Json] = {}
    nullable = []
    for path, template in templates.items():
        place = pointer(path)
        bound = template.bind(values)
        literals[place] = bound.value
        if bound.expression is not None:
            bindings[place] = bound.expression
            allowed = types_of(accepted_at(operation.inputs, path))
            if allowed is None or "null" in allowed:
                nullable.append(place)
    inputs = replaced(written, literals) if literals else dict(written)
    return BoundInputs(_with_defaults(operation.inputs, inputs), bindings, tuple(sorted(nullable)))


def objections(
    operation: Operation, bound: BoundInputs, templates: Mapping[Path, Template]
) -> Iterator[tuple[Path, str, bool]]:
    """What the operation's own model says against the inputs: path, words, whether at the key.

    A place that is bound to an output holds null for now, so what is said about it, or about
    something that contains it, waits until its value is known.
    """
    try:
        operation.inputs.model_validate(bound.inputs)
    except ValidationError as error:
        waiting = [p for p in templates if pointer(p) in bound.bindings]
        root = shape(operation.inputs, "validation")
        for detail in error.errors(include_url=False):
            path = clean_location(detail["loc"], bound.inputs)
            kind = detail["type"]
            at_key = kind == "extra_forbidden" or "[key]" in detail["loc"]
            if not at_key and _concerns(path, waiting, kind):
                continue
            yield path, reword(detail, path, root), at_key


def _concerns(path: Path, waiting: Collection[Path], kind: str) -> bool:
    about_whole = kind in {"value_error", "assertion_error"}
    return any(path[: len(w)] == w or (about_whole and w[: len(path)] == path) for w in waiting)


def _strings(value: Json, path: Path) -> Iterator[tuple[Path, str, bool]]:
    if isinstance(value, str):
        yield path, value, False
    elif isinstance(value, Mapping):
        for key, child in value.items():
            yield (*path, key), key, True
            yield from _strings(child, (*path, key))
    elif isinstance(value, list | tuple):
        for i, child in enumerate(value):
            yield from _strings(child, (*path, i))


@lru_cache(maxsize=1024)
def _fields(model: type[BaseModel]) -> tuple[tuple[str, type[BaseModel] | None, bool, Any], ...]:
    """Key, nested model, whether there is a default, and the default as JSON."""
    return tuple(
        (
            field.alias or name,
            _nested(field.annotation),
            not field.is_required(),
            None
            if field.is_required()
            else to_jsonable_python(field.get_default(call_default_factory=True)),
        )
        for name, field in model.model_fields.items()
    )


def _nested(annotation: Any) -> type[BaseModel] | None:
    """The model of a field of type ``M`` or ``M | None``."""
    if get_origin(annotation) in {Union, UnionType}:
        models = [m for m in map(_nested, get_args(annotation)) if m is not None]
        return models[0] if len(models) == 1 else None
    return (
        annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    )


def _with_defaults(model: type[BaseModel], given: Mapping[str, Json]) -> dict[str, Json]:
    """The inputs with defaults written out, so that the plan's digest covers them."""
    complete = dict(given)
    for key, nested, optional, default in _fields(model):
        value = complete.get(key)
        if nested is not None and isinstance(value, dict):
            complete[key] = _with_defaults(nested, value)
        elif key not in complete and optional:
            complete[key] = copy.deepcopy(default) if default else default
    return complete
