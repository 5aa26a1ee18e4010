"""Commands for whoever decides: inbox, approve, deny.

They show what the console shows and send the answer to the gateway; nothing is decided here.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from goalkeeper.cli.goals import ReasonOption
from goalkeeper.cli.session import FAILED, Session, command

if TYPE_CHECKING:
    from goalkeeper.client import Client, Decided
    from goalkeeper.contracts.goal import OpenRequest

_GROUP = "Approvals"

RequestArgument = Annotated[
    str,
    typer.Argument(metavar="REQUEST", help="The request's id, or the id of a goal that asks."),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @command(app, "inbox", rich_help_panel=_GROUP)
    def inbox(session: Session) -> None:
        """List what waits for an answer, the most urgent first."""
        session.run(_inbox(session))

    @command(app, "approve", rich_help_panel=_GROUP)
    def approve(
        session: Session,
        request: RequestArgument,
        reason: ReasonOption = "",
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask once more.")] = False,
    ) -> None:
        """Show exactly what would run, and approve it.

        What is approved is what is shown: if it changes afterwards, it does not run.

        Example: goalkeeper approve deploy-branch-20300101-120000-ab12cd --as operator
        """
        session.run(_decide(session, request, "approve", reason, yes))

    @command(app, "deny", rich_help_panel=_GROUP)
    def deny(
        session: Session,
        request: RequestArgument,
        reason: Annotated[str, typer.Option("--reason", "-r", help="Why not; goes on record.")],
    ) -> None:
        """Refuse a request. One refusal ends the goal."""
        session.run(_decide(session, request, "deny", reason, True))


async def _inbox(session: Session) -> None:
    from goalkeeper.cli.render import columns, plain
    from hitl.cards import card

    async with session.client() as gk:
        found = await gk.inbox()
    now = datetime.now(UTC)
    table = columns("REQUEST", "WHAT", "ASKED BY", "APPROVALS", "TIME LEFT")
    for asked in found:
        shown = card(asked.request, now, approved_by=asked.approved_by)
        table.add_row(
            plain(asked.request.id),
            shown.title,
            plain(asked.request.requester.id)
            + ("" if asked.request.requester.proven else " (unproven)"),
            f"{len(asked.approved_by)} of {asked.needed}",
            shown.time_left,
        )
    session.answer(found, table if found else "nothing waits for an answer")


async def _decide(session: Session, name: str, answer: str, reason: str, yes: bool) -> None:
    from goalkeeper.domain.approval import Answer

    async with session.client() as gk:
        asked = await _find(gk, name)
        if not yes:
            from goalkeeper.cli.cards import card_view

            # With --json, the card is for the person and only the outcome for the script.
            (session.err if session.json else session.out).print(card_view(asked))
            if not _confirmed(session):
                session.remark("nothing was decided")
                raise typer.Exit(FAILED)
        decided = await gk.decide(
            asked.request.id, Answer(answer), reason=reason, digest=asked.digest
        )
    session.answer(decided, _outcome(decided))


def _confirmed(session: Session) -> bool:
    """Ask on the terminal; without one there is nobody to ask, and the answer is no."""
    import sys

    if not sys.stdin.isatty():
        session.remark("there is no terminal to ask on: say --yes to approve without being asked")
        return False
    return typer.confirm("Approve exactly this?", default=False, err=session.json)


def _outcome(decided: "Decided") -> str:
    if decided.message:
        return decided.message
    verb = "approved" if decided.answer.value == "approve" else "denied"
    counted = "" if decided.counted else "; the goal has not taken it in yet, and will"
    return f"{verb} '{decided.request_id}' as {decided.person}{counted}"


async def _find(gk: "Client", name: str) -> "OpenRequest":
    """The request of that id, or the one open request of the goal of that id.

    Raises:
        NotFound: the goal asks nothing now.
        Conflict: it asks more than one thing.
    """
    from goalkeeper.domain.errors import Conflict, NotFound

    if "/" in name:
        return await gk.gateway().request(name)
    found = [r for r in await gk.inbox() if r.request.goal_id == name]
    if len(found) == 1:
        return found[0]
    if not found:
        # Tells an unknown goal from one that asks nothing.
        state = (await gk.goal(name).progress()).state
        raise NotFound(f"goal '{name}' is {state} and waits for no answer")
    ids = ", ".join(r.request.id for r in found)
    raise Conflict(f"goal '{name}' asks more than one thing; name the request: {ids}")
