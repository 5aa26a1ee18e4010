"""YAML text → data that knows where each value stands, and models out of it.

It opens no file and gives no meaning to what it reads.

The dialect is the core schema of YAML 1.2 (``no``, ``on`` and ``12:30`` are text), without
aliases, tags and several documents: each of them can make a small file mean something large or
unexpected.
"""

import math
import re
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from yamlcore import CCoreLoader

from goalkeeper.domain.base import Json
from goalkeeper.domain.errors import GoalkeeperError, InvalidContract
from goalkeeper.domain.problems import Problems, clean_location, reword
from goalkeeper.domain.shapes import Path, shape

LARGEST = 1024 * 1024
"""Bytes of UTF-8."""
_DEEPEST = 50
_WIDEST = 100
"""Columns of a quoted line."""
_SAFE_INTEGER = 2**53 - 1
"""Beyond it, JSON readers disagree (RFC 8785, section 3.2.2.3)."""
_CONTROL = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What YAML 1.2, section 5.1, does not allow in a stream."""

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Located:
    """A parsed text: its data, and where each part of it stands."""

    name: str
    data: Json
    lines: tuple[str, ...]
    root: yaml.Node
    quotes: bool = True
    """Whether messages may show the text: not where it holds secrets."""

    def where(self, path: Path, *, key: bool = False) -> tuple[int, int]:
        """Line and column, from 1, of the value at a path, or of the nearest thing around it."""
        node, mark = self.root, self.root.start_mark
        for i, part in enumerate(path):
            child = _child(node, part)
            if child is None:
                break
            key_mark, node = child
            mark = key_mark if key and i == len(path) - 1 else node.start_mark
        return mark.line + 1, mark.column + 1

    def point(self, path: Path, message: str, *, key: bool = False) -> str:
        """The message behind ``name:line:column``, above the line and a caret."""
        return _point(self.name, self.lines, *self.where(path, key=key), message, self.quotes)

    def validate(self, model: type[M], error: type[GoalkeeperError] = InvalidContract) -> M:
        """The data as a model.

        Raises:
            GoalkeeperError: of the type `error`, with every problem (at most ten) at its place.
        """
        try:
            return model.model_validate(self.data)
        except ValidationError as invalid:
            problems = Problems(lambda _: self.name, self)
            schema = shape(model, "validation")
            for detail in invalid.errors(include_url=False):
                path = clean_location(detail["loc"], self.data)
                at_key = detail["type"] == "extra_forbidden" or "[key]" in detail["loc"]
                message = reword(detail, path, schema, quote=self.quotes)
                problems.add(path, message, key=at_key)
            problems.raise_if_any(error)
            raise


def read(
    text: str | bytes,
    name: str,
    error: type[GoalkeeperError] = InvalidContract,
    *,
    quotes: bool = True,
) -> Located:
    """Parse one YAML document.

    Args:
        text: the document; bytes must be UTF-8.
        name: how messages call it, for example its path.
        error: the type of error to raise.
        quotes: whether messages may show lines of the text.

    Raises:
        GoalkeeperError: of the type `error`: not YAML, or YAML that is not accepted here.
    """
    plain = _decoded(text, name, error)
    lines = tuple(plain.splitlines())
    try:
        _guard(plain)
        loader = _Loader(plain)
        try:
            root = loader.get_single_node()
            data: Json = loader.construct_document(root)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as bad:
        mark = bad.problem_mark or bad.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        message = _yaml_words(bad, lines[line - 1] if line <= len(lines) else "")
        raise error(_point(name, lines, line, column, message, quotes)) from None
    return Located(name, data, lines, root, quotes)


class _Loader(CCoreLoader):  # type: ignore[misc]  # yamlcore has no types
    """The core schema, less the numbers that JSON cannot carry and the odd keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
        """Keys are text, as JSON wants them: ``8080:`` is the key ``"8080"``."""
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        text = self.construct_scalar(node)
        try:
            is_float = node.tag.endswith(":float")
            make = self.construct_yaml_float_core if is_float else self.construct_yaml_int_core
            value: int | float = make(node)
        except ValueError:  # Python's limit on the digits of an integer
            value = math.inf
        if not math.isfinite(value) or (isinstance(value, int) and abs(value) > _SAFE_INTEGER):
            raise _refuse(f"the number {text[:30]} has no exact form in JSON; quote it", node)
        return value


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_number)


def _refuse(problem: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


def _guard(text: str) -> None:
    """Refuse what the parser itself would accept, before anything is built from it."""
    # Per open collection: None in a list; in a mapping, its keys so far and whether one is next.
    stack: list[tuple[set[str], list[bool]] | None] = []
    documents = 0
    for event in yaml.parse(text, Loader=CCoreLoader):
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _refuse("a second document begins here; write one document a file", event)
        elif isinstance(event, yaml.AliasEvent):
            raise _refuse(f"aliases (*{event.anchor}) are not accepted; write the value out", event)
        elif isinstance(event, yaml.CollectionEndEvent):
            stack.pop()
        elif isinstance(event, yaml.NodeEvent):
            _guard_node(event, stack)
    if not documents:
        raise yaml.MarkedYAMLError(problem="the file is empty")


def _guard_node(event: Any, stack: list[tuple[set[str], list[bool]] | None]) -> None:
    if event.tag is not None and event.tag != "!":
        raise _refuse(f"tags ({event.tag}) are not accepted; leave it out", event)
    if event.anchor is not None:
        raise _refuse(f"anchors (&{event.anchor}) are not accepted; leave it out", event)
    if stack and stack[-1] is not None:
        keys, key_next = stack[-1]
        if key_next[0]:
            _guard_key(event, keys)
        key_next[0] = not key_next[0]
    if isinstance(event, yaml.CollectionStartEvent):
        if len(stack) == _DEEPEST:
            raise _refuse(f"nested deeper than {_DEEPEST} levels", event)
        stack.append((set(), [True]) if isinstance(event, yaml.MappingStartEvent) else None)


def _guard_key(event: Any, keys: set[str]) -> None:
    if not isinstance(event, yaml.ScalarEvent):
        raise _refuse(
            "a key must be plain text; an expression is written ${{ … }}, and in quotes "
            "inside { } or [ ]",
            event,
        )
    if event.value in keys:
        raise _refuse(f"the key '{event.value[:60]}' stands here a second time", event)
    keys.add(event.value)


def _decoded(text: str | bytes, name: str, error: type[GoalkeeperError]) -> str:
    size = len(text) if isinstance(text, bytes) else len(text.encode(errors="replace"))
    if size > LARGEST:
        raise error(f"{name}: the file has {size} bytes; at most {LARGEST} are read")
    try:
        plain = text.decode("utf-8-sig") if isinstance(text, bytes) else text
    except UnicodeDecodeError as bad:
        raise error(f"{name}: byte {bad.start} is not UTF-8; save the file as UTF-8") from None
    plain = plain.removeprefix("\ufeff")
    control = _CONTROL.search(plain)
    if control is not None:
        line = plain.count("\n", 0, control.start()) + 1
        column = control.start() - (plain.rfind("\n", 0, control.start()) + 1) + 1
        code = f"U+{ord(control[0]):04X}"
        raise error(f"{name}:{line}:{column}: the control character {code} is not allowed here")
    return plain


def _yaml_words(bad: yaml.MarkedYAMLError, line: str) -> str:
    problem = bad.problem or "not YAML"
    if "${{" in line and "flow" in (bad.context or ""):
        return 'not YAML: inside { } or [ ] an expression stands in quotes: "${{ … }}"'
    if "mapping values are not allowed" in problem:
        return "not YAML: text that holds ': ' stands in quotes; otherwise check the indentation"
    if "cannot start any token" in problem:
        return "not YAML: indent with spaces (no tabs), and quote text that begins with a sign"
    if type(bad) is yaml.MarkedYAMLError:
        return problem
    return f"not YAML: {problem}{f' ({bad.context})' if bad.context else ''}"


def _child(node: yaml.Node, part: str | int) -> tuple[Any, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key.start_mark, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        child = node.value[part]
        return child.start_mark, child
    return None


def _point(
    name: str, lines: tuple[str, ...], line: int, column: int, message: str, quotes: bool
) -> str:
    head = f"{name}:{line}:{column}: {message}"
    if not quotes or line > len(lines):
        return head
    # A long line is shown around the caret.
    start = max(0, column - _WIDEST // 2) if len(lines[line - 1]) > _WIDEST else 0
    shown = lines[line - 1][start : start + _WIDEST].replace("\t", " ")
    return f"{head}\n    {shown}\n    {' ' * (column - 1 - start)}^"
