"""How a goal looks in a terminal: a tree of its steps, or what matters most of a large one.

It lays out the overview of `hitl.overview`, the same as on the console, and fetches nothing.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from goalkeeper.cli.render import (
    Widths,
    add_stage,
    duration,
    goal_state,
    plain,
    requirement_text,
    stages,
)
from goalkeeper.contracts.goal import OpenRequest, Progress
from goalkeeper.domain.approval import Question
from goalkeeper.domain.plan import Plan, TaskState
from hitl.overview import RANK, Overview, TaskRow, counts_text

LINES = 150
"""A goal that would take more lines is shown by what matters most, and counts."""
_IN_STAGE = 25
_ITEMS = 8
_REQUESTS = 10

_STYLE = {
    TaskState.PENDING: "dim",
    TaskState.AWAITING_APPROVAL: "yellow",
    TaskState.RUNNING: "cyan",
    TaskState.SUCCEEDED: "green",
    TaskState.FAILED: "red",
    TaskState.SKIPPED: "dim",
    TaskState.CANCELLED: "magenta",
    TaskState.COMPENSATED: "magenta",
    TaskState.UNKNOWN: "bold red",
}
_DULL = (TaskState.SUCCEEDED, TaskState.PENDING)


def goal_view(
    progress: Progress,
    shown: Overview,
    *,
    now: datetime | None = None,
    lines: int = LINES,
) -> RenderableType:
    """A goal with its tasks, their states, times and failures, and what people are asked.

    Args:
        progress: its tasks.
        shown: the overview of it; taken apart from the drawing, which is done again and again.
        now: to count the time of running tasks to.
        lines: about how many lines there are at most.
    """
    moment = now or datetime.now(UTC)
    head = Text.assemble(
        (progress.goal_id, "bold"),
        "  ",
        goal_state(progress.state),
        ("  asked by ", "dim"),
        (_who(progress), "dim"),
    )
    parts: list[RenderableType] = []
    requests = [r for r in progress.requests if r.closed is None]
    left = lines - 2 * len(requests[:_REQUESTS]) - len(shown.notes) - 3
    if progress.plan is None:
        parts.append(head)
    elif shown.hidden == 0 and _height(shown, progress.plan) <= left:
        parts.append(_tree(head, shown, progress.plan, moment))
    else:
        parts += [head, *_compact(shown, max(5, left), moment)]
    parts += [Text(note, style="yellow") for note in shown.notes]
    if progress.failure:
        why = f"{progress.failure.code}: {plain(progress.failure.message, 2000)}"
        parts.append(Text(why, style="red"))
    parts.extend(_request_lines(requests))
    return Group(*parts)


def _height(shown: Overview, plan: Plan) -> int:
    """How many lines the tree would take."""
    folded = sum(1 + len(_worth(r.items)[:_ITEMS]) for r in shown.rows if r.counts)
    wide = [len(s) for s in stages(plan)]
    return folded + sum(1 if n == 1 else min(n, _IN_STAGE) + 2 for n in wide)


def _tree(head: Text, shown: Overview, plan: Plan, now: datetime) -> Tree:
    rows = {r.id: r for r in shown.rows}
    width = Widths((r.id, r.operation) for r in shown.rows)
    tree = Tree(head, guide_style="dim")
    for stage in stages(plan):
        found = [rows[t.id] for t in stage if t.id in rows]
        if len(found) > _IN_STAGE:
            found.sort(key=_interest)
        lines = [_folded(r, width, now) if r.counts else _line(r, width, now) for r in found]
        add_stage(tree, lines, _states(found[_IN_STAGE:]), most=_IN_STAGE)
    return tree


def _folded(row: TaskRow, width: Widths, now: datetime) -> Tree:
    """A task that runs for each of a list: how many are where, and those worth a look."""
    tree = Tree(_line(row, width, now), guide_style="dim")
    tree.add(Text(counts_text(row.counts)))
    worth = _worth(row.items)[:_ITEMS]
    own = Widths((r.id, r.operation) for r in worth)
    for item in worth:
        tree.add(_line(item, own, now))
    return tree


def _compact(shown: Overview, lines: int, now: datetime) -> Iterable[RenderableType]:
    yield Text(counts_text(shown.counts))
    flat = [i for r in shown.rows for i in (r.items if r.counts else (r,))]
    worth = sorted(_worth(flat), key=_interest)
    width = Widths((r.id, r.operation) for r in worth[:lines])
    for row in worth[:lines]:
        yield Text("  ") + _line(row, width, now)
    if len(worth) > lines:
        yield Text("  … and the others that are counted above", style="dim")


def _worth(rows: Iterable[TaskRow]) -> list[TaskRow]:
    """Those that a person looks for: neither done nor still to come."""
    return [r for r in rows if r.state not in _DULL]


def _interest(row: TaskRow) -> int:
    return RANK[row.state]


def _states(rows: Sequence[TaskRow]) -> str:
    found: dict[TaskState, int] = {}
    for row in rows:
        found[row.state] = found.get(row.state, 0) + 1
    return counts_text(found.items())


def _line(row: TaskRow, width: Widths, now: datetime) -> Text:
    style = _STYLE[row.state]
    line = width.head(row.id, row.operation, style="dim" if style == "dim" else "bold")
    line.append(row.state.value, style=style)
    if row.generation:
        line.append(f" (retry {row.generation})", style="dim")
    seconds = _seconds(row, now)
    if seconds is not None:
        line.append(f"  {duration(seconds)}", style="dim")
    if row.always:
        line.append("  finally", style="dim")
    if row.note:
        line.append(f"  {row.note}", style="red" if row.bad else "dim")
    if row.child:
        line.append(f"  {row.child}", style="dim")
    return line


def _seconds(row: TaskRow, now: datetime) -> float | None:
    if row.started_at is None:
        return None
    end = datetime.fromisoformat(row.ended_at) if row.ended_at else now
    return max(0.0, (end - datetime.fromisoformat(row.started_at)).total_seconds())


def _who(progress: Progress) -> str:
    who = plain(progress.requester.id, 100)
    return who if progress.requester.proven else f"{who} (unproven)"


def _request_lines(requests: Sequence[OpenRequest]) -> Iterable[Text]:
    for asked in requests[:_REQUESTS]:
        lost = asked.request.question is Question.OUTCOME
        requirement = asked.request.requirement.model_copy(update={"approvals": asked.needed})
        so_far = f", so far {', '.join(asked.approved_by)}" if asked.approved_by else ""
        yield Text.assemble(
            ("asks what happened " if lost else "waits for approval ", "yellow"),
            (asked.request.id, "bold"),
            f" by {requirement_text(requirement)}{so_far}; ",
            "answer with " if lost else "decide with ",
            (answer_command(asked), "cyan"),
        )
    if len(requests) > _REQUESTS:
        yield Text(f"and {len(requests) - _REQUESTS} more requests (goalkeeper inbox)")


def answer_command(asked: OpenRequest) -> str:
    """The command that shows a request and answers it."""
    if asked.request.question is Question.OUTCOME:
        return f"goalkeeper resolve {asked.request.id} --happened|--did-not-happen --reason …"
    return f"goalkeeper approve {asked.request.id}"
