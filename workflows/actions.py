"""What a task would run: its condition, its list and its inputs, resolved from earlier outputs.

It reads the record and derives; it starts nothing and changes nothing.
"""

from typing import Any

from goalkeeper.domain.approval import Action, Grant
from goalkeeper.domain.base import Json
from goalkeeper.domain.bindings import resolve
from goalkeeper.domain.errors import InvalidGoal
from goalkeeper.domain.expressions import evaluate
from goalkeeper.domain.plan import PlanTask
from workflows.state import GoalRecord

LONGEST_LIST = 1000
"""Items of one task with `for_each`."""


def meets_condition(record: GoalRecord, task: PlanTask) -> bool:
    """Whether a task's `when` holds now, by JMESPath's rule: "", [], {}, false and null do not.

    Raises:
        InvalidGoal: the expression has no value.
    """
    if task.when is None or (task.for_each is None and task.id in record.each):
        # An instance's condition was its task's.
        return True
    value = evaluate(task.when, record.scope(task.id))
    return bool(value) or (value == 0 and value is not False)


def items_of(record: GoalRecord, task: PlanTask) -> tuple[Json, ...]:
    """The list that a task runs over.

    Raises:
        InvalidGoal: it is no list, or too long.
    """
    assert task.for_each is not None
    items: Any = task.for_each.items
    if task.for_each.expression is not None:
        items = evaluate(task.for_each.expression, record.scope(task.id))
    if not isinstance(items, list | tuple):
        raise InvalidGoal(
            f"task '{task.id}' runs for each item of a list, and "
            f"`{(task.for_each.expression or '')[:200]}` is none"
        )
    if len(items) > LONGEST_LIST:
        raise InvalidGoal(
            f"task '{task.id}' would run for each of {len(items)} items, and {LONGEST_LIST} are "
            "the most. Split the list over several goals."
        )
    return tuple(items)


def inputs_of(record: GoalRecord, task_id: str) -> dict[str, Json]:
    """The inputs of a task, every expression replaced by its value.

    Raises:
        InvalidGoal: an expression does not yield what its place needs.
    """
    task = record.by_id[task_id]
    return resolve(task, record.scope(task_id)) if task.bindings else task.inputs


def action_of(record: GoalRecord, task_id: str) -> Action:
    """Exactly what a task would run now.

    Raises:
        InvalidGoal: an expression does not yield what its place needs.
    """
    task = record.by_id[task_id]
    return Action(
        goal_id=record.goal_id,
        task_id=task_id,
        generation=record.tasks[task_id].generation,
        plan_digest=record.plan_digest,
        operation=task.operation,
        inputs=inputs_of(record, task_id),
        environment=record.plan.environment,
        risk=task.risk,
        credentials=task.credentials,
        compensation=task.compensation,
        undoes=task.undoes,
        policy_version=record.planned.policy_version,
    )


def approved_action(record: GoalRecord, task_id: str) -> tuple[Action, Grant | None]:
    """What a task would run now, with the grant if people have approved it."""
    action = action_of(record, task_id)
    return record.approved(action) or (action, None)
