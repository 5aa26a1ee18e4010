"""How plans look in a terminal, and the parts that other views share: models to renderables.

They fetch nothing and print nothing; text from outside is made plain, so that it can neither
style nor steer the terminal.
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from goalkeeper.domain.plan import (
    APPROVAL,
    BUILT_IN,
    GoalState,
    OnFailure,
    Plan,
    PlanTask,
    RunRule,
)
from goalkeeper.domain.policy import Effect, Requirement, Verdict

_SHOWN_IN_PARALLEL = 25
_LONGEST = 500

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
    """The tasks by how many steps precede them: those of one stage may run side by side.

    Those that always run come after all the others.
    """
    depth: dict[str, int] = {}
    found: list[list[PlanTask]] = []
    last = 0
    for task in sorted(plan.tasks, key=lambda t: t.always):
        if not task.always:
            last = len(found)
        at = max((depth[n] + 1 for n in task.needs), default=0)
        at = max(at, last) if task.always else at
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
    width = Widths((t.id, t.operation) for t in plan.tasks)
    known = verdicts or {}

    def label(task: PlanTask) -> Text:
        line = width.head(task.id, task.operation)
        if task.operation == APPROVAL:
            line += _gate(task, known.get(task.id), proven)
        else:
            line += _verdict(task, known.get(task.id))
        return line.append("".join(f"  {c}" for c in _conditions(task)), style="dim")

    tree = Tree(head, guide_style="dim")
    for tasks in stages(plan):
        add_stage(tree, [label(t) for t in tasks])
    return tree


def add_stage(
    tree: Tree, lines: Sequence[RenderableType], rest: str = "", *, most: int = _SHOWN_IN_PARALLEL
) -> None:
    """Add what may run side by side as one branch; `rest` says more about what is left out."""
    if len(lines) == 1:
        tree.add(lines[0])
        return
    branch = tree.add(Text(f"{len(lines)} side by side", style="dim"))
    for line in lines[:most]:
        branch.add(line)
    if len(lines) > most:
        more = f"… {len(lines) - most} more" + (f": {rest}" if rest else "")
        branch.add(Text(more, style="dim"))


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


class Widths:
    """How wide ids and operations are, so that they stand in columns."""

    def __init__(self, rows: Iterable[tuple[str, str]]) -> None:
        every = list(rows)
        self._ids = min(30, max((len(i) for i, _ in every), default=0))
        self._operations = min(30, max((len(operation_name(o)) for _, o in every), default=0))

    def head(self, task_id: str, operation: str, *, style: str = "bold") -> Text:
        """The two columns of one task."""
        return Text.assemble(
            (task_id.ljust(self._ids + 2), style),
            (
                operation_name(operation).ljust(self._operations + 2),
                style if style == "dim" else "",
            ),
        )


def operation_name(operation: str) -> str:
    """An operation as a person knows it: what the interpreter does itself has a short name."""
    return operation.removeprefix("goalkeeper.") if operation in BUILT_IN else operation


def _conditions(task: PlanTask) -> Iterable[str]:
    """When and how often a task runs, where that is not simply once its needs succeeded."""
    if task.always:
        yield "always, at the end"
    if task.run is not RunRule.ALL_SUCCEEDED:
        yield f"runs when {task.run.replace('_', ' ')}"
    if task.when is not None:
        yield f"if {plain(task.when, 80)}"
    if task.for_each is not None:
        each = task.for_each
        what = plain(each.expression, 80) if each.expression else f"{len(each.items or ())} items"
        yield f"for each of {what}, {each.width} at a time"
    if task.lock is not None:
        yield f"with the lock '{task.lock.name}'"
    if task.on_failure is OnFailure.CONTINUE:
        yield "may fail"


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
