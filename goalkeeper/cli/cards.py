"""An approval request in a terminal: the card of `hitl.cards`, the same as on the console.

It lays out and adds nothing: every text on a card is plain already.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table as Grid
from rich.text import Text

from goalkeeper.contracts.goal import OpenRequest
from hitl.cards import ACTIONS_SHOWN, ActionCard, card
from hitl.choices import names
from hitl.text import Fact, Section, Table, plain

_WIDTH = 100
"""Lines that are longer are hard to read, and pipes have no width of their own."""


def card_view(asked: OpenRequest) -> RenderableType:
    """Everything that a person must see before answering."""
    shown = card(
        asked.request, datetime.now(UTC), approved_by=asked.approved_by, closed=asked.closed
    )
    parts: list[RenderableType] = [_facts(shown.facts)]
    if shown.time_left:
        parts.append(Text(f"Time left: {shown.time_left}"))
    parts += [Text(f"! {w}", style="bold yellow") for w in shown.warnings]
    parts += [Text(f"Asked because: {r}") for r in shown.reasons]
    if shown.changes:
        parts.append(_grid(shown.changes))
    parts.append(Text(f"\n{shown.heading}:"))
    for action in shown.actions[:ACTIONS_SHOWN]:
        parts += _action(action)
    if len(shown.actions) > ACTIONS_SHOWN:
        parts.append(_more([a.task_id for a in shown.actions[ACTIONS_SHOWN:]]))
    for item in shown.evidence:
        parts.append(Text(f"Evidence {plain(item.name)}: {item.size} bytes, {item.digest}"))
    for preview in shown.previews:
        parts.append(Text.assemble("\n", (f"Output of {preview.title}", "bold")))
        parts.append(_indented(_section(preview)))
    parts.append(Text("\n" + "\n".join(f"{c.label}: {c.leads_to}" for c in shown.choices)))
    parts.append(Text(f"Request {shown.digest}", style="dim"))
    return Panel(
        Group(*parts),
        title=Text(shown.title),
        title_align="left",
        border_style="yellow",
        width=_WIDTH,
    )


def _action(action: ActionCard) -> list[RenderableType]:
    return [
        Text.assemble("\n", (action.task_id, "bold"), f": {action.operation}"),
        _indented(_facts(action.facts)),
        _indented(_section(action.inputs)),
        _indented(Text(action.digest, style="dim")),
    ]


def _section(section: Section) -> RenderableType:
    parts: list[RenderableType] = [_facts(section.facts)] if section.facts else []
    parts += [_grid(table) for table in section.tables]
    if section.omitted:
        parts.append(Text(section.omitted, style="dim"))
    return Group(*parts)


def _more(ids: Sequence[str]) -> RenderableType:
    text = f"\nand {len(ids)} more, part of this request too: {names(ids)}. All of them are on the "
    return Text(text + "console's page and in `goalkeeper inbox --json`.", style="bold yellow")


def _grid(table: Table) -> RenderableType:
    shown = Grid(box=box.SIMPLE, title=Text(table.title), title_justify="left")
    for column in table.columns:
        shown.add_column(Text(column), overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(cell) for cell in row))
    return shown


def _facts(facts: Iterable[Fact]) -> RenderableType:
    grid = Grid.grid(padding=(0, 2))
    grid.add_column(style="dim", max_width=30, overflow="fold")
    grid.add_column(overflow="fold")
    for fact in facts:
        grid.add_row(Text(fact.label), Text(fact.value))
    return grid


def _indented(part: RenderableType) -> RenderableType:
    return Padding(part, (0, 0, 0, 2))
