"""Commands that ask for goals and look at them: submit, show, watch, list, logs.

What a goal is and does belongs to `goalkeeper.client`; here it is only asked and shown.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from goalkeeper.cli.session import DENIED, FAILED, Session, command

if TYPE_CHECKING:
    from goalkeeper.client import Client, Goal
    from goalkeeper.domain.goal import GoalResult

_GROUP = "Goals"

GoalArgument = Annotated[str, typer.Argument(metavar="GOAL", help="The goal's id.")]
ReasonOption = Annotated[str, typer.Option("--reason", "-r", help="Why; goes on record.")]
ContractArgument = Annotated[
    str, typer.Argument(metavar="CONTRACT", help="A contract's name, or a YAML file.")
]
PairsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE…", help="The contract's inputs.")
]
InputsOption = Annotated[
    str | None,
    typer.Option(
        "--inputs", "-f", metavar="FILE", help="Inputs from a JSON or YAML file; `-` is stdin."
    ),
]

IdOption = Annotated[
    str | None, typer.Option("--id", help="The new goal's id: makes the command repeatable.")
]
WatchOption = Annotated[
    bool, typer.Option("--watch", help="Show what happens until the goal's end.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @command(app, "submit", rich_help_panel=_GROUP)
    def submit(
        session: Session,
        contract: ContractArgument,
        pairs: PairsArgument = None,
        inputs: InputsOption = None,
        goal_id: IdOption = None,
        wait: Annotated[bool, typer.Option("--wait", help="Wait for the goal's end.")] = False,
        watch: WatchOption = False,
    ) -> None:
        """Ask for a goal.

        Example: goalkeeper submit read-file repository=https://… path=README.md --watch
        """
        session.run(_submit(session, contract, pairs or [], inputs, goal_id, wait, watch))

    @command(app, "show", rich_help_panel=_GROUP)
    def show(session: Session, goal_id: GoalArgument) -> None:
        """Show where a goal stands, task by task."""
        session.run(_show(session, goal_id))

    @command(app, "watch", rich_help_panel=_GROUP)
    def watch(session: Session, goal_id: GoalArgument) -> None:
        """Follow a goal until it has ended; the exit code says how."""
        session.run(_watch_id(session, goal_id))

    @command(app, "list", rich_help_panel=_GROUP)
    def list_(
        session: Session,
        state: Annotated[
            str | None, typer.Option("--in", metavar="STATE", help="Only goals in this state.")
        ] = None,
        limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000)] = 20,
    ) -> None:
        """List goals, the latest first.

        Example: goalkeeper list --in AwaitingApproval
        """
        session.run(_list(session, state, limit))

    @command(app, "logs", rich_help_panel=_GROUP)
    def logs(
        session: Session,
        goal_id: GoalArgument,
        task: Annotated[str | None, typer.Argument(metavar="TASK", help="One task's only.")] = None,
        follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more.")] = False,
    ) -> None:
        """Print the output of a goal's tasks."""
        session.run(_logs(session, goal_id, task, follow))


async def _submit(
    session: Session,
    contract: str,
    pairs: list[str],
    inputs: str | None,
    goal_id: str | None,
    wait: bool,
    watch: bool,
) -> None:
    from goalkeeper.cli.values import read_inputs
    from goalkeeper.client.submission import find_contract

    found, _ = find_contract(session.settings, contract)
    values = read_inputs(pairs, inputs, found.inputs)
    async with session.client() as gk:
        goal = await gk.submit(contract, inputs=values, goal_id=goal_id)
        await follow_up(session, gk, goal, watch=watch, wait=wait)


async def follow_up(
    session: Session, gk: "Client", goal: "Goal", *, watch: bool, wait: bool = False
) -> None:
    """What comes after a goal was asked for: its id, its end, or all that happens until then."""
    if not gk.has_person:
        _warn_unproven(session)
    if watch:
        await _watch(session, goal)
    elif wait:
        _finish(session, await goal.result())
    else:
        session.answer({"goal_id": goal.id, "state": "Submitted"}, goal.id)
        if session.out.is_terminal:
            session.remark(f"follow it with: goalkeeper watch {goal.id}")


def _warn_unproven(session: Session) -> None:
    from goalkeeper.client.people import known_people, local_user

    known = known_people(session.settings)
    choose = f" Say --as PERSON to prove who asks (here: {', '.join(known)})." if known else ""
    session.remark(
        f"note: submitted as '{local_user()}', which proves nothing: whatever needs approval "
        f"needs one more person.{choose}"
    )


async def _show(session: Session, goal_id: str) -> None:
    from goalkeeper.cli.goalview import goal_view
    from goalkeeper.cli.render import plain
    from hitl.overview import overview

    async with session.client() as gk:
        goal = gk.goal(goal_id)
        progress, summary = await goal.progress(), await goal.summary()
        whole = {
            **dict(progress),
            "counts": summary.counts,
            "waits_for_locks": summary.waits_for_locks,
        }
        session.answer(whole, lambda: goal_view(progress, overview(progress, summary)))
        for trouble in await goal.troubles():
            session.remark(plain(trouble.text, 2000))


async def _watch_id(session: Session, goal_id: str) -> None:
    async with session.client() as gk:
        await _watch(session, gk.goal(goal_id))


async def _watch(session: Session, goal: "Goal") -> None:
    """Follow a goal live on a terminal, line by line elsewhere; exits as the goal ended."""
    from goalkeeper.cli.live import follow

    await follow(session, goal)
    _finish(session, await goal.result(), told=True)


def _finish(session: Session, result: "GoalResult", *, told: bool = False) -> None:
    from goalkeeper.cli.render import goal_state, plain
    from goalkeeper.domain.plan import GoalState

    if not told:
        why = f"  {plain(result.failure.message, 2000)}" if result.failure else ""
        session.answer(result, lambda: goal_state(result.state).append(why, style="red"))
    if result.state is GoalState.SUCCEEDED:
        return
    refused = result.failure is not None and result.failure.code in _NO
    raise typer.Exit(DENIED if result.state is GoalState.DENIED or refused else FAILED)


_NO = {"PolicyDenied", "ApprovalDenied", "ApprovalExpired"}


async def _list(session: Session, state: str | None, limit: int) -> None:
    from goalkeeper.cli.render import columns, goal_state, plain

    async with session.client() as gk:
        found = [g async for g in gk.goals(state=state, limit=limit)]
    table = columns("GOAL", "STATE", "CONTRACT", "ENVIRONMENT", "ASKED BY", "STARTED")
    for goal in found:
        table.add_row(
            plain(goal.id),
            goal_state(goal.state),
            plain(goal.contract),
            plain(goal.environment),
            plain(goal.requester),
            f"{goal.started_at.astimezone():%Y-%m-%d %H:%M:%S}",
        )
    session.answer(found, table if found else "no goals")


async def _logs(session: Session, goal_id: str, task: str | None, follow: bool) -> None:
    from goalkeeper.cli.render import plain

    async with session.client() as gk:
        goal = gk.goal(goal_id)
        async for line in goal.logs(task, follow=follow):
            if session.json:
                session.line({"task_id": line.task_id, "text": line.text})
            else:
                prefix = "" if task else f"{line.task_id:<12} "
                for part in line.text.splitlines():
                    print(f"{prefix}{plain(part, 100_000)}", flush=True)
