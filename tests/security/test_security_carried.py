"""A goal started with what only continue-as-new may bring along: a plan nobody planned."""

import asyncio
import uuid
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from goalkeeper.contracts.goal import WORKFLOW, Carried, GoalInput, PlannedGoal
from goalkeeper.domain.approval import Requester
from goalkeeper.domain.goal import TaskStatus
from goalkeeper.domain.plan import TaskState
from goalkeeper.domain.policy import Effect, Verdict
from tests.security.intruder import Intruder
from tests.support.engine import plan_of
from tests.support.fakes import LocalSigner

WHY = "'carried' is not for callers"


async def forged(intruder: Intruder) -> GoalInput:
    """A real goal's plan, its test said to have passed, its verdicts and keys the intruder's."""
    engine = intruder.engine
    handle = await engine.submit(
        plan_of(
            {"id": "test", "uses": "fake.read"},
            {"id": "act", "uses": "fake.destroy", "needs": ["test"]},
            environment="production",
        )
    )
    asked = await engine.asked(handle)
    plan = (await engine.progress(handle)).plan
    await handle.terminate()
    assert plan is not None
    planned = PlannedGoal(
        plan=plan,
        plan_digest=plan.digest,
        requester=Requester(id="dana"),
        verdicts={t.id: Verdict(effect=Effect.ALLOW) for t in plan.tasks},
        policy_version=asked.request.actions[0].policy_version,
        decision_keys=LocalSigner().public_keys,
    )
    tasks = (
        TaskStatus(id="test", operation="fake.read", state=TaskState.SUCCEEDED),
        TaskStatus(id="act", operation="fake.destroy"),
    )
    return GoalInput(contract="test", carried=Carried(planned=planned, tasks=tasks))


async def start(intruder: Intruder, cron: str = "") -> WorkflowHandle[Any, Any]:
    """The forged goal, begun."""
    return await intruder.engine.client.start_workflow(
        WORKFLOW,
        await forged(intruder),
        id=f"case-{uuid.uuid4().hex[:12]}",
        task_queue=intruder.engine.settings.task_queue,
        cron_schedule=cron,
    )


def nothing_came_of_it(intruder: Intruder, goal_id: str) -> bool:
    """Nobody was asked, nothing was done."""
    done = [task for task, _, _ in intruder.engine.fake.done]
    return intruder.engine.kinds(goal_id) == [] and "act" not in done[-1:]


async def test_a_plan_of_one_s_own_is_refused(intruder: Intruder) -> None:
    """Else a test could be said to have passed, and people be shown what never ran."""
    handle = await start(intruder)
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.type == "InvalidGoal"
    assert WHY in caught.value.cause.message
    assert nothing_came_of_it(intruder, handle.id)


async def test_a_run_that_cron_began_is_not_taken_for_a_continued_one(intruder: Intruder) -> None:
    """Temporal says of both that they continue a run before."""
    handle = await start(intruder, "@every 1s")
    second = await _ended(intruder, handle.id, handle.first_execution_run_id)
    await _ended(intruder, handle.id, second)
    await intruder.engine.client.get_workflow_handle(handle.id).terminate()
    assert nothing_came_of_it(intruder, handle.id)


async def _ended(intruder: Intruder, goal_id: str, run: str | None) -> str:
    """Wait for the run's end, which must be the refusal, and return the next one."""
    handle = intruder.engine.client.get_workflow_handle(goal_id, run_id=run)
    async with asyncio.timeout(30):
        events = [e async for e in handle.fetch_history_events(wait_new_event=True)]
    end = events[-1].workflow_execution_failed_event_attributes
    assert WHY in end.failure.message
    return end.new_execution_run_id
