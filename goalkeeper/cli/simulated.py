"""How a simulation looks in a terminal: pure functions from its models to rich renderables.

They run nothing and print nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from rich.console import Group, RenderableType
from rich.text import Text

from goalkeeper.cli.render import columns, duration, goal_state, plain, plan_tree
from goalkeeper.domain.approval import Question
from goalkeeper.domain.plan import Plan
from goalkeeper.domain.policy import Verdict
from goalkeeper.simulation.simulate import AskedPeople, Moment, Simulated
from goalkeeper.simulation.what_if import MOST, WhatIf

_MOMENTS = 200
_NAMES = 6


def shown(
    run: Simulated,
    plan: Plan,
    verdicts: Mapping[str, Verdict],
    table: Sequence[WhatIf],
    *,
    proven: bool,
) -> RenderableType:
    """A simulation from top to bottom."""
    parts: list[RenderableType] = [plan_tree(plan, verdicts, proven=proven)]
    if run.plan is not None:
        parts += [Text("\nWhat happens", style="bold"), _time_line(run.moments)]
    if run.asked:
        parts += [Text("\nWho is asked", style="bold"), _asked(run.asked)]
    parts.append(_end(run))
    if table:
        parts += [Text("\nWhat if", style="bold"), _what_if(table)]
    if len(table) >= MOST:
        parts.append(Text(f"… only the first {MOST} of these were tried", style="dim"))
    return Group(*parts)


def clock(moment: timedelta) -> str:
    """``t+00:05``: minutes and seconds, hours where there are any."""
    seconds = moment.total_seconds()
    whole, hours = int(seconds), int(seconds) // 3600
    text = f"{whole // 60 % 60:02}:{whole % 60:02}"
    return f"t+{hours}:{text}" if hours else f"t+{text}"


def _time_line(moments: Sequence[Moment]) -> RenderableType:
    lines = columns("WHEN", "TASK", "STATE", "")
    for moment in moments[:_MOMENTS]:
        name = Text(moment.task_id) if moment.task_id else Text("the goal", style="bold")
        lines.add_row(clock(moment.at), name, moment.state, Text(plain(moment.note), style="dim"))
    if len(moments) <= _MOMENTS:
        return lines
    more = f"… {len(moments) - _MOMENTS} more; --json has them all"
    return Group(lines, Text(more, style="dim"))


def _asked(requests: Iterable[AskedPeople]) -> RenderableType:
    lines = columns("WHEN", "FOR", "WHOM", "ABOUT", "SILENCE", "HERE")
    for asked in requests:
        groups = " or ".join(asked.groups) or "anyone known"
        about = ", ".join(asked.actions[:_NAMES]) + (" …" if len(asked.actions) > _NAMES else "")
        if asked.question is Question.OUTCOME:
            about = f"what became of {about}"
        within = duration(asked.expires_after.total_seconds())
        lines.add_row(
            clock(asked.at),
            asked.task_id,
            f"{asked.needed} of {groups}",
            plain(about),
            f"after {within}: {asked.silence}",
            _answer(asked),
        )
    return lines


def _answer(asked: AskedPeople) -> str:
    if asked.answer is None or asked.answered_after is None:
        return "nobody answers"
    after = duration(asked.answered_after.total_seconds())
    return f"{asked.answer.value.replace('_', ' ')} after {after}"


def _end(run: Simulated) -> RenderableType:
    took = duration(run.took.total_seconds())
    line = Text.assemble("\nThe goal ends as ", goal_state(run.state), f" after {took}")
    if run.stuck:
        line = Text.assemble(
            "\nThe goal stays ", goal_state(run.state), ": it waits for what never comes"
        )
    lines = [line]
    if run.failure is not None:
        why = f"{run.failure.code}: {plain(run.failure.message, 2000)}"
        lines.append(Text(why, style="red"))
    if run.undone:
        lines.append(Text(f"undone, in this order: {', '.join(run.undone)}", style="magenta"))
    if run.critical_path:
        lines.append(Text(f"the time goes by on {' → '.join(run.critical_path)}", style="dim"))
    return Group(*lines)


def _what_if(table: Iterable[WhatIf]) -> RenderableType:
    lines = columns("WHAT IF", "THE GOAL IS", "UNDONE", "STAYS DONE", "DOES NOT RUN")
    for row in table:
        state = goal_state(row.state)
        lines.add_row(
            row.change,
            state.append(" (waits)") if row.stuck else state,
            _names(row.undone),
            _names(row.kept),
            _names(row.skipped),
        )
    return lines


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return ", ".join(names[:_NAMES]) + more or "-"
