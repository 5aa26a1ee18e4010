"""How an approval request is shown to a person: one structure for the console and the CLI.

It is pure and decides nothing. Every text on a card has been made plain first: a value can forge
neither a line, nor a direction, nor an invisible character.
"""

import json
import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from goalkeeper.domain.approval import Action, ApprovalRequest, Requester, needed_approvals
from goalkeeper.domain.base import Json, Model, iso
from goalkeeper.domain.operation import Risk

_VALUE = 600
_LABEL = 120
_FACTS = 60
_ROWS = 50
_COLUMNS = 8
_DEPTH = 6
_NUMBER = 60

_RISKS = {
    Risk.READ: "read: looks, changes nothing",
    Risk.WRITE: "write: changes something",
    Risk.DESTRUCTIVE: "destructive: removes or overwrites",
    Risk.PRIVILEGED: "privileged: changes who may do what",
}
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


class ActionCard(Model):
    """One action of a request."""

    task_id: str
    operation: str
    risk: str
    """The level alone: ``read``, ``write``, ``destructive`` or ``privileged``."""
    digest: str
    facts: tuple[Fact, ...]
    inputs: Section
    exact: str
    """The whole action as JSON in plain ASCII: what the digest is over, nothing cut."""


class Card(Model):
    """Everything a person is shown before answering."""

    request_id: str
    goal_id: str
    digest: str
    title: str
    facts: tuple[Fact, ...]
    warnings: tuple[str, ...]
    reasons: tuple[str, ...]
    """Why policy asks."""
    actions: tuple[ActionCard, ...]
    previews: tuple[Section, ...]
    if_approved: str
    if_denied: str
    reason_required: bool
    """Whether an approval needs a reason; a denial always does."""
    closed: str | None = None
    time_left: str = ""


def card(
    request: ApprovalRequest,
    now: datetime,
    *,
    approved_by: Sequence[str] = (),
    closed: str | None = None,
) -> Card:
    """Lay a request out.

    Args:
        request: what is asked.
        now: to say how much time is left.
        approved_by: who has said yes so far.
        closed: ``approved``, ``denied`` or ``expired``.
    """
    names = ", ".join(dict.fromkeys(a.operation for a in request.actions))
    return Card(
        request_id=request.id,
        goal_id=request.goal_id,
        digest=request.digest,
        title=plain(f"{request.contract} in {request.environment}: {names}", limit=200),
        facts=_facts(request, approved_by),
        warnings=_warnings(request),
        reasons=tuple(plain(r) for r in request.reasons[:_FACTS]),
        actions=tuple(_action(a) for a in request.actions),
        previews=tuple(section(v, title=str(k)) for k, v in request.shown.items()),
        if_approved=_if_approved(request, approved_by),
        if_denied="The goal ends here and none of these actions runs. One denial is enough.",
        reason_required=request.requirement.reason_required,
        closed=closed,
        time_left=time_left(request.expires_at, now),
    )


def plain(text: str, *, limit: int = _VALUE) -> str:
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
    if len(facts) > _FACTS:
        omitted = f"{len(facts) - _FACTS} more values are not shown here; see the exact form"
    return Section(
        title=plain(title, limit=_LABEL),
        facts=tuple(facts[:_FACTS]),
        tables=tuple(tables[:_FACTS]),
        omitted=omitted,
    )


def who(requester: Requester) -> str:
    """The requester, and whether that is known."""
    name = plain(requester.id, limit=_LABEL)
    return name if requester.proven else f"{name} (unproven: this is only what the submitter wrote)"


def time_left(until: datetime, now: datetime) -> str:
    """How long until then, rounded for people: ``3 h 12 min``."""
    left = until - now
    if left <= timedelta(0):
        return "none: expired"
    minutes = math.floor(left.total_seconds() / 60)
    if minutes < 1:
        return "less than a minute"
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min")]
    return " ".join(f"{n} {unit}" for n, unit in parts if n)


def _facts(request: ApprovalRequest, approved_by: Sequence[str]) -> tuple[Fact, ...]:
    requirement = request.requirement
    needed = needed_approvals(request)
    so_far = f"; so far {', '.join(approved_by)}" if approved_by else ""
    people = "person" if needed == 1 else "different people"
    groups = " from " + " or ".join(requirement.groups) if requirement.groups else ""
    rows = [
        ("Asked by", who(request.requester)),
        ("Contract", request.contract),
        ("Environment", request.environment),
        ("Goal", request.goal_id),
        ("Needs", f"{needed} {people}{groups}{so_far}"),
        ("Asked at", iso(request.created_at)),
        ("Expires at", f"{iso(request.expires_at)} (silence until then means no)"),
    ]
    return tuple(Fact(label=k, value=v) for k, v in rows)


def _warnings(request: ApprovalRequest) -> tuple[str, ...]:
    found = []
    if not request.requester.proven:
        found.append(
            "Who asks is not proven: the goal was started without a person's token. One more "
            "approval is needed for that reason. Ask whoever claims it before you approve."
        )
    undone = [a.task_id for a in request.actions if _cannot_be_undone(a)]
    if undone:
        found.append(f"Cannot be undone by Goalkeeper once done: {', '.join(undone)}.")
    return tuple(found)


def _cannot_be_undone(action: Action) -> bool:
    return action.risk is not Risk.READ and action.compensation is None


def _if_approved(request: ApprovalRequest, approved_by: Sequence[str]) -> str:
    left = needed_approvals(request) - len(approved_by) - 1
    if left > 0:
        return f"Your approval is counted; {left} more of other people must follow."
    tasks = ", ".join(a.task_id for a in request.actions)
    return (
        f"The goal goes on and runs exactly these actions ({tasks}), once. If anything about them "
        "has changed by then, they do not run."
    )


def _action(action: Action) -> ActionCard:
    facts = [("Risk", _RISKS[action.risk])]
    facts += [(f"Credential '{k}'", f"role {v}") for k, v in sorted(action.credentials.items())]
    if action.egress:
        facts.append(("May reach", ", ".join(plain(e, limit=_LABEL) for e in action.egress)))
    if action.compensation:
        facts.append(("Undone by", action.compensation))
    if action.generation:
        facts.append(("Retry", f"number {action.generation}, asked for by a person"))
    return ActionCard(
        task_id=action.task_id,
        operation=action.operation,
        risk=action.risk.value,
        digest=action.digest,
        facts=tuple(Fact(label=plain(k, limit=_LABEL), value=v) for k, v in facts),
        inputs=section(action.inputs) if action.inputs else Section(),
        exact=json.dumps(action.model_dump(mode="json"), indent=2, sort_keys=True),
    )


def _lay_out(value: Json, path: tuple[str, ...], facts: list[Fact], tables: list[Table]) -> None:
    label = plain(" / ".join(path), limit=_LABEL)
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
        columns=tuple(plain(c, limit=_LABEL) for c in columns),
        rows=tuple(tuple(scalar(r[c]) if c in r else "" for c in columns) for r in rows),
    )


def _listed(values: Iterable[Json]) -> str:
    """Elements apart from one another even where one holds a comma."""
    shown = [scalar(v) for v in values]
    if any("," in s or " " in s for s in shown):
        shown = [s if s.startswith('"') else _quoted(s) for s in shown]
    joined = ", ".join(shown)
    return joined if len(joined) <= 3 * _VALUE else joined[: 3 * _VALUE] + "…"


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
