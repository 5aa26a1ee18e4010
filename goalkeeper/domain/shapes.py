"""What JSON may stand at a place of a model, read from its JSON Schema.

It answers from schemas alone and never sees a value.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel

Schema: TypeAlias = Mapping[str, Any]
Path: TypeAlias = tuple[str | int, ...]

_JSON_TYPES: Mapping[type, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
    type(None): "null",
}


@lru_cache(maxsize=1024)
def shape(model: type[BaseModel], mode: Literal["validation", "serialization"]) -> Schema:
    """The JSON Schema of a model, made once."""
    return model.model_json_schema(mode=mode)


@lru_cache(maxsize=8192)
def accepted_at(model: type[BaseModel], path: Path) -> tuple[Schema, ...]:
    """What `alternatives_at` says of the values that a model validates, remembered."""
    return alternatives_at(shape(model, "validation"), path)


def listed(schema: Schema) -> Schema:
    """The schema of a list of what another one describes."""
    items = {k: v for k, v in schema.items() if k != "$defs"}
    return {"type": "array", "items": items, "$defs": schema.get("$defs", {})}


def alternatives_at(root: Schema, path: Sequence[str | int | None]) -> tuple[Schema, ...]:
    """Every schema that a value at the path may follow; none if nothing may stand there.

    None in a path means: each element of a list. An empty schema among the answers means: anything.
    """
    found = tuple(_alternatives(root, root))
    for part in path:
        found = tuple(a for schema in found for a in _step(schema, part, root))
    return found


def keys_of(schemas: Iterable[Schema]) -> tuple[str, ...]:
    """The keys that an object may have, as far as they are named."""
    return tuple(dict.fromkeys(k for s in schemas for k in s.get("properties", {})))


def types_of(schemas: Sequence[Schema]) -> frozenset[str] | None:
    """The JSON types allowed; None for any."""
    found: set[str] = set()
    for schema in schemas:
        if "enum" in schema or "const" in schema:
            values = schema.get("enum", [schema.get("const")])
            found |= {_JSON_TYPES[type(v)] for v in values}
        elif "type" in schema:
            found.add(schema["type"])
            # A duration is written as text or as a number of seconds.
            found |= {"number"} if schema.get("format") == "duration" else set()
        else:
            return None
    return frozenset(found)


def compatible(given: frozenset[str] | None, wanted: frozenset[str] | None) -> bool:
    """Whether some value of one type set may stand where the other is wanted."""
    if given is None or wanted is None:
        return True
    # 2.0 is a whole number too; the operation's model judges the value itself.
    numeric = {"integer", "number"}
    return bool(given & wanted or (given & numeric and wanted & numeric))


def _alternatives(schema: Schema, root: Schema) -> Iterator[Schema]:
    """The schema itself, or what its ``$ref`` or ``anyOf`` stand for, with its own siblings."""
    if "$ref" in schema:
        target = root["$defs"][schema["$ref"].rpartition("/")[2]]
        yield from _alternatives({**target, **_without(schema, "$ref")}, root)
        return
    for word in ("anyOf", "oneOf"):
        if word in schema:
            rest = _without(schema, word)
            for choice in schema[word]:
                yield from _alternatives({**choice, **rest}, root)
            return
    yield schema


def _without(schema: Schema, word: str) -> dict[str, Any]:
    return {k: v for k, v in schema.items() if k not in {word, "title", "default"}}


def _step(schema: Schema, part: str | int | None, root: Schema) -> Iterator[Schema]:
    if "type" not in schema:
        yield {}
    elif schema["type"] == "object" and isinstance(part, str):
        patterned = next(iter(schema.get("patternProperties", {}).values()), None)
        further = schema.get("additionalProperties", True) if patterned is None else patterned
        child = schema.get("properties", {}).get(part, further)
        if child is not False:
            yield from _alternatives({} if child is True else child, root)
    elif schema["type"] == "array" and not isinstance(part, str):
        yield from _alternatives(schema.get("items", {}), root)
