"""Commands that steer goals: pause, resume, cancel, retry, skip, change, signal, rerun, rollback.

What a command does belongs to `goalkeeper.client`; here it is only read, sent and confirmed.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from goalkeeper.cli.goals import GoalArgument, IdOption, ReasonOption, WatchOption, follow_up
from goalkeeper.cli.session import Session, command

if TYPE_CHECKING:
    from goalkeeper.client import Goal

_GROUP = "Control"

TaskArgument = Annotated[str, typer.Argument(metavar="TASK", help="The task's id.")]
WhyOption = Annotated[str, typer.Option("--reason", "-r", help="Why; goes on record.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @command(app, "pause", rich_help_panel=_GROUP)
    def pause(session: Session, goal_id: GoalArgument, reason: ReasonOption = "") -> None:
        """Start no further task of a goal; what runs goes on."""
        session.run(_tell(session, goal_id, "pause", lambda g: g.pause(reason)))

    @command(app, "resume", rich_help_panel=_GROUP)
    def resume(session: Session, goal_id: GoalArgument, reason: ReasonOption = "") -> None:
        """Go on with a paused goal."""
        session.run(_tell(session, goal_id, "resume", lambda g: g.resume(reason)))

    @command(app, "cancel", rich_help_panel=_GROUP)
    def cancel(
        session: Session,
        goal_id: GoalArgument,
        task: Annotated[
            str | None, typer.Option("--task", "-t", metavar="TASK", help="Only this task.")
        ] = None,
        no_rollback: Annotated[
            bool, typer.Option("--no-rollback", help="Leave what was done as it is.")
        ] = False,
        reason: ReasonOption = "",
    ) -> None:
        """Stop a goal, or one task of it. What was done is undone where it can be.

        Example: goalkeeper cancel deploy-branch-20300101-120000-ab12cd --reason "wrong branch"
        """
        if task is not None and no_rollback:
            raise typer.BadParameter("--no-rollback is for a whole goal, not for one task")
        if task is not None:
            work = _tell(
                session, goal_id, "cancel_task", lambda g: g.cancel_task(task, reason), task
            )
        else:
            undo = not no_rollback
            work = _tell(session, goal_id, "cancel", lambda g: g.cancel(reason, compensate=undo))
        session.run(work)

    _register_tasks(app)
    _register_again(app)


def _register_tasks(app: typer.Typer) -> None:
    @command(app, "retry", rich_help_panel=_GROUP)
    def retry(
        session: Session, goal_id: GoalArgument, task: TaskArgument, reason: ReasonOption = ""
    ) -> None:
        """Run a failed task of a paused goal again. It is judged and approved anew."""
        session.run(
            _tell(session, goal_id, "retry_task", lambda g: g.retry_task(task, reason), task)
        )

    @command(app, "skip", rich_help_panel=_GROUP)
    def skip(
        session: Session, goal_id: GoalArgument, task: TaskArgument, reason: WhyOption
    ) -> None:
        """Leave a task out; what needs it goes on without its outputs.

        Example: goalkeeper skip deploy-branch-20300101-120000-ab12cd smoke --reason "host is down"
        """
        session.run(_tell(session, goal_id, "skip_task", lambda g: g.skip_task(task, reason), task))

    @command(app, "change", rich_help_panel=_GROUP)
    def change(
        session: Session,
        goal_id: GoalArgument,
        task: TaskArgument,
        inputs: Annotated[
            list[str],
            typer.Option("--input", "-i", metavar="NAME=VALUE", help="An input's new value."),
        ],
        reason: ReasonOption = "",
    ) -> None:
        """Give a task that has not begun other inputs. Whatever changes is approved anew.

        Values are read by the operation's types; arrays and objects are written as JSON.

        Example: goalkeeper change deploy-branch-20300101-120000-ab12cd deploy -i replicas=3
        """
        session.run(_change(session, goal_id, task, inputs, reason))

    @command(app, "signal", rich_help_panel=_GROUP)
    def signal(
        session: Session,
        goal_id: GoalArgument,
        name: Annotated[str, typer.Argument(metavar="NAME", help="The event's name.")],
        payload: Annotated[
            str | None,
            typer.Option(
                "--payload",
                "-p",
                metavar="JSON",
                help="For the waiting task's outputs: JSON, @FILE, or @- for standard input.",
            ),
        ] = None,
    ) -> None:
        """Send an event, for a task that waits for one of this name. It is no approval.

        Example: goalkeeper signal night-shift dawn --payload '{"temperature": 4}'
        """
        session.run(_signal(session, goal_id, name, payload))


def _register_again(app: typer.Typer) -> None:
    @command(app, "rerun", rich_help_panel=_GROUP)
    def rerun(
        session: Session,
        goal_id: GoalArgument,
        from_task: Annotated[
            str,
            typer.Option("--from", metavar="TASK", help="This task and what comes after it."),
        ],
        new_id: IdOption = None,
        watch: WatchOption = False,
    ) -> None:
        """Run a finished goal again from one task on, as a new goal; prints its id.

        Earlier results are kept; what runs again is judged and approved anew.

        Example: goalkeeper rerun deploy-branch-20300101-120000-ab12cd --from deploy --watch
        """
        session.run(_again(session, goal_id, "rerun", new_id, watch, from_task))

    @command(app, "rollback", rich_help_panel=_GROUP)
    def rollback(
        session: Session,
        goal_id: GoalArgument,
        new_id: IdOption = None,
        watch: WatchOption = False,
    ) -> None:
        """Undo what a finished goal did, the last first, as a new goal; prints its id.

        Undoing is judged like anything else, and people are asked where policy says so.

        Example: goalkeeper rollback deploy-branch-20300101-120000-ab12cd --watch
        """
        session.run(_again(session, goal_id, "rollback", new_id, watch))


async def _tell(
    session: Session,
    goal_id: str,
    what: str,
    order: "Callable[[Goal], Awaitable[None]]",
    task: str | None = None,
) -> None:
    async with session.client() as gk:
        await order(gk.goal(goal_id))
    subject = f"task '{task}' of goal '{goal_id}'" if task else f"goal '{goal_id}'"
    session.answer({"goal_id": goal_id, "task_id": task, "done": what}, f"{_DONE[what]} {subject}")


_DONE = {
    "pause": "paused",
    "resume": "resumed",
    "cancel": "cancelling",
    "cancel_task": "cancelled",
    "retry_task": "running again:",
    "skip_task": "skipped",
    "change_task": "changed",
}


async def _change(session: Session, goal_id: str, task: str, pairs: list[str], reason: str) -> None:
    from goalkeeper.cli.values import read_pairs

    async def order(goal: "Goal") -> None:
        values = read_pairs(pairs, await _kinds(session, goal, task))
        await goal.change_task(task, values, reason)

    await _tell(session, goal_id, "change_task", order, task)


async def _kinds(session: Session, goal: "Goal", task: str) -> dict[str, str]:
    """The types of a task's inputs, from its operation's schema."""
    from connectors.registry import known_operations
    from goalkeeper.cli.values import kinds_of
    from goalkeeper.domain.errors import NotFound

    plan = (await goal.progress()).plan
    found = next((t for t in plan.tasks if t.id == task), None) if plan else None
    if found is None:
        raise NotFound(f"goal '{goal.id}' has no task '{task}' (`goalkeeper show {goal.id}`)")
    operation = known_operations(session.settings).get(found.operation)
    # What is no operation cannot be changed, which the goal says better.
    return kinds_of(operation.inputs.model_json_schema()) if operation else {}


async def _signal(session: Session, goal_id: str, name: str, payload: str | None) -> None:
    from goalkeeper.cli.values import read_payload

    value = read_payload(payload)
    async with session.client() as gk:
        await gk.goal(goal_id).signal(name, value)
    session.answer(
        {"goal_id": goal_id, "signal": name, "done": "signal"},
        f"sent '{name}' to goal '{goal_id}'",
    )


async def _again(
    session: Session, goal_id: str, what: str, new_id: str | None, watch: bool, *tasks: str
) -> None:
    async with session.client() as gk:
        goal = gk.goal(goal_id)
        if what == "rerun":
            new = await goal.rerun(tasks[0], goal_id=new_id)
        else:
            new = await goal.rollback(goal_id=new_id)
        await follow_up(session, gk, new, watch=watch)
