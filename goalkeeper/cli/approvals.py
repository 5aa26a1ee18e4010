"""Commands for whoever decides: inbox, approve, deny, resolve.

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
# The words of `goalkeeper.domain.approval`, which is not imported to print a help text.
_RUN = "run"
_OUTCOME = "outcome"

RequestArgument = Annotated[
    str,
    typer.Argument(metavar="REQUEST", help="The request's id, or the id of a goal that asks."),
]

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask once more.")]


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
        yes: YesOption = False,
    ) -> None:
        """Show exactly what would run, and approve it.

        What is approved is what is shown: if it changes afterwards, it does not run.

        Example: goalkeeper approve deploy-branch-20300101-120000-ab12cd --as operator
        """
        session.run(_decide(session, request, _RUN, "approve", reason, yes=yes))

    @command(app, "deny", rich_help_panel=_GROUP)
    def deny(
        session: Session,
        request: RequestArgument,
        reason: Annotated[str, typer.Option("--reason", "-r", help="Why not; goes on record.")],
    ) -> None:
        """Refuse a request. One refusal ends the goal."""
        session.run(_decide(session, request, _RUN, "deny", reason, yes=True))

    @command(app, "resolve", rich_help_panel=_GROUP)
    def resolve(
        session: Session,
        request: RequestArgument,
        reason: Annotated[
            str, typer.Option("--reason", "-r", help="How you know; goes on record.")
        ],
        task: Annotated[
            str | None, typer.Argument(metavar="TASK", help="The task, where several are unknown.")
        ] = None,
        happened: Annotated[
            bool | None,
            typer.Option(
                "--happened/--did-not-happen",
                help="It had its effect, and counts as done; or it had none, and runs again.",
            ),
        ] = None,
        yes: YesOption = False,
    ) -> None:
        """Say what became of an attempt that was lost in the middle of a side effect.

        Look into the system itself first: nobody here can tell.

        Example: goalkeeper resolve deploy-branch-20300101-120000-ab12cd merge --happened
        --reason "commit 1a2b3c is on main" --as operator
        """
        if happened is None:
            raise typer.BadParameter("say --happened or --did-not-happen")
        answer = "happened" if happened else "did_not_happen"
        session.run(_decide(session, request, _OUTCOME, answer, reason, task=task, yes=yes))


async def _inbox(session: Session) -> None:
    from goalkeeper.cli.render import columns, plain
    from hitl.cards import headline

    async with session.client() as gk:
        found = await gk.inbox()
    now = datetime.now(UTC)
    table = columns("REQUEST", "WHAT", "ASKED BY", "ANSWERS", "TIME LEFT")
    for asked in found:
        shown = headline(asked.request, now)
        table.add_row(
            plain(asked.request.id),
            shown.title,
            plain(asked.request.requester.id)
            + ("" if asked.request.requester.proven else " (unproven)"),
            f"{len(asked.approved_by)} of {asked.needed}",
            shown.time_left,
        )
    session.answer(found, table if found else "nothing waits for an answer")


async def _decide(
    session: Session,
    name: str,
    question: str,
    answer: str,
    reason: str,
    *,
    task: str | None = None,
    yes: bool,
) -> None:
    from goalkeeper.domain.approval import Answer

    async with session.client() as gk:
        asked = await _find(gk, name, question, task)
        if not yes:
            from goalkeeper.cli.cards import card_view

            # With --json, the card is for the person and only the outcome for the script.
            (session.err if session.json else session.out).print(card_view(asked))
            if not _confirmed(session, answer):
                session.remark("nothing was decided")
                raise typer.Exit(FAILED)
        decided = await gk.decide(
            asked.request.id, Answer(answer), reason=reason, digest=asked.digest
        )
    session.answer(decided, _outcome(decided))


_ASK = {
    "approve": "Approve exactly this?",
    "happened": "Are you sure that it happened?",
    "did_not_happen": "Are you sure that it did not happen, and may run again?",
}


def _confirmed(session: Session, answer: str) -> bool:
    """Ask on the terminal; without one there is nobody to ask, and the answer is no."""
    import sys

    if not sys.stdin.isatty():
        session.remark("there is no terminal to ask on: say --yes to answer without being asked")
        return False
    return typer.confirm(_ASK[answer], default=False, err=session.json)


def _outcome(decided: "Decided") -> str:
    if decided.message:
        return decided.message
    verb = {"approve": "approved", "deny": "denied"}.get(decided.answer, "answered")
    counted = "" if decided.counted else "; the goal has not taken it in yet, and will"
    return f"{verb} '{decided.request_id}' as {decided.person}{counted}"


async def _find(gk: "Client", name: str, question: str, task: str | None) -> "OpenRequest":
    """The request of that id, or the one open request of the goal of that id.

    Raises:
        NotFound: the goal asks nothing of the kind now.
        Conflict: it asks more than one thing, or something else.
    """
    from goalkeeper.domain.errors import Conflict, NotFound

    if "/" in name:
        found = await gk.gateway().request(name)
        if found.request.question != question:
            raise Conflict(_other(found))
        return found
    asked = [r for r in await gk.inbox() if r.request.goal_id == name]
    fit = [r for r in asked if r.request.question == question]
    fit = [r for r in fit if task is None or task in (r.request.task_id, *_tasks(r))]
    if len(fit) == 1:
        return fit[0]
    if fit:
        ids = ", ".join(r.request.id for r in fit[:20])
        raise Conflict(f"goal '{name}' asks more than one thing; name the request: {ids}")
    if asked and task is None:
        raise Conflict(_other(asked[0]))
    # Tells an unknown goal from one that asks nothing.
    state = (await gk.goal(name).progress()).state
    about = f" about task '{task}'" if task else ""
    raise NotFound(f"goal '{name}' is {state} and waits for no answer{about}")


def _tasks(asked: "OpenRequest") -> list[str]:
    return [a.task_id for a in asked.request.actions]


def _other(asked: "OpenRequest") -> str:
    from goalkeeper.cli.goalview import answer_command

    lost = asked.request.question == _OUTCOME
    what = "what became of a lost attempt" if lost else "whether something may run"
    return f"'{asked.request.id}' asks {what}; answer it with `{answer_command(asked)}`"
