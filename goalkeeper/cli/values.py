"""Inputs as they are typed: ``key=value`` read by the contract's types, and files of inputs.

It reads and converts; whether the values fit the contract is for the compiler to say.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from goalkeeper import yamlfile
from goalkeeper.domain.base import Json
from goalkeeper.domain.errors import InvalidGoal
from goalkeeper.domain.inputs import InputSpec

_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def read_inputs(
    pairs: Iterable[str], file: str | None, specs: Mapping[str, InputSpec]
) -> dict[str, Json]:
    """The inputs of a command line; a pair beats the file.

    Args:
        pairs: ``key=value`` each.
        file: a JSON or YAML file with an object of inputs, or ``-`` for standard input.
        specs: the contract's inputs, for their types. An unknown key stays text.

    Raises:
        InvalidGoal: a pair has no ``=``, a value is not of its type, or a file cannot be read.
    """
    kinds = {name: spec.type for name, spec in specs.items()}
    return (_from_file(file) if file else {}) | read_pairs(pairs, kinds, default="string")


def read_pairs(
    pairs: Iterable[str], kinds: Mapping[str, str], *, default: str = "any"
) -> dict[str, Json]:
    """Values that are typed as pairs.

    Args:
        pairs: ``key=value`` each.
        kinds: key → the type in JSON Schema's words; ``any`` is JSON, and text where it is none.
        default: the type of a key that `kinds` does not have.

    Raises:
        InvalidGoal: a pair has no ``=``, or a value is not of its type.
    """
    values: dict[str, Json] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator or not key:
            raise InvalidGoal(f"'{pair}' is not an input: write key=value, for example branch=main")
        values[key] = _typed(key, text, kinds.get(key, default))
    return values


def kinds_of(schema: Mapping[str, Any]) -> dict[str, str]:
    """The types of a JSON Schema's properties, as `read_pairs` wants them."""
    return {name: _kind(found) for name, found in schema.get("properties", {}).items()}


def _kind(found: Mapping[str, Any]) -> str:
    """One property's type; of a type that may be null too, the other one."""
    named = [k.get("type", "any") for k in found.get("anyOf", (found,))]
    others = [k for k in named if k != "null"]
    return str(others[0]) if len(others) == 1 else "any"


def read_payload(given: str | None) -> Json:
    """JSON that is typed, in a file (``@FILE``) or on standard input (``@-``); None is null.

    Raises:
        InvalidGoal: it is no JSON, or the file cannot be read.
    """
    if given is None:
        return None
    text = _text(given[1:]) if given.startswith("@") else given
    try:
        value: Json = json.loads(text)
    except ValueError as error:
        raise InvalidGoal(
            f"the payload is not JSON ({error}): write for example '{{\"a\": 1}}' or '\"text\"'"
        ) from None
    return value


def _typed(key: str, text: str, kind: str) -> Json:
    if kind == "any":
        try:
            found: Json = json.loads(text)
        except ValueError:
            return text
        return found
    try:
        match kind:
            case "integer":
                return int(text)
            case "number":
                return float(text)
            case "boolean":
                return _WORDS[text.casefold()]
            case "array" | "object":
                value: Json = json.loads(text)
                return value
    except (ValueError, KeyError):
        raise InvalidGoal(f"input '{key}' must be {_EXAMPLE[kind]}, not '{text[:80]}'") from None
    return text


_EXAMPLE = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": 'a JSON array, for example \'["a", "b"]\'',
    "object": "a JSON object, for example '{\"a\": 1}'",
}


def _from_file(file: str) -> dict[str, Json]:
    values = yamlfile.read(_text(file), "the inputs" if file == "-" else file, InvalidGoal).data
    if not isinstance(values, dict):
        raise InvalidGoal(f"{file}: this must be an object of inputs, for example {{branch: main}}")
    return values


def _text(file: str) -> str:
    if file == "-":
        return sys.stdin.read()
    try:
        return Path(file).expanduser().read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidGoal(f"cannot read '{file}': {why}") from None
