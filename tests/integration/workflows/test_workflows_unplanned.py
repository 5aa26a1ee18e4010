"""Goals that end before there is a plan, and requests that nobody need answer any more."""

from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import CancelledError

from goalkeeper.contracts.goal import ControlInput, TaskControlInput
from goalkeeper.domain.errors import VaultUnavailable
from goalkeeper.domain.plan import GoalState
from tests.support.engine import Engine, plan_of

RISKY: dict[str, Any] = {"id": "a", "uses": "fake.write", "with": {"value": 1}}


@pytest.mark.parametrize("contract", [{"contrat": "x"}, {"contract": "reed-file"}, {}])
async def test_a_goal_without_a_plan_says_that_it_failed_and_why(
    engine: Engine, contract: dict[str, str]
) -> None:
    """A query of the closed workflow does not go on saying that it is being planned."""
    handle = await engine.start(contract)
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    progress = await engine.progress(handle)
    assert progress.state is GoalState.FAILED
    assert progress.failure is not None
    assert progress.failure.message in str(caught.value.cause)


async def test_a_goal_that_is_cancelled_while_planning_waits_is_cancelled_not_failed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Temporal's words and in ours."""

    async def sealed() -> dict[str, str]:
        raise VaultUnavailable("sealed")

    monkeypatch.setattr(engine.vault, "public_keys", sealed)
    handle = await engine.submit(plan_of(RISKY), requester=None)
    while not (await handle.describe()).raw_description.pending_activities:
        pass
    await handle.cancel()
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result(rpc_timeout=timedelta(seconds=30))
    assert isinstance(caught.value.cause, CancelledError)
    assert (await engine.progress(handle)).state is GoalState.CANCELLED


async def test_a_cancelled_task_asks_nobody_any_more_and_its_retry_asks_anew(
    engine: Engine,
) -> None:
    """Only one request is open, for the action that would run."""
    handle = await engine.submit(plan_of(RISKY, environment="production"))
    first = await engine.asked(handle)
    await handle.execute_update("pause", ControlInput())
    await handle.execute_update("cancel_task", TaskControlInput(task_id="a"))
    await engine.until(handle, lambda p: p.requests[0].closed == "withdrawn")
    await handle.execute_update("retry_task", TaskControlInput(task_id="a"))
    await handle.execute_update("resume", ControlInput())
    second = await engine.asked(handle)
    assert second.request.id != first.request.id
    await engine.decide(handle, second.request)
    assert (await engine.result(handle)).state is GoalState.SUCCEEDED
