"""How a goal is shown to a person: one structure for the console and the CLI, bounded in size.

It is pure and decides nothing. Ten thousand tasks become what matters first, and counts.
"""

from collections.abc import Iterable, Mapping, Sequence

from goalkeeper.contracts.goal import OpenRequest, Progress, Summary
from goalkeeper.domain.approval import Question
from goalkeeper.domain.base import Json, Model
from goalkeeper.domain.goal import Skip, TaskStatus
from goalkeeper.domain.plan import APPROVAL, GOAL, WAIT, PlanTask, TaskState
from hitl.text import plain

ROWS = 200
"""Tasks that are shown one by one; of more, those that matter most."""
ITEMS = 20
"""Items of one task that are shown one by one."""
_ALL_ITEMS = 400
_NOTE = 300

_INTEREST = (
    TaskState.UNKNOWN,
    TaskState.FAILED,
    TaskState.AWAITING_APPROVAL,
    TaskState.RUNNING,
    TaskState.CANCELLED,
    TaskState.COMPENSATED,
    TaskState.SKIPPED,
    TaskState.PENDING,
    TaskState.SUCCEEDED,
)
"""What a person looks for, the first thing first."""
RANK = {state: rank for rank, state in enumerate(_INTEREST)}

_SKIPPED = {
    Skip.CONDITION: "its condition is not met",
    Skip.PERSON: "by a person",
    Skip.UPSTREAM: "what it needs did not end as it wants",
    Skip.STOPPED: "the goal stopped first",
}
_BUILT_IN = {APPROVAL: "approval", GOAL: "goal", WAIT: "wait"}


class TaskRow(Model):
    """One task, or one item of a task that runs for each of a list."""

    id: str
    operation: str
    state: TaskState
    generation: int = 0
    note: str = ""
    """Why it failed or was skipped, or what it waits for."""
    bad: bool = False
    """The note is about something that went wrong."""
    started_at: str | None = None
    ended_at: str | None = None
    always: bool = False
    """Runs at the end, whatever became of the rest."""
    child: str = ""
    """The goal that it started."""
    request: str = ""
    """The open request that is about it."""
    counts: tuple[tuple[TaskState, int], ...] = ()
    """Of its items, by state."""
    items: tuple["TaskRow", ...] = ()
    """Those of its items that matter most."""
    hidden: int = 0
    """Items that are only counted."""


class Overview(Model):
    """A goal at one moment."""

    counts: tuple[tuple[TaskState, int], ...]
    """Of all tasks and items that run something, by state."""
    rows: tuple[TaskRow, ...]
    """In the order of the plan while all are shown, else what matters most first."""
    hidden: int = 0
    """Tasks that are only counted."""
    notes: tuple[str, ...] = ()
    """What a person should know first."""


def overview(progress: Progress, summary: Summary | None = None) -> Overview:
    """Lay a goal out.

    Args:
        progress: its tasks.
        summary: the locks that it waits for; None leaves them out.
    """
    plan = {t.id: t for t in progress.plan.tasks} if progress.plan else {}
    tasks, items = _grouped(progress.tasks)
    shown = tasks if len(tasks) <= ROWS else _first(tasks, ROWS)
    asked = {r.request.task_id: r for r in progress.requests if r.closed is None}
    budget, rows = _ALL_ITEMS, []
    for task in shown:
        row = _row(progress.goal_id, task, plan.get(task.id), asked.get(task.id))
        if task.id in items:
            row = _folded(progress.goal_id, row, items[task.id], plan.get(task.id), asked, budget)
            budget -= len(row.items)
        rows.append(row)
    counted = [s for t in tasks for s in items.get(t.id, (t,))]
    return Overview(
        counts=_counts(counted),
        rows=tuple(rows),
        hidden=len(tasks) - len(shown),
        notes=tuple(_notes(summary)) if summary else (),
    )


def counts_text(counts: Iterable[tuple[TaskState, int]]) -> str:
    """Counts in one line: ``2 Failed, 14 Succeeded``."""
    return ", ".join(f"{number} {state}" for state, number in counts)


def why_skipped(status: TaskStatus) -> str:
    """Why a task was skipped, in words; empty when it was not."""
    if status.skipped is None:
        return ""
    said = f": {plain(status.reason, limit=_NOTE)}" if status.reason else ""
    return _SKIPPED[status.skipped] + said


def _grouped(
    every: Sequence[TaskStatus],
) -> tuple[list[TaskStatus], Mapping[str, list[TaskStatus]]]:
    """The tasks, and the items of each."""
    tasks: list[TaskStatus] = []
    items: dict[str, list[TaskStatus]] = {}
    for status in every:
        parent, dot, _ = status.id.partition(".")
        if dot:
            items.setdefault(parent, []).append(status)
        else:
            tasks.append(status)
    return tasks, items


def _first(every: Iterable[TaskStatus], count: int) -> list[TaskStatus]:
    return sorted(every, key=lambda t: RANK[t.state])[:count]


def _counts(every: Iterable[TaskStatus]) -> tuple[tuple[TaskState, int], ...]:
    found: dict[TaskState, int] = {}
    for status in every:
        found[status.state] = found.get(status.state, 0) + 1
    return tuple((s, found[s]) for s in _INTEREST if s in found)


def _folded(
    goal_id: str,
    row: TaskRow,
    items: Sequence[TaskStatus],
    task: PlanTask | None,
    asked: Mapping[str, OpenRequest],
    budget: int,
) -> TaskRow:
    shown = _first(items, max(0, min(ITEMS, budget)))
    return row.model_copy(
        update={
            "counts": _counts(items),
            "items": tuple(_row(goal_id, i, task, asked.get(i.id)) for i in shown),
            "hidden": len(items) - len(shown),
        }
    )


def _row(
    goal_id: str, status: TaskStatus, task: PlanTask | None, asked: OpenRequest | None
) -> TaskRow:
    child = f"{goal_id}--{status.id}.{status.generation}"
    began = status.started_at is not None and not (task and task.for_each and "." not in status.id)
    return TaskRow(
        id=status.id,
        operation=_BUILT_IN.get(status.operation, status.operation),
        state=status.state,
        generation=status.generation,
        note=_note(status, task, asked),
        bad=status.state in (TaskState.FAILED, TaskState.UNKNOWN),
        started_at=status.started_at,
        ended_at=status.ended_at,
        always=task is not None and task.always,
        child=child if status.operation == GOAL and began and not status.reused else "",
        request=asked.request.id if asked else "",
    )


def _note(status: TaskStatus, task: PlanTask | None, asked: OpenRequest | None) -> str:
    if asked is not None and asked.request.question is Question.OUTCOME:
        return "an attempt was lost: did it happen?"
    if status.failure is not None:
        return f"{status.failure.code}: {plain(status.failure.message, limit=_NOTE)}"
    if status.skipped is not None:
        return why_skipped(status)
    if status.reused:
        return "the earlier goal's result"
    if status.operation == WAIT and status.state is TaskState.RUNNING and task is not None:
        return _waits(task.inputs)
    return ""


def _waits(inputs: Mapping[str, Json]) -> str:
    given = {k: plain(str(v), limit=_NOTE) for k, v in inputs.items() if v is not None}
    if "signal" in given:
        within = f", for {given['timeout']} at most" if "timeout" in given else ""
        return f"waits for the signal '{given['signal']}'{within}"
    if "until" in given:
        return f"waits until {given['until']}"
    return f"waits for {given['duration']}" if "duration" in given else "waits"


def _notes(summary: Summary) -> Iterable[str]:
    if summary.waits_for_locks:
        locks = ", ".join(f"'{n}'" for n in summary.waits_for_locks)
        many = "s" if len(summary.waits_for_locks) > 1 else ""
        yield f"Waits for the lock{many} {locks}."
