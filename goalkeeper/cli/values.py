"""Inputs as they are typed: ``key=value`` read by the contract's types, and files of inputs.

It reads and converts; whether the values fit the contract is for the compiler to say.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

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
    values = _from_file(file) if file else {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator or not key:
            raise InvalidGoal(f"'{pair}' is not an input: write key=value, for example branch=main")
        spec = specs.get(key)
        values[key] = _typed(key, text, spec.type if spec else "string")
    return values


def _typed(key: str, text: str, kind: str) -> Json:
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
        raise InvalidGoal(f"cannot read the inputs from '{file}': {why}") from None
