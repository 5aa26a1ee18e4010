"""Expressions: ``${{ JMESPath }}`` inside a contract's values, what they name, and their value.

It knows neither contracts nor plans nor operations: text goes in, text or JSON comes out.

``inputs.NAME`` stands for a goal's input anywhere in an expression and is replaced by its value,
as a JSON literal, before the expression is parsed for good: a value can never become code.
What else an expression may name is known only later: `Root` says what there is.
"""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

import jmespath
from jmespath import exceptions, functions, lexer, parser

from goalkeeper.domain.base import Json
from goalkeeper.domain.errors import InvalidContract, InvalidGoal

OPENING = "${{"
_LONGEST = 4000
_DEEPEST = 40
_QUOTED_OR_BRACE = re.compile(
    r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`(?:\\.|[^`\\])*`|[{}]""", re.DOTALL
)
_INPUTS = "inputs"


class Root(StrEnum):
    """What an expression may begin with, besides `inputs`."""

    TASKS = "tasks"
    """``tasks.ID.FIELD``: what a task answered; null where it did not succeed."""
    STATES = "states"
    """``states.ID``: the state in which a task ended, as text."""
    EACH = "each"
    """``each.item`` and ``each.index``, in a task that runs for each item of a list."""
    GOAL = "goal"
    """``goal.id``, ``goal.state`` and ``goal.failure``, in a task that always runs."""


_PLAIN = re.compile(rf"(?:{'|'.join(Root)})(?:\.[A-Za-z_][A-Za-z0-9_]*)+")
"""The most common expression, a path of names, which needs no parser: a third of the time that it
takes to compile 10,000 tasks went there."""
_SHAPES: Mapping[Root, str] = {
    Root.TASKS: "name one field of one task: tasks.ID.FIELD",
    Root.STATES: "name one task: states.ID",
    Root.EACH: "write each.item or each.index",
    Root.GOAL: "write goal.id, goal.state or goal.failure",
}
_NAMES: Mapping[Root, tuple[str, ...]] = {
    Root.EACH: ("item", "index"),
    Root.GOAL: ("id", "state", "failure"),
}
"""What follows the roots that are not followed by a task."""

Step: TypeAlias = str | int | None
"""A field, a position in a list, or (None) each element of a list."""


@dataclass(frozen=True)
class Reference:
    """``tasks.ID.a[*].b``: a root, a name, and the steps that follow as far as they are plain."""

    root: Root
    name: str
    """A task, or one of the words after `each` and `goal`."""
    path: tuple[Step, ...]
    whole: bool
    """Whether the expression is this and nothing else."""

    def __str__(self) -> str:
        return spelt(self.root, self.name, *self.path)

    @property
    def task(self) -> str | None:
        """The task that it names, if it names one."""
        return self.name if self.root in {Root.TASKS, Root.STATES} else None


def spelt(*steps: Step) -> str:
    """Steps as an expression writes them."""
    words = ("[*]" if s is None else f"[{s}]" if isinstance(s, int) else f".{s}" for s in steps)
    return "".join(words).removeprefix(".")


@dataclass(frozen=True)
class Expression:
    """What stands between ``${{`` and ``}}``."""

    text: str
    references: tuple[Reference, ...]
    inputs: tuple[tuple[int, int, str], ...]
    """Where ``inputs.NAME`` stands in the text: start, end, name."""

    def substituted(self, inputs: Mapping[str, Json]) -> str:
        """The JMESPath that speaks of inputs no more."""
        return _substituted(self.text, self.inputs, inputs)


@dataclass(frozen=True)
class Bound:
    """A template after the goal's inputs are known: a value, or a JMESPath for later."""

    value: Json = None
    expression: str | None = None


@dataclass(frozen=True)
class Template:
    """A string of a contract: text and expressions in turn."""

    parts: tuple[str | Expression, ...]

    @property
    def expressions(self) -> Iterator[Expression]:
        """Its expressions, in order."""
        return (p for p in self.parts if isinstance(p, Expression))

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The goal inputs that it names."""
        return tuple(name for e in self.expressions for _, _, name in e.inputs)

    @cached_property
    def references(self) -> tuple[Reference, ...]:
        """What it names besides inputs."""
        return tuple(r for e in self.expressions for r in e.references)

    @property
    def whole(self) -> Reference | None:
        """The reference that is all of it, whose JSON type it therefore keeps."""
        if len(self.parts) != 1 or not self.references:
            return None
        first = self.references[0]
        return first if first.whole else None

    @property
    def is_text(self) -> bool:
        """Whether the result is text whatever the expressions yield."""
        return len(self.parts) != 1 or isinstance(self.parts[0], str)

    def bind(self, inputs: Mapping[str, Json]) -> Bound:
        """Put the goal's inputs in.

        Raises:
            InvalidGoal: an expression over inputs alone has no value, or none that is text.
        """
        only = self.parts[0]
        if len(self.parts) == 1 and isinstance(only, Expression):
            text = only.substituted(inputs)
            return Bound(expression=text) if only.references else Bound(evaluate(text, {}))
        pieces: list[str | Expression] = []
        for part in self.parts:
            known = part if isinstance(part, str) else _text_of(part, inputs)
            if known is None:
                pieces.append(part)
            elif pieces and isinstance(pieces[-1], str):
                pieces[-1] += known
            else:
                pieces.append(known)
        if all(isinstance(p, str) for p in pieces):
            return Bound("".join(p for p in pieces if isinstance(p, str)))
        return Bound(expression=_joined(pieces, inputs))


def has_expression(value: str) -> bool:
    """Whether the text holds an expression at all."""
    return OPENING in value


@lru_cache(maxsize=8192)
def parse_template(text: str) -> Template:
    """Split text at its expressions and understand each.

    Raises:
        InvalidContract: an expression is not closed, not JMESPath, or names what there is not. The
            message has no position; the caller knows it.
    """
    parts: list[str | Expression] = []
    position = 0
    while (start := text.find(OPENING, position)) >= 0:
        if start > position:
            parts.append(text[position:start])
        end = _closing(text, start + len(OPENING))
        parts.append(parse_expression(text[start + len(OPENING) : end].strip()))
        position = end + 2
    if position < len(text) or not parts:
        parts.append(text[position:])
    return Template(tuple(parts))


def parse_expression(text: str) -> Expression:
    """Understand one JMESPath over `inputs` and the roots.

    Raises:
        InvalidContract: see `parse_template`.
    """
    if len(text) > _LONGEST:
        raise InvalidContract(f"the expression is longer than {_LONGEST} characters")
    if _PLAIN.fullmatch(text):
        return Expression(text, (_referring([*text.split(".")], plain=True, whole=True),), ())
    tree = _parsed(text)
    inputs = tuple(_find_inputs(text)) if _INPUTS in text else ()
    if inputs:
        names = dict.fromkeys((name for _, _, name in inputs))
        tree = _parsed(_substituted(text, inputs, names))
    references = tuple(_references(tree, 0))
    return Expression(text, references, inputs)


def evaluate(expression: str, scope: Mapping[str, Any]) -> Json:
    """The value of a JMESPath: pure, and the same wherever and whenever it is asked.

    Raises:
        InvalidGoal: a function does not take what it was given, or null was to become text.
    """
    try:
        value: Json = _compiled(expression).search(scope, options=_OPTIONS)
    except exceptions.JMESPathError as error:
        raise InvalidGoal(f"`{_short(expression)}` has no value: {_first_line(error)}") from None
    except (RecursionError, ArithmeticError, TypeError, AttributeError):
        # jmespath's functions do not guard against every JSON value: avg() of true, for one.
        raise InvalidGoal(f"`{_short(expression)}` has no value for what it was given") from None
    return value


def as_text(value: Json) -> str:
    """How a JSON value stands inside text.

    Raises:
        InvalidGoal: null, which has no text: "deploy to null" helps nobody.
    """
    if isinstance(value, str):
        return value
    if value is None:
        raise InvalidGoal("null cannot become part of a text")
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


class _Functions(functions.Functions):
    """JMESPath's functions, with a `to_string` that refuses null."""

    @functions.signature({"types": []})
    def _func_to_string(self, arg: Json) -> str:
        return as_text(arg)


_OPTIONS = jmespath.Options(custom_functions=_Functions())
_compiled = lru_cache(maxsize=8192)(jmespath.compile)


def _text_of(part: Expression, inputs: Mapping[str, Json]) -> str | None:
    """The text of an expression over inputs alone; None where it must wait."""
    if part.references:
        return None
    value = evaluate(part.substituted(inputs), {})
    if value is None:
        raise InvalidGoal(f"`{part.text}` is null and cannot become part of a text: give a value")
    return as_text(value)


def _joined(pieces: list[str | Expression], inputs: Mapping[str, Json]) -> str:
    items = (
        literal(p) if isinstance(p, str) else f"to_string({p.substituted(inputs)})" for p in pieces
    )
    return f"join('', [{', '.join(items)}])"


def literal(value: Json) -> str:
    """A JSON value as JMESPath writes it, on one line and without a backtick that could end it."""
    return "`" + json.dumps(value, ensure_ascii=False).replace("`", "\\u0060") + "`"


def _substituted(
    text: str, spans: tuple[tuple[int, int, str], ...], inputs: Mapping[str, Json]
) -> str:
    pieces, position = [], 0
    for start, end, name in spans:
        pieces += [text[position:start], literal(inputs.get(name))]
        position = end
    return "".join([*pieces, text[position:]])


def _closing(text: str, start: int) -> int:
    """Where the ``}}`` stands that ends an expression: not inside quotes or inner braces."""
    depth = 0
    for match in _QUOTED_OR_BRACE.finditer(text, start):
        if match[0] == "{":
            depth += 1
        elif match[0] == "}":
            if depth == 0 and text.startswith("}}", match.start()):
                return match.start()
            depth -= 1
    raise InvalidContract("an expression is opened by '${{' and never closed by '}}'")


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        tree: Mapping[str, Any] = parser.Parser().parse(text).parsed
    except exceptions.EmptyExpressionError:
        raise InvalidContract("the expression is empty; write ${{ inputs.NAME }}") from None
    except (exceptions.JMESPathError, ValueError, RecursionError) as error:
        near = getattr(error, "lex_position", None)
        place = f" at '{text[near : near + 20]}'" if near is not None and near < len(text) else ""
        raise InvalidContract(
            f"`{_short(text)}` is not JMESPath{place}: text stands in 'single quotes', numbers "
            "and true or false in `backticks`, names use letters, digits and '_'"
        ) from None
    return tree


def _find_inputs(text: str) -> Iterator[tuple[int, int, str]]:
    tokens = list(lexer.Lexer().tokenize(text))
    for i, token in enumerate(tokens):
        if token["type"] != "unquoted_identifier" or token["value"] != _INPUTS:
            continue
        after = tokens[i + 1]["type"]
        if (i and tokens[i - 1]["type"] == "dot") or after == "colon":
            continue
        if after != "dot" or tokens[i + 2]["type"] != "unquoted_identifier":
            raise InvalidContract(
                f"`{_short(text)}`: name one input, inputs.NAME "
                '(a field called inputs is written "inputs", in double quotes)'
            )
        yield token["start"], tokens[i + 2]["end"], tokens[i + 2]["value"]


_SCOPED_LEFT = {
    "subexpression",
    "index_expression",
    "projection",
    "value_projection",
    "filter_projection",
    "flatten",
    "pipe",
}
"""Nodes whose first child sees what the node sees; the others see the first one's result."""


_CHAINED = {"field", "subexpression", "index_expression", "projection"}
"""Nodes that may be part of a plain path."""


def _references(node: Mapping[str, Any], depth: int) -> Iterator[Reference]:
    """What a syntax tree names where names mean the whole document."""
    if depth > _DEEPEST:
        raise InvalidContract("the expression is nested too deeply")
    kind, children = node["type"], node["children"]
    if kind in _CHAINED and _head(node)["type"] == "field":
        yield _reference(node, whole=depth == 0)
    elif kind == "not_expression" and children[0].get("value") in set(Root):
        # jmespath reads !a.b as (!a).b.
        raise InvalidContract("after '!' write parentheses: !(tasks.ID.FIELD)")
    elif kind in {"identity", "current"}:
        raise InvalidContract("an expression begins with inputs.NAME or tasks.ID.FIELD")
    elif kind == "function_expression":
        _check_function(node["value"], len(children))
        for child in children:
            if child["type"] != "expref":
                yield from _references(child, depth + 1)
    else:
        for child in children[:1] if kind in _SCOPED_LEFT else children:
            yield from _references(child, depth + 1)


def _head(node: Mapping[str, Any]) -> Mapping[str, Any]:
    chained = node["type"] in _CHAINED and node["children"]
    return _head(node["children"][0]) if chained else node


def _reference(node: Mapping[str, Any], *, whole: bool) -> Reference:
    steps, plain = _leading(node)
    return _referring(steps, plain=plain, whole=whole)


def _referring(steps: list[Step], *, plain: bool, whole: bool) -> Reference:
    try:
        root = Root(str(steps[0]))
    except ValueError:
        raise InvalidContract(_no_root(str(steps[0]))) from None
    name, path = steps[1] if len(steps) > 1 else None, tuple(steps[2:])
    if not isinstance(name, str):
        raise InvalidContract(_SHAPES[root])
    if root is Root.STATES and (path or not plain):
        raise InvalidContract(f"states.{name} is text and has no fields; {_SHAPES[root]}")
    if name not in _NAMES.get(root, (name,)):
        raise InvalidContract(f"there is no '{root}.{name}'; {_SHAPES[root]}")
    return Reference(root, name, path, whole and plain)


def _no_root(word: str) -> str:
    roots = [_INPUTS, *Root]
    close = difflib.get_close_matches(word, roots, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"did you mean 'inputs.{word}'?"
    return f"'{word}' is none of {', '.join(roots[:-1])} and {roots[-1]}; {hint}"


def _leading(node: Mapping[str, Any]) -> tuple[list[Step], bool]:
    """The plain steps that a node begins with, and whether it is nothing but those."""
    kind, children = node["type"], node["children"]
    if kind == "field":
        return [node["value"]], True
    if kind == "identity":
        return [], True
    if kind == "index":
        return [node["value"]], True
    if kind not in _CHAINED:
        return (_leading(children[0])[0] if kind in _SCOPED_LEFT else []), False
    steps: list[Step] = []
    for i, child in enumerate(children):
        more, plain = _leading(child)
        # The right side of a projection is applied to each element of the left one.
        steps += [None, *more] if kind == "projection" and i == 1 else more
        if not plain:
            return steps, False
    return steps, True


def _check_function(name: str, given: int) -> None:
    known = _Functions.FUNCTION_TABLE
    if name not in known:
        close = difflib.get_close_matches(name, list(known), n=1)
        hint = f"did you mean '{close[0]}()'?" if close else f"known: {', '.join(sorted(known))}"
        raise InvalidContract(f"there is no function '{name}()'; {hint}")
    signature = known[name]["signature"]
    open_ended = bool(signature) and signature[-1].get("variadic", False)
    if given < len(signature) or (given > len(signature) and not open_ended):
        raise InvalidContract(f"'{name}()' takes {len(signature)} value(s), not {given}")


def _short(text: str) -> str:
    return text if len(text) <= 120 else text[:119] + "…"


def _first_line(error: Exception) -> str:
    return _short(str(error).splitlines()[0]) if str(error) else type(error).__name__
