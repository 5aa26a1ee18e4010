"""Following a goal: a view that redraws itself on a terminal, one line an event elsewhere.

It only watches; the end of the goal is for the caller to judge.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from goalkeeper.cli.goalview import answer_command, goal_view
from goalkeeper.cli.render import plain
from goalkeeper.client.events import EventKind, GoalEvent
from goalkeeper.contracts.goal import Progress
from goalkeeper.domain.plan import TaskState
from hitl.overview import Overview, overview

if TYPE_CHECKING:
    from goalkeeper.cli.session import Session
    from goalkeeper.client import Goal

_AT_ONCE = 20
"""Of so many tasks that come to the same state between two looks, each has its line."""
_BAD = (TaskState.FAILED, TaskState.UNKNOWN)


async def follow(session: "Session", goal: "Goal") -> None:
    """Show what happens until the goal has ended."""
    if session.json:
        async for event in goal.events():
            session.line(event)
    elif session.out.is_terminal:
        await _view(session, goal)
    else:
        async for look in goal.looks():
            for line in lines(look.events):
                session.out.print(line, soft_wrap=True)


async def _view(session: "Session", goal: "Goal") -> None:
    seen: Progress | None = None
    shown: Overview | None = None

    def view() -> RenderableType:
        if seen is None or shown is None:
            return Text(f"{goal.id}: waiting for a worker")
        return goal_view(seen, shown, lines=session.out.height - 2)

    # Redrawn on its own, so that the durations of running tasks go on.
    with Live(console=session.out, refresh_per_second=4, get_renderable=view) as live:
        async for look in goal.looks():
            if look.progress is not None:
                shown = overview(look.progress, look.summary)
                seen = look.progress
            for event in look.events:
                if event.kind in (EventKind.DECISION_REFUSED, EventKind.TROUBLE):
                    live.console.print(_line(event))


def lines(events: Sequence[GoalEvent]) -> Iterable[Text]:
    """The events as lines; where a thousand tasks move at once, most of them are only counted."""
    told: Counter[TaskState] = Counter()
    for event in events:
        state = event.task.state if event.kind is EventKind.TASK and event.task else None
        if state is not None and state not in _BAD:
            told[state] += 1
            if told[state] > _AT_ONCE:
                continue
        elif state is None:
            # What the goal says comes after its tasks, and so does what was left out of them.
            yield from _left_out(told)
        yield _line(event)
    yield from _left_out(told)


def _left_out(told: "Counter[TaskState]") -> Iterable[Text]:
    for state, count in told.items():
        if count > _AT_ONCE:
            yield Text(f"{count - _AT_ONCE} more tasks are {state}")
    told.clear()


def _line(event: GoalEvent) -> Text:
    line = Text(plain(event.text, 2000))
    if event.kind is EventKind.APPROVAL_ASKED and event.request is not None:
        line.append(f"  ({answer_command(event.request)})", style="cyan")
    return line
