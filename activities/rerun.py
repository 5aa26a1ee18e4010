"""Running a finished goal again from one task on: what keeps its result, and the proof of it.

A history says what came of a goal; the audit log says what really did. Only what both say is kept.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from activities.parts import Parts
from goalkeeper.contracts.goal import GoalInput
from goalkeeper.domain.audit import AuditKind
from goalkeeper.domain.base import Json, digest_of
from goalkeeper.domain.errors import AuditBroken, Conflict, InvalidGoal
from goalkeeper.domain.goal import GoalResult, Skip, TaskStatus
from goalkeeper.domain.plan import APPROVAL, GOAL, WAIT, Plan, TaskState
from goalkeeper.histories import ended, input_of

_LONGEST_CHAIN = 50
_CHOSEN_SKIPS = frozenset({Skip.CONDITION, Skip.PERSON})


@dataclass(frozen=True)
class Earlier:
    """A finished goal that is to be run again."""

    goals: tuple[str, ...]
    """It, and those that it was itself a rerun of: whose tasks its results come from."""
    input: GoalInput
    """Of the first of them: a contract and its inputs."""
    result: GoalResult


async def earlier(goal_id: str) -> Earlier:
    """The goal to run again.

    Raises:
        Conflict: it still runs, or has no result.
        NotFound: Temporal does not have it any more.
        InvalidGoal: it cannot be run again from the middle.
    """
    found = await ended(goal_id)
    goals, given = [goal_id], found.input
    while given.rerun is not None:
        if len(goals) > _LONGEST_CHAIN:
            raise InvalidGoal(f"'{goal_id}' is a rerun of a rerun too many times: submit it anew")
        goals.append(given.rerun.goal_id)
        given = await input_of(given.rerun.goal_id)
    if given.rollback is not None:
        raise InvalidGoal(
            f"'{goal_id}' is a rollback: `goalkeeper rollback {given.rollback}` undoes what is "
            "still left to undo"
        )
    return Earlier(tuple(goals), given, found.result)


async def reused(
    parts: Parts, plan: Plan, was: Earlier, from_task: str
) -> tuple[Plan, tuple[TaskStatus, ...]]:
    """The plan of the new goal, and the results that it starts with.

    A gate asks again for what runs again, and for nothing else.

    Raises:
        InvalidGoal: there is no such task.
        Conflict: the contract has changed, or it is not known what became of a task.
        AuditBroken: a result is not the one on record.
    """
    goal_id = was.goals[0]
    if all(t.id != from_task for t in plan.tasks):
        known = ", ".join(t.id for t in plan.tasks[:50])
        raise InvalidGoal(f"goal '{goal_id}' has no task '{from_task}'; it has {known}")
    statuses = {s.id: s for s in was.result.tasks}
    again = _again(plan, statuses, from_task)
    # Items too: a task whose item is unknown has itself but failed, or even succeeded.
    unknown = [
        i
        for i, s in statuses.items()
        if s.state is TaskState.UNKNOWN and i.partition(".")[0] in again
    ]
    if unknown:
        raise Conflict(
            f"what became of task '{unknown[0]}' of goal '{goal_id}' is not known, so it is not "
            "run again: look at its target, then submit what is missing as a new goal"
        )
    kept = {t.id for t in plan.tasks} - again
    results = [s for s in was.result.tasks if s.id.partition(".")[0] in kept]
    record = await asyncio.to_thread(_Record, parts, was.goals)
    record.check_contract(plan, was.result)
    # The plan's operations: a history could say that a task was but a wait.
    by_id = {t.id: t for t in plan.tasks}
    for status in results:
        if status.state is TaskState.SUCCEEDED:
            task = by_id[status.id.partition(".")[0]]
            if isinstance(status.outputs, list) and task.for_each is None:
                raise record.refuse(status.id)
            await _check(parts, record, status.id, task.operation, status.outputs)
    tasks = tuple(
        t.model_copy(update={"covers": tuple(c for c in t.covers if c in again)})
        if t.id in again
        else t
        for t in plan.tasks
    )
    new = plan.model_copy(update={"tasks": tasks})
    return new, tuple(s.model_copy(update={"reused": True}) for s in results)


def _again(plan: Plan, statuses: dict[str, TaskStatus], from_task: str) -> set[str]:
    """The tasks that run again: the plan's order is topological, so one pass is enough."""
    again: set[str] = set()
    for task in plan.tasks:
        status = statuses.get(task.id)
        kept = status is not None and (
            status.state is TaskState.SUCCEEDED
            or (status.state is TaskState.SKIPPED and status.skipped in _CHOSEN_SKIPS)
        )
        if task.id == from_task or task.always or not kept or not again.isdisjoint(task.needs):
            again.add(task.id)
    gates = {t.id for t in plan.tasks if not again.isdisjoint(t.covers)}
    return again | gates


class _Record:
    """What the audit log says about the tasks of some goals."""

    def __init__(self, parts: Parts, goals: Iterable[str]) -> None:
        self.outputs: set[tuple[str, Json]] = set()
        """(task, digest of the outputs), for each time that it succeeded."""
        self.happened: set[str] = set()
        """Tasks of which people said that they took effect."""
        self._plans: dict[Json, Json] = {}
        self.goals = tuple(goals)
        for goal_id in self.goals:
            for entry in parts.audit.entries(goal_id=goal_id):
                event, detail = entry.event, entry.event.detail
                if event.kind is AuditKind.GOAL_PLANNED:
                    self._plans[detail.get("plan_digest")] = detail.get("contract_digest")
                elif event.kind is AuditKind.TASK_RESOLVED and detail.get("answer") == "happened":
                    self.happened.add(event.task_id)
                elif event.kind is AuditKind.TASK_OUTCOME and "outputs_digest" in detail:
                    self.outputs.add((event.task_id, str(detail["outputs_digest"])))

    def check_contract(self, plan: Plan, result: GoalResult) -> None:
        """The contract must be the one that the goal was planned from."""
        was = self._plans.get(result.plan_digest)
        if was is None:
            raise AuditBroken(
                f"the plan of goal '{self.goals[0]}' is not on record, so nothing of it is "
                "reused: submit it as a new goal"
            )
        if was != plan.contract_digest:
            raise Conflict(
                f"contract '{plan.contract}' has changed since goal '{self.goals[0]}' ran, so "
                "its results may not fit: submit it as a new goal"
            )

    def refuse(self, task_id: str) -> AuditBroken:
        """The error for a result that is not on record."""
        return AuditBroken(
            f"the result of task '{task_id}' of goal '{self.goals[0]}' is not the one on record, "
            "so it is not reused: run the goal again from that task, or submit it as a new goal"
        )


async def _check(
    parts: Parts, record: _Record, task_id: str, operation: str, outputs: Json
) -> None:
    """A result that later tasks could build on must be the one on record.

    Raises:
        AuditBroken: it is not.
    """
    if isinstance(outputs, list):
        # One for each item; null for an item that failed and was tolerated.
        for index, value in enumerate(outputs):
            if value is not None:
                await _check(parts, record, f"{task_id}.{index}", operation, value)
    elif operation in (APPROVAL, WAIT):
        # An approval of what does not run again lets nothing run, and an event proves nobody.
        return
    elif operation == GOAL:
        await _check_child(parts, record, task_id, outputs)
    elif outputs is None:
        if task_id not in record.happened:
            raise record.refuse(task_id)
    elif (task_id, digest_of(outputs)) not in record.outputs:
        raise record.refuse(task_id)


async def _check_child(parts: Parts, record: _Record, task_id: str, outputs: Json) -> None:
    claimed = outputs.get("tasks") if isinstance(outputs, dict) else None
    if not isinstance(outputs, dict) or not isinstance(claimed, dict):
        raise record.refuse(task_id)
    child_id = str(outputs.get("goal_id"))
    if not any(child_id.startswith(f"{goal}--{task_id}.") for goal in record.goals):
        raise record.refuse(task_id)
    said = {s.id: s for s in (await ended(child_id)).result.tasks}
    its = await asyncio.to_thread(_Record, parts, (child_id,))
    for name, value in claimed.items():
        status = said.get(name)
        if status is None or status.outputs != value:
            raise record.refuse(task_id)
        if value is not None:
            await _check(parts, its, name, status.operation, value)
