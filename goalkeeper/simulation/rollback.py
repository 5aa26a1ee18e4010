"""Rollbacks in a simulation: the plan that undoes what a simulated goal and its children did.

It makes plans; what was done, and what has been undone since, is the world's to know.
"""

from collections.abc import Sequence

from goalkeeper.contracts.goal import PlannedGoal
from goalkeeper.domain.approval import Action, Requester
from goalkeeper.domain.base import digest_of
from goalkeeper.domain.errors import NothingToUndo
from goalkeeper.domain.plan import OnFailure, Plan, PlanTask, RunRule
from goalkeeper.domain.policy import Effect, Verdict

_GOES = Verdict(effect=Effect.ALLOW, reasons=("it undoes what was done",))


def key_of(action: Action) -> str:
    """Under which name the piece of work behind an action is undone."""
    return f"{action.goal_id}/{action.task_id}.{action.generation}"


def within(goal_id: str, top: str) -> bool:
    """Whether a goal is another one or a child of it, and no rollback of either."""
    return (goal_id == top or goal_id.startswith(f"{top}--")) and not goal_id.endswith(".undo")


def plan_rollback(
    goal_id: str, effects: Sequence[Action], requester: Requester, keys: dict[str, str]
) -> PlannedGoal:
    """A chain of tasks, what was done last first.

    Raises:
        NothingToUndo: nothing is left that can be undone.
    """
    if not effects:
        raise NothingToUndo(f"goal '{goal_id}' left nothing that can be undone")
    tasks: list[PlanTask] = []
    for action in reversed(effects):
        tasks.append(_step(action, len(tasks) + 1, tasks[-1].id if tasks else None))
    plan = Plan(
        contract="rollback",
        contract_digest=digest_of(goal_id.encode()),
        environment=effects[0].environment,
        inputs={"goal": goal_id},
        tasks=tuple(tasks),
    )
    return PlannedGoal(
        plan=plan,
        requester=requester,
        verdicts={t.id: _GOES for t in tasks},
        policy_version=effects[0].policy_version,
        plan_digest=plan.digest,
        decision_keys=keys,
    )


def _step(action: Action, number: int, after: str | None) -> PlanTask:
    return PlanTask(
        id=f"undo_{number}_{action.task_id.replace('.', '_')}"[:63],
        operation=action.compensation or action.operation,
        needs=(after,) if after else (),
        risk=action.risk,
        run=RunRule.ALL_DONE,
        on_failure=OnFailure.STOP,
        undoes=key_of(action),
    )
