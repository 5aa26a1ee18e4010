"""Values as text for people: facts, tables and lines that show what they hold.

It is pure and knows nothing of approvals. Everything has been made plain: a value can forge
neither a line, nor a direction, nor an invisible character.
"""

import json
import unicodedata
from collections.abc import Iterable, Mapping

from goalkeeper.domain.base import Json, Model

VALUE = 600
LABEL = 120
FACTS = 60
_ROWS = 50
_COLUMNS = 8
_DEPTH = 6
_NUMBER = 60

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}


class Fact(Model):
    """One labelled value."""

    label: str
    value: str


class Table(Model):
    """Objects of one kind, side by side."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Section(Model):
    """A value laid out for reading."""

    title: str = ""
    facts: tuple[Fact, ...] = ()
    tables: tuple[Table, ...] = ()
    omitted: str = ""
    """Says what was left out; empty when nothing was."""


def plain(text: str, *, limit: int = VALUE) -> str:
    """Text that shows what it holds: control, invisible and direction characters as escapes.

    A backslash is doubled, so that an escape cannot be mistaken for the text that spells it.
    """
    shown = "".join(_character(c) for c in text[:limit])
    return shown if len(text) <= limit else f"{shown}… ({len(text)} characters in all)"


def scalar(value: Json) -> str:
    """A string, number, boolean or null on one line; a string that looks like another is quoted."""
    if not isinstance(value, str):
        return plain(json.dumps(value))
    return _quoted(plain(value)) if _ambiguous(value) else plain(value)


def section(value: Json, *, title: str = "") -> Section:
    """Lay any JSON value out as facts, and lists of objects as tables."""
    facts: list[Fact] = []
    tables: list[Table] = []
    _lay_out(value, (), facts, tables)
    omitted = ""
    if len(facts) > FACTS:
        omitted = f"{len(facts) - FACTS} more values are not shown here; see the exact form"
    return Section(
        title=plain(title, limit=LABEL),
        facts=tuple(facts[:FACTS]),
        tables=tuple(tables[:FACTS]),
        omitted=omitted,
    )


def _lay_out(value: Json, path: tuple[str, ...], facts: list[Fact], tables: list[Table]) -> None:
    label = plain(" / ".join(path), limit=LABEL)
    if isinstance(value, Mapping) and value and len(path) < _DEPTH:
        for key, inner in value.items():
            _lay_out(inner, (*path, key), facts, tables)
    elif (table := _as_table(label, value)) is not None:
        tables.append(table)
    elif isinstance(value, list) and value and all(_is_scalar(v) for v in value):
        facts.append(Fact(label=label, value=_listed(value)))
    elif isinstance(value, list) and value and len(path) < _DEPTH:
        for index, inner in enumerate(value):
            _lay_out(inner, (*path, str(index + 1)), facts, tables)
    elif _is_scalar(value):
        facts.append(Fact(label=label, value=scalar(value)))
    else:
        facts.append(Fact(label=label, value=plain(json.dumps(value))))


def _as_table(title: str, value: Json) -> Table | None:
    """Two or more flat objects with few keys between them; anything else is not a table."""
    if not isinstance(value, list) or not 2 <= len(value) <= _ROWS:
        return None
    rows = [v for v in value if isinstance(v, dict)]
    if len(rows) != len(value) or not all(_is_scalar(c) for r in rows for c in r.values()):
        return None
    columns = list(dict.fromkeys(k for r in rows for k in r))
    if not 1 <= len(columns) <= _COLUMNS:
        return None
    return Table(
        title=title,
        columns=tuple(plain(c, limit=LABEL) for c in columns),
        rows=tuple(tuple(scalar(r[c]) if c in r else "" for c in columns) for r in rows),
    )


def _listed(values: Iterable[Json]) -> str:
    """Elements apart from one another even where one holds a comma."""
    shown = [scalar(v) for v in values]
    if any("," in s or " " in s for s in shown):
        shown = [s if s.startswith('"') else _quoted(s) for s in shown]
    joined = ", ".join(shown)
    return joined if len(joined) <= 3 * VALUE else joined[: 3 * VALUE] + "…"


def _is_scalar(value: Json) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _quoted(text: str) -> str:
    escaped = text.replace('"', '\\"')
    return f'"{escaped}"'


def _ambiguous(text: str) -> bool:
    """Whether the text unquoted could be taken for nothing, for a number or for a keyword."""
    if text != text.strip() or not text or text.startswith('"'):
        return True
    if len(text) > _NUMBER:
        return False
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _character(character: str) -> str:
    if character in _NAMED:
        return _NAMED[character]
    kind = unicodedata.category(character)
    # Everything of C (control, format, surrogate, private, unassigned), and every separator but
    # the ordinary space: they hide, or reorder, or break the line.
    if kind.startswith("C") or (kind.startswith("Z") and character != " "):
        code = ord(character)
        return (
            f"\\x{code:02x}"
            if code < 0x100
            else f"\\u{code:04x}"
            if code < 0x10000
            else f"\\U{code:08x}"
        )
    return character
