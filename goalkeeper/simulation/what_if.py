"""What if: the same goal again and again, each time with one thing that goes otherwise.

It varies scenarios and compares ends; it prints nothing.
"""

from collections.abc import Callable, Iterator

from goalkeeper.domain.approval import Answer, Question
from goalkeeper.domain.base import Model, TaskRef
from goalkeeper.domain.goal import Skip
from goalkeeper.domain.operation import Risk
from goalkeeper.domain.plan import BUILT_IN, GoalState, Plan, TaskState
from goalkeeper.simulation.people import Answering
from goalkeeper.simulation.scenario import Scenario
from goalkeeper.simulation.simulate import Simulated

MOST = 60
"""Variations that are tried: each is a whole run."""

_SILENCE = Answering(answer=None)


class WhatIf(Model):
    """One thing that goes otherwise, and what that leads to."""

    change: str
    state: GoalState
    failure: str = ""
    """The code that the goal ends with."""
    undone: tuple[TaskRef, ...] = ()
    kept: tuple[TaskRef, ...] = ()
    """Changes that were made and stay made."""
    skipped: tuple[TaskRef, ...] = ()
    stuck: bool = False


def variations(scenario: Scenario, base: Simulated) -> Iterator[tuple[str, Scenario]]:
    """Each task that ran could fail, each request be denied or go unanswered."""
    for asked in base.asked:
        if asked.question is not Question.RUN:
            continue
        denied = Answering(answer=Answer.DENY)
        yield f"'{asked.task_id}' is denied", _answered(scenario, asked.task_id, denied)
        yield f"nobody answers '{asked.task_id}'", _answered(scenario, asked.task_id, _SILENCE)
    ran = {t.id for t in base.tasks if t.started_at is not None}
    for task in base.plan.tasks if base.plan else ():
        if task.operation in BUILT_IN or task.id not in ran:
            continue
        failures = {**scenario.failures, task.id: "OperationFailed"}
        yield f"'{task.id}' fails", scenario.model_copy(update={"failures": failures})
        if not task.idempotent and task.risk is not Risk.READ:
            lost = {
                "lost": scenario.lost | {task.id},
                "outcomes": {**scenario.outcomes, task.id: _SILENCE},
            }
            what = f"'{task.id}' is lost and nobody says what became of it"
            yield what, scenario.model_copy(update=lost)


def what_if(
    run: Callable[[Scenario], Simulated], scenario: Scenario, base: Simulated
) -> tuple[WhatIf, ...]:
    """Try each variation, at most `MOST`."""
    found = []
    for (change, varied), _ in zip(variations(scenario, base), range(MOST), strict=False):
        found.append(_compared(change, run(varied)))
    return tuple(found)


def _answered(scenario: Scenario, task_id: str, answering: Answering) -> Scenario:
    return scenario.model_copy(update={"answers": {**scenario.answers, task_id: answering}})


def _compared(change: str, run: Simulated) -> WhatIf:
    return WhatIf(
        change=change,
        state=run.state,
        failure=run.failure.code if run.failure else "",
        undone=run.undone,
        kept=_kept(run.plan, run) if run.plan else (),
        skipped=tuple(t.id for t in run.tasks if t.skipped in (Skip.UPSTREAM, Skip.STOPPED)),
        stuck=run.stuck,
    )


def _kept(plan: Plan, run: Simulated) -> tuple[str, ...]:
    changing = {t.id for t in plan.tasks if t.risk is not Risk.READ}
    return tuple(t for t in run.in_state(TaskState.SUCCEEDED) if t.partition(".")[0] in changing)
