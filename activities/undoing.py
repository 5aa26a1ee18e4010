"""Undoing what a finished goal did: the plan of a rollback, and the proof of each of its steps.

What is undone and how stands in the ledger; neither a workflow nor a person can say otherwise.
"""

from collections.abc import Iterable

from activities.caller import Callers
from activities.parts import Parts
from goalkeeper.domain.approval import Action
from goalkeeper.domain.base import Json, digest_of
from goalkeeper.domain.errors import Conflict, GrantMismatch, InvalidGoal, NothingToUndo
from goalkeeper.domain.plan import OnFailure, Plan, PlanTask, RunRule
from goalkeeper.histories import is_running
from goalkeeper.ledger import Effect, EffectState

CONTRACT = "rollback"
"""The contract's name of every rollback; there is no file of it."""
_TOLD = 100


async def plan_rollback(parts: Parts, goal_id: str) -> Plan:
    """A chain of tasks that undo a goal and its children, what was done last first.

    One that fails does not stop those after it: the goal fails, and says what remains.

    Raises:
        Conflict: the goal, or a child of it, still runs.
        NothingToUndo: it left nothing that can be undone.
        InvalidGoal: it and its children acted on more than one environment.
    """
    every = await parts.ledger.effects(goal_id, children=True)
    # What a goal did to undo its own work, or had a child do, is no work to undo.
    effects = [
        e
        for e in every
        if not e.key.endswith(".undo") and (e.goal_id == goal_id or not e.goal_id.endswith(".undo"))
    ]
    # Also a child whose parent was terminated goes on, whatever it has finished so far.
    await _check_ended(
        [goal_id, *(e.goal_id for e in effects if e.state is not EffectState.UNDONE)]
    )
    todo = [e for e in effects if _undoable(e)]
    left = [_named(e) for e in effects if e.state is not EffectState.UNDONE and e not in todo]
    if not todo:
        raise NothingToUndo(
            f"goal '{goal_id}' left nothing that can be undone"
            + (f": there is no way back from {'; '.join(left[:10])}" if left else "")
        )
    tasks: list[PlanTask] = []
    for effect in reversed(todo):
        tasks.append(_step(parts, effect, len(tasks) + 1, tasks[-1].id if tasks else None))
    inputs: dict[str, Json] = {"goal": goal_id}
    if left:
        # On record and in front of whoever looks at the plan.
        inputs["cannot_undo"] = [*left[:_TOLD]]
    return Plan(
        contract=CONTRACT,
        # In place of a file's: what will be undone, and how.
        contract_digest=digest_of([t.model_dump(mode="json") for t in tasks]),
        environment=_environment(goal_id, todo),
        inputs=inputs,
        tasks=tuple(tasks),
    )


async def undone_effect(parts: Parts, callers: Callers, action: Action) -> Effect:
    """The effect that an action undoes, once everything about it is as the ledger has it.

    Raises:
        GrantMismatch: it would undo something else, or by other means.
    """
    effect = await parts.ledger.effect(action.undoes or "")
    undo = effect.compensation if effect else None
    if effect is None or undo is None or effect.state is EffectState.STARTED:
        raise GrantMismatch(f"the ledger knows nothing to undo under '{action.undoes}'")
    told = (action.operation, action.inputs, action.environment, action.credentials)
    if told != (undo.operation, undo.inputs, undo.environment, undo.credentials):
        raise GrantMismatch(f"what would run is not what undoes '{action.undoes}'")
    goal_id = await callers.rolls_back()
    if goal_id is None or not _within(effect.goal_id, goal_id):
        raise GrantMismatch(
            f"'{action.undoes}' was done by goal '{effect.goal_id}', which this workflow was not "
            "started to roll back"
        )
    return effect


async def _check_ended(goals: Iterable[str]) -> None:
    for goal_id in dict.fromkeys(goals):
        if await is_running(goal_id):
            raise Conflict(
                f"goal '{goal_id}' still runs: wait for its end, or cancel it, which undoes what "
                "it did"
            )


def _undoable(effect: Effect) -> bool:
    undo = effect.compensation
    return effect.state is EffectState.DONE and undo is not None and bool(undo.environment)


def _step(parts: Parts, effect: Effect, number: int, after: str | None) -> PlanTask:
    undo = effect.compensation
    assert undo is not None
    operation = parts.operation(undo.operation)
    return PlanTask(
        id=f"undo_{number}_{effect.task_id.replace('.', '_')}"[:63],
        operation=undo.operation,
        summary=f"Undo {_named(effect)}",
        inputs=undo.inputs,
        needs=(after,) if after else (),
        risk=operation.risk,
        idempotent=operation.idempotent,
        credentials=undo.credentials,
        run=RunRule.ALL_DONE,
        on_failure=OnFailure.STOP,
        undoes=effect.key,
    )


def _environment(goal_id: str, effects: Iterable[Effect]) -> str:
    where: dict[str, str] = {}
    for effect in effects:
        if effect.compensation is not None:
            where.setdefault(effect.compensation.environment, effect.goal_id)
    if len(where) > 1:
        places = ", ".join(f"'{name}' (goal '{goal}')" for name, goal in where.items())
        raise InvalidGoal(
            f"goal '{goal_id}' and its children acted on several environments: {places}. "
            "A rollback acts on one: roll the child goals back first, each on its own."
        )
    return next(iter(where))


def _named(effect: Effect) -> str:
    state = "" if effect.state is EffectState.DONE else ", of which the outcome is not known"
    return f"'{effect.operation}' of task '{effect.task_id}' in goal '{effect.goal_id}'{state}"


def _within(goal_id: str, top: str) -> bool:
    return goal_id == top or goal_id.startswith(f"{top}--")
