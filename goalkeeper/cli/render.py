"""How plans and goals look in a terminal: pure functions from models to rich renderables.

They fetch nothing and print nothing; text from outside is made plain, so that it can neither
style nor steer the terminal.
"""

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from goalkeeper.contracts.goal import OpenRequest, Progress
from goalkeeper.domain.goal import TaskStatus
from goalkeeper.domain.plan import APPROVAL, GoalState, Plan, PlanTask, TaskState
from goalkeeper.domain.policy import Effect, Requirement, Verdict

_SHOWN_IN_PARALLEL = 25
_LONGEST = 500

_TASK_STYLE = {
    TaskState.PENDING: "dim",
    TaskState.AWAITING_APPROVAL: "yellow",
    TaskState.RUNNING: "cyan",
    TaskState.SUCCEEDED: "green",
    TaskState.FAILED: "red",
    TaskState.SKIPPED: "dim",
    TaskState.CANCELLED: "magenta",
    TaskState.COMPENSATED: "magenta",
    TaskState.UNKNOWN: "bold red",
}
_GOAL_STYLE = {
    GoalState.PLANNING: "cyan",
    GoalState.RUNNING: "cyan",
    GoalState.AWAITING_APPROVAL: "yellow",
    GoalState.PAUSED: "yellow",
    GoalState.COMPENSATING: "magenta",
    GoalState.SUCCEEDED: "bold green",
    GoalState.FAILED: "bold red",
    GoalState.DENIED: "bold red",
    GoalState.CANCELLED: "magenta",
    GoalState.ROLLED_BACK: "bold magenta",
}
_RISK_STYLE = {"read": "dim", "write": "yellow", "destructive": "red", "privileged": "bold red"}
# What a person looks for first when a step has more tasks than can be shown.
_INTEREST = [
    TaskState.FAILED,
    TaskState.UNKNOWN,
    TaskState.AWAITING_APPROVAL,
    TaskState.RUNNING,
    TaskState.COMPENSATED,
    TaskState.CANCELLED,
    TaskState.SKIPPED,
    TaskState.SUCCEEDED,
    TaskState.PENDING,
]


def plain(text: str, limit: int = _LONGEST) -> str:
    """Text without terminal control and invisible characters; line ends and tabs become spaces."""
    shown = "".join(_character(c) for c in text[:limit])
    return shown if len(text) <= limit else shown + "…"


def _character(character: str) -> str:
    if character in "\n\r\t":
        return " "
    return "�" if unicodedata.category(character)[0] == "C" else character


def goal_state(state: GoalState) -> Text:
    """A goal's state in its colour."""
    return Text(state.value, style=_GOAL_STYLE[state])


def stages(plan: Plan) -> list[list[PlanTask]]:
    """The tasks by how many steps precede them: those of one stage may run side by side."""
    depth: dict[str, int] = {}
    found: list[list[PlanTask]] = []
    for task in plan.tasks:
        at = max((depth[n] + 1 for n in task.needs), default=0)
        depth[task.id] = at
        found.extend([] for _ in range(at + 1 - len(found)))
        found[at].append(task)
    return found


def plan_tree(
    plan: Plan, verdicts: Mapping[str, Verdict] | None = None, *, proven: bool = True
) -> Tree:
    """A plan as a tree of its steps, each task with its risk and verdict.

    Args:
        plan: what would be done.
        verdicts: policy's answer for each task; of an approval gate, for what it covers.
        proven: whether it is known who asks; otherwise one more person must approve.
    """
    head = Text.assemble(
        (plan.contract, "bold"),
        " in ",
        (plan.environment, "bold"),
        (f"  {plan.digest[:19]}", "dim"),
    )
    width = _Widths.of(plan.tasks)
    known = verdicts or {}

    def label(task: PlanTask) -> Text:
        line = width.head(task, style="")
        if task.operation == APPROVAL:
            return line + _gate(task, known.get(task.id), proven)
        return line + _verdict(task, known.get(task.id))

    return _tree(head, stages(plan), label, _plan_summary)


def goal_tree(progress: Progress, *, now: datetime | None = None) -> RenderableType:
    """A goal as a tree of its steps, each task with its state, time and failure."""
    moment = now or datetime.now(UTC)
    head = Text.assemble(
        (progress.goal_id, "bold"),
        "  ",
        goal_state(progress.state),
        ("  asked by ", "dim"),
        (_who(progress), "dim"),
    )
    parts: list[RenderableType] = []
    if progress.plan is None:
        parts.append(head)
    else:
        states = {t.id: t for t in progress.tasks}
        width = _Widths.of(progress.plan.tasks)

        def label(task: PlanTask) -> Text:
            return _task_line(task, states.get(task.id), width, moment)

        def summary(tasks: Sequence[PlanTask]) -> str:
            return _states_summary(tasks, states)

        ordered = [_interesting_first(s, states) for s in stages(progress.plan)]
        parts.append(_tree(head, ordered, label, summary))
    if progress.failure:
        parts.append(
            Text(f"{progress.failure.code}: {plain(progress.failure.message, 2000)}", style="red")
        )
    parts.extend(_request_lines(progress.requests))
    return Group(*parts)


def requirement_text(requirement: Requirement) -> str:
    """Who must say yes, in words."""
    groups = " or ".join(requirement.groups) or "anyone known"
    reason = ", with a reason" if requirement.reason_required else ""
    return f"{requirement.approvals} of {groups}{reason}"


def duration(seconds: float) -> str:
    """A length of time for people: ``0.4 s``, ``12 s``, ``3 min 20 s``, ``2 h``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = timedelta(seconds=round(seconds))
    minutes, rest = divmod(int(whole.total_seconds()), 60)
    hours, minutes_left = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes_left, "min"), (0 if hours else rest, "s")]
    return " ".join(f"{n} {unit}" for n, unit in parts if n)


def columns(*names: str) -> Table:
    """A table without lines, for lists."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(name, overflow="fold")
    return table


class _Widths:
    """How wide ids and operations are, so that they stand in columns."""

    def __init__(self, ids: int, operations: int) -> None:
        self._ids, self._operations = ids, operations

    @classmethod
    def of(cls, tasks: Iterable[PlanTask]) -> "_Widths":
        every = list(tasks)
        longest_id = max(len(t.id) for t in every)
        return cls(min(30, longest_id), min(30, max(len(_what(t)) for t in every)))

    def head(self, task: PlanTask, *, style: str) -> Text:
        return Text.assemble(
            (task.id.ljust(self._ids + 2), style or "bold"),
            (_what(task).ljust(self._operations + 2), "" if style != "dim" else "dim"),
        )


def _what(task: PlanTask) -> str:
    return "approval" if task.operation == APPROVAL else task.operation


def _tree(
    head: Text,
    found: Sequence[Sequence[PlanTask]],
    label: Callable[[PlanTask], Text],
    summary: Callable[[Sequence[PlanTask]], str],
) -> Tree:
    tree = Tree(head, guide_style="dim")
    for tasks in found:
        if len(tasks) == 1:
            tree.add(label(tasks[0]))
            continue
        branch = tree.add(Text(f"{len(tasks)} side by side", style="dim"))
        for task in tasks[:_SHOWN_IN_PARALLEL]:
            branch.add(label(task))
        if len(tasks) > _SHOWN_IN_PARALLEL:
            branch.add(Text(f"… {summary(tasks[_SHOWN_IN_PARALLEL:])}", style="dim"))
    return tree


def _gate(task: PlanTask, verdict: Verdict | None, proven: bool) -> Text:
    covers = ", ".join(task.covers)
    if verdict is None or verdict.requirement is None:
        word = "nobody need be asked" if verdict else "asks"
        return Text(f"{word} about {covers}", style="dim" if verdict else "yellow")
    needed = verdict.requirement.approvals + (0 if proven else 1)
    requirement = verdict.requirement.model_copy(update={"approvals": needed})
    within = duration(requirement.expires_in.total_seconds())
    text = Text(
        f"asks {requirement_text(requirement)} about {covers}, within {within}", style="yellow"
    )
    return text if proven else text.append("  one more, since who asks is unproven", style="dim")


def _verdict(task: PlanTask, verdict: Verdict | None) -> Text:
    text = Text(task.risk.value.ljust(13), style=_RISK_STYLE[task.risk.value])
    if verdict is None:
        return text
    why = "; ".join(plain(r, 120) for r in verdict.reasons)
    match verdict.effect:
        case Effect.ALLOW:
            text.append("goes", style="green")
        case Effect.ASK:
            text.append("asks ", style="yellow")
            if verdict.requirement:
                text.append(requirement_text(verdict.requirement), style="yellow")
        case Effect.DENY:
            text.append("refused", style="bold red")
    return text.append(f"  {why}" if why else "", style="dim")


def _plan_summary(tasks: Sequence[PlanTask]) -> str:
    return f"{len(tasks)} more"


def _states_summary(tasks: Sequence[PlanTask], states: Mapping[str, TaskStatus]) -> str:
    counts: dict[str, int] = {}
    for task in tasks:
        status = states.get(task.id)
        name = (status.state if status else TaskState.PENDING).value
        counts[name] = counts.get(name, 0) + 1
    return f"{len(tasks)} more: " + ", ".join(f"{n} {name}" for name, n in counts.items())


def _interesting_first(
    tasks: Sequence[PlanTask], states: Mapping[str, TaskStatus]
) -> Sequence[PlanTask]:
    if len(tasks) <= _SHOWN_IN_PARALLEL:
        return tasks
    return sorted(
        tasks,
        key=lambda t: _INTEREST.index(states[t.id].state if t.id in states else TaskState.PENDING),
    )


def _task_line(task: PlanTask, status: TaskStatus | None, width: _Widths, now: datetime) -> Text:
    state = status.state if status else TaskState.PENDING
    line = width.head(task, style="dim" if _TASK_STYLE[state] == "dim" else "")
    line.append(state.value, style=_TASK_STYLE[state])
    if status is None:
        return line
    if status.generation:
        line.append(f" (retry {status.generation})", style="dim")
    seconds = _seconds(status, now)
    if seconds is not None:
        line.append(f"  {duration(seconds)}", style="dim")
    if status.failure:
        line.append(f"  {status.failure.code}: {plain(status.failure.message)}", style="red")
    return line


def _seconds(status: TaskStatus, now: datetime) -> float | None:
    if status.started_at is None:
        return None
    end = datetime.fromisoformat(status.ended_at) if status.ended_at else now
    return max(0.0, (end - datetime.fromisoformat(status.started_at)).total_seconds())


def _who(progress: Progress) -> str:
    who = plain(progress.requester.id, 100)
    return who if progress.requester.proven else f"{who} (unproven)"


def _request_lines(requests: Iterable[OpenRequest]) -> Iterable[Text]:
    for asked in requests:
        if asked.closed is None:
            requirement = asked.request.requirement.model_copy(update={"approvals": asked.needed})
            so_far = f", so far {', '.join(asked.approved_by)}" if asked.approved_by else ""
            yield Text.assemble(
                ("waits for approval ", "yellow"),
                (asked.request.id, "bold"),
                f" by {requirement_text(requirement)}{so_far}; decide with ",
                (f"goalkeeper approve {asked.request.id}", "cyan"),
            )
