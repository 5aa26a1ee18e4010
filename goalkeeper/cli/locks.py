"""Commands on named locks: list them, and break one.

Who has a lock belongs to its own workflow; here it is only asked and shown.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from goalkeeper.cli.session import (
    AsOption,
    DebugOption,
    JsonOption,
    Session,
    StateOption,
    command,
    merged,
)

if TYPE_CHECKING:
    from goalkeeper.contracts.locks import LockView

_SHOWN = 3


def register(app: typer.Typer) -> None:
    """Add the commands."""
    locks = typer.Typer(invoke_without_command=True)
    app.add_typer(locks, name="locks", rich_help_panel="Goals")

    @locks.callback()
    def list_(
        ctx: typer.Context,
        state: StateOption = None,
        as_person: AsOption = None,
        as_json: JsonOption = False,
        debug: DebugOption = False,
    ) -> None:
        """List named locks: which goal has one, and which wait for it."""
        # Also what `break` builds on, whose options may stand before it.
        ctx.obj = merged(ctx.obj, state=state, person=as_person, json=as_json, debug=debug)
        if ctx.invoked_subcommand is None:
            ctx.obj.run(_list(ctx.obj))

    @command(locks, "break")
    def break_(
        session: Session,
        name: Annotated[str, typer.Argument(metavar="LOCK", help="The lock's name.")],
        reason: Annotated[str, typer.Option("--reason", "-r", help="Why; goes on record.")],
    ) -> None:
        """Take a lock from the goal that has it, and give it to the next.

        The goal is not stopped and does not hear of it: pause or cancel it first.

        Example: goalkeeper locks break production --reason "its host is gone"
        """
        session.run(_break(session, name, reason))


async def _list(session: Session) -> None:
    from goalkeeper.cli.render import columns, plain

    async with session.client() as gk:
        found = await gk.locks()
    table = columns("LOCK", "GOAL", "SINCE", "WAITING")
    for view in found:
        first = view.holders[0] if view.holders else None
        table.add_row(
            plain(view.name),
            plain(_few([h.goal_id for h in view.holders])) if first else "free",
            f"{first.since.astimezone():%Y-%m-%d %H:%M:%S}" if first else "",
            plain(_few([c.goal_id for c in view.queue])),
        )
    session.answer(found, table if found else "no goal has asked for a lock yet")


def _few(goals: list[str]) -> str:
    more = f" and {len(goals) - _SHOWN} more" if len(goals) > _SHOWN else ""
    return ", ".join(goals[:_SHOWN]) + more


async def _break(session: Session, name: str, reason: str) -> None:
    async with session.client() as gk:
        view = await gk.break_lock(name, reason=reason)
    session.answer(view, lambda: _after(view))


def _after(view: "LockView") -> str:
    from goalkeeper.cli.render import plain

    if not view.holders:
        return f"lock '{view.name}' is free"
    return plain(f"lock '{view.name}' is with {_few([h.goal_id for h in view.holders])} now")
