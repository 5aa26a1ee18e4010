"""How an approval request is shown to a person: one structure for the console and the CLI.

It is pure and decides nothing. Every text on a card has been made plain first.
"""

import json
import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from goalkeeper.domain.approval import (
    Action,
    ApprovalRequest,
    Change,
    Question,
    Requester,
    needed_approvals,
)
from goalkeeper.domain.base import Json, Model, iso
from goalkeeper.domain.evidence import Evidence
from goalkeeper.domain.operation import Risk
from hitl.choices import SILENCE, Choice, choices, names
from hitl.text import FACTS, LABEL, Fact, Section, Table, plain, scalar, section

ACTIONS_SHOWN = 20
"""Of so many actions each is shown at once; the rest are there to be unfolded."""
_CHANGES = 200

_RISKS = {
    Risk.READ: "read: looks, changes nothing",
    Risk.WRITE: "write: changes something",
    Risk.DESTRUCTIVE: "destructive: removes or overwrites",
    Risk.PRIVILEGED: "privileged: changes who may do what",
}


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


class Headline(Model):
    """A request in a list."""

    request_id: str
    goal_id: str
    question: Question
    title: str
    risks: tuple[str, ...]
    replaces: str = ""
    """The id of the request that this one takes the place of."""
    time_left: str = ""


class Card(Headline):
    """Everything a person is shown before answering."""

    digest: str
    facts: tuple[Fact, ...]
    warnings: tuple[str, ...]
    reasons: tuple[str, ...]
    """Why policy asks."""
    changes: Table | None = None
    """What is different from the request that this one replaces."""
    heading: str
    """Over the actions."""
    actions: tuple[ActionCard, ...]
    evidence: tuple[Evidence, ...] = ()
    """Of an outcome question: what the lost attempt left behind."""
    previews: tuple[Section, ...]
    choices: tuple[Choice, Choice]
    closed: str | None = None


def headline(request: ApprovalRequest, now: datetime) -> Headline:
    """A request in short.

    Args:
        request: what is asked.
        now: to say how much time is left.
    """
    operations = dict.fromkeys(a.operation for a in request.actions)
    what = ", ".join(operations)
    asks = f"did {what} happen?" if request.question is Question.OUTCOME else what
    count = len(request.actions)
    many = f" ({count} actions)" if count > len(operations) else ""
    return Headline(
        request_id=request.id,
        goal_id=request.goal_id,
        question=request.question,
        title=plain(f"{request.contract} in {request.environment}: {asks}", limit=200) + many,
        risks=tuple(dict.fromkeys(a.risk.value for a in request.actions)),
        replaces=request.replaces,
        time_left=time_left(request.expires_at, now),
    )


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
        approved_by: who has said yes, or has said what happened, so far.
        closed: ``approved``, ``denied``, ``expired``, ``withdrawn`` or ``answered``.
    """
    lost = request.question is Question.OUTCOME
    return Card(
        **dict(headline(request, now)),
        digest=request.digest,
        facts=_facts(request, approved_by),
        warnings=tuple(_warnings(request)),
        reasons=tuple(plain(r) for r in request.reasons[:FACTS]),
        changes=_changes(request.changes) if request.changes else None,
        heading="Exactly this was attempted" if lost else "Exactly this would run",
        actions=tuple(_action(a) for a in request.actions),
        evidence=request.evidence,
        previews=tuple(section(v, title=str(k)) for k, v in request.shown.items()),
        choices=choices(request, approved_by),
        closed=closed,
    )


def who(requester: Requester) -> str:
    """The requester, and whether that is known."""
    name = plain(requester.id, limit=LABEL)
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
    lost = request.question is Question.OUTCOME
    rows = [
        ("Asked by", who(request.requester)),
        ("Contract", request.contract),
        ("Environment", request.environment),
        ("Goal", request.goal_id),
        ("Task", request.task_id) if lost else None,
        ("Needs", f"{needed} {people}{groups}{so_far}"),
        ("In place of", request.replaces) if request.replaces else None,
        ("Found lost at" if lost else "Asked at", iso(request.created_at)),
        ("Expires at", f"{iso(request.expires_at)} ({SILENCE[request.question]})"),
    ]
    return tuple(Fact(label=r[0], value=r[1]) for r in rows if r is not None)


def _warnings(request: ApprovalRequest) -> list[str]:
    found = []
    if request.replaces:
        found.append(
            f"This takes the place of '{request.replaces}', whose answers count no more: what "
            "would run has changed since."
        )
    if not request.requester.proven:
        found.append(
            "Who asks is not proven: the goal was started without a person's token. One more "
            "approval is needed for that reason. Ask whoever claims it before you answer."
        )
    undone = [a.task_id for a in request.actions if _cannot_be_undone(a)]
    if request.question is Question.OUTCOME:
        found.append(
            "The attempt was lost on its way, and nobody here knows whether it had its effect. "
            "Look into the system itself before you answer: a wrong 'it did not happen' does it "
            "twice, a wrong 'it happened' leaves it out for good."
        )
    elif undone:
        found.append(f"Cannot be undone by Goalkeeper once done: {names(undone)}.")
    return found


def _cannot_be_undone(action: Action) -> bool:
    return action.risk is not Risk.READ and action.compensation is None and action.undoes is None


def _changes(changes: Sequence[Change]) -> Table:
    left = len(changes) - _CHANGES
    more = f", the first {_CHANGES} of {len(changes)}" if left > 0 else ""
    return Table(
        title=f"Changed since the request before{more}",
        columns=("Task", "What", "Before", "After"),
        rows=tuple(
            (c.task_id, _place(c.place), _shown(c.before), _shown(c.after))
            for c in changes[:_CHANGES]
        ),
    )


def _place(pointer: str) -> str:
    """A JSON Pointer as words: ``/inputs/replicas`` is ``replicas``."""
    parts = [p.replace("~1", "/").replace("~0", "~") for p in pointer.split("/")[1:]]
    if parts[:1] == ["inputs"] and len(parts) > 1:
        parts = parts[1:]
    return plain(" / ".join(parts) or "everything", limit=LABEL)


def _shown(value: Json) -> str:
    return plain(json.dumps(value)) if isinstance(value, list | dict) else scalar(value)


def _action(action: Action) -> ActionCard:
    facts = [("Risk", _RISKS[action.risk])]
    facts += [(f"Credential '{k}'", f"role {v}") for k, v in sorted(action.credentials.items())]
    if action.egress:
        facts.append(("May reach", ", ".join(plain(e, limit=LABEL) for e in action.egress)))
    if action.compensation:
        facts.append(("Undone by", action.compensation))
    if action.undoes:
        facts.append(("Undoes", plain(action.undoes, limit=LABEL)))
    if action.generation:
        facts.append(("Retry", f"number {action.generation}, asked for by a person"))
    return ActionCard(
        task_id=action.task_id,
        operation=action.operation,
        risk=action.risk.value,
        digest=action.digest,
        facts=tuple(Fact(label=plain(k, limit=LABEL), value=v) for k, v in facts),
        inputs=section(action.inputs) if action.inputs else Section(),
        exact=json.dumps(action.model_dump(mode="json"), indent=2, sort_keys=True),
    )
