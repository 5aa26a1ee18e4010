"""Following a goal: a tree that redraws itself on a terminal, one line an event elsewhere.

It only watches; the end of the goal is for the caller to judge.
"""

from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from goalkeeper.cli.render import goal_tree, plain
from goalkeeper.client.events import EventKind, GoalEvent
from goalkeeper.contracts.goal import Progress

if TYPE_CHECKING:
    from goalkeeper.cli.session import Session
    from goalkeeper.client import Goal


async def follow(session: "Session", goal: "Goal") -> None:
    """Show what happens until the goal has ended."""
    if session.json:
        async for event in goal.events():
            session.line(event)
    elif session.out.is_terminal:
        await _tree(session, goal)
    else:
        async for event in goal.events():
            session.out.print(_line(event), soft_wrap=True)


async def _tree(session: "Session", goal: "Goal") -> None:
    seen: Progress | None = None

    def view() -> RenderableType:
        return goal_tree(seen) if seen else Text(f"{goal.id}: waiting for a worker")

    # Redrawn on its own, so that the durations of running tasks go on.
    with Live(console=session.out, refresh_per_second=4, get_renderable=view) as live:
        async for look in goal.looks():
            seen = look.progress or seen
            for event in look.events:
                if event.kind in (EventKind.DECISION_REFUSED, EventKind.TROUBLE):
                    live.console.print(_line(event))


def _line(event: GoalEvent) -> Text:
    line = Text(plain(event.text, 2000))
    if event.kind is EventKind.APPROVAL_ASKED and event.request is not None:
        line.append(f"  (goalkeeper approve {event.request.request.id})", style="cyan")
    return line
