"""How a replay of past goals looks in a terminal: models to renderables.

They fetch nothing and print nothing.
"""

from rich.table import Table
from rich.text import Text

from goalkeeper.cli.render import columns, plain
from goalkeeper.policy.replaying import Change, Replayed

_STYLES = {"allow": "green", "ask": "yellow", "deny": "bold red"}


def shown(found: Replayed) -> Table | str:
    """What would be answered otherwise, then what might be."""
    if not found.changes and not found.uncertain:
        return "no answer would differ"
    table = columns("GOAL", "TASK", "OPERATION", "ENVIRONMENT", "WAS", "NOW", "WHY")
    for change in found.changes:
        _add(table, change, _answer(change.now))
    for change in found.uncertain:
        _add(table, change, Text.assemble(_answer(change.now), ("  perhaps", "dim")))
    return table


def summary(found: Replayed) -> str:
    """How much was compared, and what it comes to."""
    parts = [f"{found.goals} goals, {found.actions} actions, {len(found.changes)} would differ"]
    parts += [f"{kind}: {n}" for kind, n in sorted(found.counts.items())]
    if found.uncertain:
        parts.append(f"{len(found.uncertain)} depend on inputs that are not at hand")
    if found.goals_now:
        whole = (f"{n} {kind}" for kind, n in sorted(found.goals_now.items()))
        parts.append(f"whole goals: {', '.join(whole)}")
    if found.untold:
        parts.append(f"{len(found.untold)} goals have no action on record")
    return "; ".join(parts)


def _add(table: Table, change: Change, now: Text) -> None:
    hanging = (f"{d.rule} holds {d.only}" for d in change.depends)
    table.add_row(
        plain(change.goal_id),
        plain(change.task),
        plain(change.operation),
        plain(change.environment),
        _answer(change.was),
        now,
        plain("; ".join((*change.reasons, *hanging))),
    )


def _answer(text: str) -> Text:
    return Text(plain(text), style=_STYLES.get(text.partition(" ")[0], ""))
