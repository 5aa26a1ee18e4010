"""Example values: what an operation might answer, made from the schema of its outputs.

It is deterministic and knows no operation; an example has the right form and no meaning.
"""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from goalkeeper.domain.base import Json
from goalkeeper.domain.shapes import Path, alternatives_at, shape

_TEXTS = (
    "example",
    "/example",
    "https://example.com/example",
    "0" * 40,
    "0" * 12,
    "sha256:" + "0" * 64,
    "0",
)
_FORMATS = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "duration": "PT1M",
    "uri": "https://example.com/example",
    "uuid": "00000000-0000-0000-0000-000000000000",
}
_DEEPEST = 8


def example(model: type[BaseModel]) -> dict[str, Json]:
    """An example of a model, as JSON."""
    made = _value(shape(model, "serialization"), (), 0)
    return made if isinstance(made, dict) else {}


def _value(root: Mapping[str, Any], path: Path, depth: int) -> Json:
    schemas = alternatives_at(root, path)
    schema = next((s for s in schemas if s.get("type") != "null"), {})
    for word in ("const", "default"):
        if schema.get(word) is not None:
            given: Json = schema[word]
            return given
    for word in ("examples", "enum"):
        if schema.get(word):
            first: Json = schema[word][0]
            return first
    match schema.get("type"):
        case "object" if depth < _DEEPEST:
            names = schema.get("properties", {})
            return {n: _value(root, (*path, n), depth + 1) for n in names}
        case "array" if depth < _DEEPEST:
            return [_value(root, (*path, i), depth + 1) for i in range(_length(schema))]
        case "string":
            return _text(schema)
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return True
    return None


def _length(schema: Mapping[str, Any]) -> int:
    return max(int(schema.get("minItems", 0)), 1)


def _number(schema: Mapping[str, Any]) -> Json:
    least = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    most = schema.get("maximum", 1 if schema.get("exclusiveMinimum") is None else least + 1)
    return min(max(1, int(least)), int(most)) if most >= 1 or least > 0 else int(least)


def _text(schema: Mapping[str, Any]) -> str:
    shortest, longest = int(schema.get("minLength", 0)), int(schema.get("maxLength", 10_000))
    known = _FORMATS.get(schema.get("format", ""))
    for text in (known, *_TEXTS) if known else _TEXTS:
        fits = re.search(schema.get("pattern", ""), text) is not None
        if fits and shortest <= len(text) <= longest:
            return text
    return "x" * max(shortest, 1)
