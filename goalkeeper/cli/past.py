"""Past goals, as the audit log has them and, where a worker answers, as their plans have them.

It reads the record and asks for progress; it judges nothing and changes nothing.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import ValidationError

from goalkeeper.domain.approval import Question, Requester
from goalkeeper.domain.audit import AuditEvent, AuditKind
from goalkeeper.domain.errors import GoalkeeperError, ServiceUnavailable
from goalkeeper.domain.operation import Risk
from goalkeeper.domain.plan import BUILT_IN
from goalkeeper.domain.policy import Effect, Requirement
from goalkeeper.policy.replaying import PastAction, PastGoal

if TYPE_CHECKING:
    from goalkeeper.audit import AuditLog
    from goalkeeper.client import Client
    from goalkeeper.contracts.goal import Progress
    from goalkeeper.domain.plan import PlanTask

_AT_ONCE = 4
"""A query makes a worker replay the goal: gently."""
_LATE = timedelta(hours=1)
"""How much later than it happened an event may be written."""
_PLANNED = (AuditKind.GOAL_PLANNED, AuditKind.GOAL_REFUSED)


def on_record(
    log: "AuditLog", since: datetime, groups: Mapping[str, tuple[str, ...]]
) -> list[PastGoal]:
    """The goals that were planned since then, with the actions that they came to; newest last.

    The log keeps digests of inputs, so none of them is known.

    Args:
        log: the audit log.
        since: when the first of them was planned.
        groups: person → groups.
    """
    start = bisect_left(range(log.size()), since - _LATE, key=lambda i: log.entry(i).event.time)
    goals: dict[str, PastGoal] = {}
    actions: dict[str, dict[tuple[str, bool], PastAction]] = {}
    asks: dict[str, dict[str, Requirement | None]] = {}
    for entry in log.entries(start=start):
        event = entry.event
        if event.kind in _PLANNED and event.time >= since:
            goal = _goal(event, groups)
            # An id may be used again: the last goal of that name counts.
            goals[goal.goal_id], actions[goal.goal_id] = goal, {}
            asks[goal.goal_id] = dict.fromkeys(_texts(event.detail.get("asks")))
        elif event.goal_id not in goals:
            continue
        elif event.kind is AuditKind.APPROVAL_REQUESTED:
            # What became of a lost attempt is asked too, and is no question of policy's.
            if event.detail.get("question") == Question.RUN:
                asked = _requirement(event, goals[event.goal_id].requester)
                asks[event.goal_id][event.task_id] = asked
        elif event.kind is AuditKind.TASK_INTENT:
            action = _action(event, goals[event.goal_id], asks[event.goal_id])
            if action is not None:
                actions[event.goal_id][action.task, action.compensating] = action
    return [g.model_copy(update={"actions": tuple(actions[i].values())}) for i, g in goals.items()]


async def with_plans(goals: Iterable[PastGoal], client: "Client") -> tuple[list[PastGoal], int]:
    """The same goals with what their plans say, and of how many of them there was none.

    After the first one for which nothing answers, no further are asked for.
    """
    every = list(goals)
    turn = asyncio.Semaphore(_AT_ONCE)
    gone = asyncio.Event()

    async def whole(goal: PastGoal) -> tuple[PastGoal, bool]:
        async with turn:
            if gone.is_set():
                return goal, False
            try:
                progress = await client.goal(goal.goal_id).progress()
            except ServiceUnavailable:
                gone.set()
                return goal, False
            except GoalkeeperError:
                # Beyond Temporal's retention time, or somebody's own workflow.
                return goal, False
        planned = _planned(progress, goal)
        return (goal, False) if planned is None else (planned, True)

    found = await asyncio.gather(*(whole(g) for g in every))
    return [g for g, _ in found], sum(not known for _, known in found)


def _goal(event: AuditEvent, groups: Mapping[str, tuple[str, ...]]) -> PastGoal:
    detail = event.detail
    try:
        requester = Requester.model_validate(detail.get("requester"))
    except ValidationError:
        requester = Requester(id="unknown")
    return PastGoal(
        goal_id=event.goal_id,
        at=event.time,
        contract=str(detail.get("contract", "")),
        requester=requester,
        groups=groups.get(requester.id, ()) if requester.proven else (),
        refused=event.kind is AuditKind.GOAL_REFUSED,
    )


def _action(
    event: AuditEvent, goal: PastGoal, asks: Mapping[str, Requirement | None]
) -> PastAction | None:
    risk = event.detail.get("risk")
    if risk not in list(Risk):
        return None
    # The item of a list is judged as its task: scan.3 as scan.
    task = event.task_id
    base = task if task in asks else task.partition(".")[0]
    undoing = f"/{task}.undo." in event.id
    asked = base in asks and not undoing
    return PastAction(
        task=task,
        operation=str(event.detail.get("operation", "")),
        risk=Risk(str(risk)),
        environment=str(event.detail.get("environment", "")),
        roles=tuple(_texts(event.detail.get("roles"))),
        unknown=None,
        compensating=undoing or (goal.contract == "rollback" and goal.requester.proven),
        was=Effect.ASK if asked else Effect.ALLOW,
        asked=asks[base] if asked else None,
    )


def _requirement(event: AuditEvent, requester: Requester) -> Requirement | None:
    needed, groups = event.detail.get("needed"), tuple(_texts(event.detail.get("groups")))
    if not isinstance(needed, int):
        return None
    # One more was asked where nobody had proved who asks; policy's own number is compared.
    approvals = needed if requester.proven else needed - 1
    try:
        return Requirement(approvals=approvals, groups=groups)
    except ValidationError:
        return None


def _planned(progress: "Progress", goal: PastGoal) -> PastGoal | None:
    """The goal as its plan has it; None where it has none."""
    plan = progress.plan
    if plan is None:
        return None
    reused = {s.id for s in progress.tasks if s.reused}
    actions = tuple(
        _of_task(progress, task, goal)
        for task in plan.tasks
        if task.operation not in BUILT_IN and task.id in progress.verdicts and task.id not in reused
    )
    # What was undone is in no plan; a rollback's own tasks are, and undo as well.
    ids = {a.task for a in actions if a.compensating}
    undone = (a for a in goal.actions if a.compensating and a.task not in ids)
    return goal.model_copy(update={"actions": (*actions, *undone)})


def _of_task(progress: "Progress", task: "PlanTask", goal: PastGoal) -> PastAction:
    verdict = progress.verdicts[task.id]
    bound = {pointer.split("/")[1] for pointer in task.bindings}
    return PastAction(
        task=task.id,
        operation=task.operation,
        risk=task.risk,
        environment=progress.environment,
        roles=tuple(sorted(task.credentials.values())),
        inputs={k: v for k, v in task.inputs.items() if k not in bound},
        unknown=tuple(sorted(bound)),
        compensating=task.undoes is not None and goal.requester.proven,
        was=verdict.effect,
        asked=verdict.requirement,
    )


def _texts(value: object) -> list[str]:
    return [v for v in value if isinstance(v, str)] if isinstance(value, list) else []
