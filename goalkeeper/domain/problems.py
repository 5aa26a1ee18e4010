"""Problems of a file or contract: collected, put to their places, and said in plain words.

It decides nothing; it only words what others found.
"""

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from pydantic_core import ErrorDetails

from goalkeeper.domain.errors import GoalkeeperError
from goalkeeper.domain.shapes import Path, Schema, alternatives_at, keys_of

MOST = 10
"""Problems told at once."""


class Places(Protocol):
    """A text that knows where each of its values stands."""

    def point(self, path: Path, message: str, *, key: bool = False) -> str:
        """The message with ``file:line:column`` and the line; at the key where `key`."""
        ...


class Problems:
    """What is wrong with one text, up to ten problems."""

    def __init__(self, label: Callable[[Path], str], places: Places | None = None) -> None:
        self._label = label
        self._places = places
        self._found: list[str] = []
        self._full = False

    def add(self, path: Path, message: str, *, key: bool = False) -> None:
        """Take one problem; beyond ten, only that there are more."""
        if len(self._found) == MOST:
            self._full = True
            return
        if self._places is not None:
            text = self._places.point(path, message, key=key)
        else:
            text = f"{self._label(path)}: {message}"
        if text not in self._found:
            self._found.append(text)

    @property
    def full(self) -> bool:
        """Whether looking for more is in vain."""
        return len(self._found) >= MOST

    def __bool__(self) -> bool:
        return bool(self._found)

    def raise_if_any(self, error: type[GoalkeeperError]) -> None:
        """Raise what was found, all in one message."""
        if self._found:
            more = ["and there are more problems; fix these first"] if self._full else []
            raise error("\n".join([*self._found, *more]))


def did_you_mean(word: str, known: Collection[str], *, known_as: str) -> str:
    """``; did you mean 'x'?``, or what there is to choose from."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    listed = sorted(known)[:20]
    return f"; {known_as}: {', '.join(listed)}" if listed else f"; there are no {known_as}"


def clean_location(location: Sequence[str | int], value: Any) -> Path:
    """A pydantic location without the union tags and the like that are not in the data."""
    path: list[str | int] = []
    for i, part in enumerate(location):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list | tuple) and isinstance(part, int) and part < len(value):
            value = value[part]
        elif i < len(location) - 1 or part == "[key]" or not isinstance(value, Mapping):
            continue
        path.append(part)
    return tuple(path)


def reword(error: ErrorDetails, path: Path, root: Schema, *, quote: bool = True) -> str:
    """A pydantic error as people read it: what is wrong and what to write instead.

    Args:
        error: as pydantic reports it.
        path: its cleaned location.
        root: the JSON Schema of the model.
        quote: whether the value may be shown.
    """
    kind, context = error["type"], error.get("ctx", {})
    name = str(path[-1]) if path else "this"
    found = _found(error["input"]) if quote else ""
    match kind:
        case "extra_forbidden":
            known = keys_of(alternatives_at(root, path[:-1]))
            return f"unknown key '{name}'{did_you_mean(name, known, known_as='known keys')}"
        case "missing":
            return f"'{name}' is missing; add `{name}: …`"
        case "literal_error" | "enum":
            return _choice(error, context, found)
        case "string_pattern_mismatch":
            return f"'{name}' {_pattern_words(context['pattern'])}{found}"
        case "value_error" | "assertion_error":
            return error["msg"].partition(", ")[2] or error["msg"]
    words = _EXPECTED.get(kind)
    if words is not None:
        return f"'{name}' must be {words}{found}{_quoting(kind, error['input'])}"
    return f"'{name}': {error['msg'][:1].lower()}{error['msg'][1:]}{found}"


_EXPECTED: Mapping[str, str] = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list (lines that begin with '- ')",
    "list_type": "a list (lines that begin with '- ')",
    "dict_type": "a mapping (lines of 'key: value')",
    "model_type": "a mapping (lines of 'key: value')",
    "model_attributes_type": "a mapping (lines of 'key: value')",
    "time_delta_type": "a duration: PT10M for ten minutes, or a number of seconds",
    "time_delta_parsing": "a duration: PT10M for ten minutes, or a number of seconds",
}

_PATTERNS: Mapping[str, str] = {
    r"^[a-z][a-z0-9-]{0,62}$": "-",
    r"^[a-z][a-z0-9_]{0,62}$": "_",
    r"^[a-z][a-z0-9._-]{0,62}$": "._-",
}
"""The patterns of our identifiers → the signs that they allow."""


def _pattern_words(pattern: str) -> str:
    signs = _PATTERNS.get(pattern)
    if signs is None:
        return f"must match {pattern}"
    return f"takes lower-case letters, digits and '{signs}', and begins with a letter"


def _choice(error: ErrorDetails, context: Mapping[str, Any], found: str) -> str:
    given, expected = error["input"], str(context.get("expected", ""))
    if isinstance(given, int | float) and f"'{given}'" in expected:
        return f'write "{given}", in quotes: without them it is a number'
    allowed = [part.strip("'") for part in expected.replace(" or ", ", ").split(", ")]
    close = difflib.get_close_matches(str(given), allowed, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"must be one of {', '.join(allowed)}{found}{hint}"


def _quoting(kind: str, value: Any) -> str:
    """YAML reads 1.0 as a number and true as a truth value unless they are quoted."""
    if kind == "string_type" and isinstance(value, bool | int | float):
        return "; put it in quotes"
    return ""


def _found(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", found a mapping"
    if isinstance(value, list | tuple):
        return ", found a list"
    if value is None:
        return ", found nothing"
    shown = value if isinstance(value, str) else str(value).lower()
    return f", found '{shown[:60]}'"
