"""A goal's inputs: how a contract declares them, and the check of what a goal gives.

It neither reads expressions nor knows tasks.
"""

import difflib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    JsonValue,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import SchemaError

from goalkeeper.domain.base import Json, Model, canonical
from goalkeeper.domain.errors import InvalidGoal

LARGEST = 256 * 1024
"""Bytes of all inputs in canonical JSON: far below what Temporal carries in one payload."""

_TYPES: Mapping[str, Any] = {
    "string": StrictStr,
    "integer": StrictInt,
    "number": StrictInt | StrictFloat,
    "boolean": StrictBool,
    "array": list[JsonValue],
    "object": dict[str, JsonValue],
}
_WORDS: Mapping[str, str] = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
}


class InputSpec(Model):
    """One input of a contract."""

    type: Literal["string", "integer", "number", "boolean", "array", "object"] = "string"
    description: str = ""
    default: Json = None
    required: bool | None = None
    """Unset: required exactly when there is no default."""
    enum: tuple[Json, ...] | None = None
    pattern: str | None = None
    """A regular expression that a string must match whole."""
    minimum: float | None = None
    maximum: float | None = None
    max_length: Annotated[int, Field(ge=1, le=100_000)] = 4096
    """Characters of a string."""

    @property
    def is_required(self) -> bool:
        """Whether a goal must give it."""
        return self.default is None if self.required is None else self.required

    @model_validator(mode="after")
    def _hold_together(self) -> Self:
        """An input nobody could ever give is an error of the contract, not of the goal."""
        if self.pattern is not None and self.type != "string":
            raise ValueError(f"'pattern' is for text, and this input is of type {self.type}")
        ranged = self.minimum is not None or self.maximum is not None
        if ranged and self.type not in {"integer", "number"}:
            raise ValueError(f"'minimum' and 'maximum' are for numbers, not for type {self.type}")
        if self.pattern is not None:
            _adapter(self)
        for sample in (*(self.enum or ()), *([] if self.default is None else [self.default])):
            why = objection(self, sample)
            if why is not None:
                raise ValueError(f"the default or enum breaks the input's own rules: it {why}")
        return self


Inputs = Mapping[str, InputSpec]


def check_inputs(contract: str, specs: Inputs, given: Mapping[str, Json]) -> dict[str, Json]:
    """The inputs of a goal, complete and in the contract's order.

    Args:
        contract: the contract's name, for messages.
        specs: what it declares.
        given: what the goal gives.

    Raises:
        InvalidGoal: an input is unknown, missing or wrong; the message lists what the contract
            takes and shows an example.
    """
    problems = [_unknown(name, specs) for name in given if name not in specs]
    values: dict[str, Json] = {}
    for name, spec in specs.items():
        value = given.get(name)
        if value is None and spec.is_required:
            problems.append(f"input '{name}' ({_WORDS[spec.type]}) is missing")
        values[name] = spec.default if value is None else value
        why = None if value is None else objection(spec, value)
        if why is not None:
            problems.append(f"input '{name}' {why}")
    if not problems:
        problems = _unwieldy(values)
    if problems:
        raise InvalidGoal("\n".join([*problems[:10], usage(contract, specs)]))
    return values


def objection(spec: InputSpec, value: Json) -> str | None:
    """Why an input does not take this value, or nothing."""
    try:
        _adapter(spec).validate_python(value)
    except ValidationError as error:
        return _why(spec, value, error)
    if spec.enum is not None and value not in spec.enum:
        return _not_among(spec.enum, value)
    if isinstance(value, str) and "\x00" in value:
        return "must not hold the character NUL"
    return None


def usage(contract: str, specs: Inputs) -> str:
    """What a contract takes, and an example."""
    if not specs:
        return f"Contract '{contract}' takes no inputs."
    lines = [f"Contract '{contract}' takes:"]
    for name, spec in specs.items():
        need = "required" if spec.is_required else f"default {_json(spec.default)}"
        about = f": {spec.description}" if spec.description else ""
        lines.append(f"  {name} ({_WORDS[spec.type]}, {need}){about}")
    example = {n: _sample(s) for n, s in specs.items() if s.is_required}
    return "\n".join([*lines, f"For example: {_json(example)}"])


def _adapter(spec: InputSpec) -> TypeAdapter[Any]:
    """Pydantic's check of one input, whose patterns take linear time: none hangs a worker.

    Raises:
        ValueError: the pattern is not a regular expression.
    """
    limits: dict[str, Any] = {}
    if spec.type == "string":
        limits["max_length"] = spec.max_length
        if spec.pattern is not None:
            limits["pattern"] = f"^(?:{spec.pattern})$"
    if spec.type in {"integer", "number"}:
        limits |= {"ge": spec.minimum, "le": spec.maximum}
    try:
        checked: Any = Annotated[_TYPES[spec.type], Field(**limits)]
        return TypeAdapter(checked)
    except SchemaError:
        raise ValueError(
            f"the pattern '{spec.pattern}' is not a regular expression (look-around and "
            "back-references are not supported)"
        ) from None


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)


def _unknown(name: str, specs: Inputs) -> str:
    close = difflib.get_close_matches(name, list(specs), n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"there is no input '{name[:60]}'{hint}"


def _unwieldy(values: dict[str, Json]) -> list[str]:
    try:
        size = len(canonical(values))
    except ValueError as error:
        return [f"the inputs have no exact form in JSON: {error}"]
    return [f"the inputs have {size} bytes; at most {LARGEST} are taken"] if size > LARGEST else []


def _why(spec: InputSpec, value: Json, error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    shown = _json(value)[:80]
    if first["type"] == "string_pattern_mismatch":
        return f"must match {spec.pattern}, found {shown}"
    if first["type"] == "string_too_long":
        return f"may have at most {spec.max_length} characters"
    if first["type"] == "greater_than_equal":
        return f"must be at least {spec.minimum:g}, found {shown}"
    if first["type"] == "less_than_equal":
        return f"must be at most {spec.maximum:g}, found {shown}"
    return f"must be {_WORDS[spec.type]}, found {shown}"


def _not_among(allowed: tuple[Json, ...], value: Json) -> str:
    close = difflib.get_close_matches(str(value), [str(a) for a in allowed], n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    listed = ", ".join(_json(a) for a in allowed)
    return f"must be one of {listed}, found {_json(value)[:80]}{hint}"


def _sample(spec: InputSpec) -> Json:
    if spec.enum:
        return spec.enum[0]
    samples: dict[str, Json] = {
        "integer": int(spec.minimum or 1),
        "number": spec.minimum or 1.0,
        "boolean": True,
        "array": [],
        "object": {},
    }
    return samples.get(spec.type, "…")
