"""Goals that outlive one workflow run: continue-as-new and replay after every step."""

from pathlib import Path
from typing import Any

from goalkeeper.contracts.goal import GoalInput, RerunOf
from goalkeeper.domain.plan import GoalState, TaskState
from goalkeeper.embedded.temporal import TemporalServer
from tests.support.engine import plan_of, running_engine


def chain(length: int, **first: Any) -> list[dict[str, Any]]:
    """Tasks one after the other, each handing the value on."""
    tasks: list[dict[str, Any]] = [
        {"id": "t0", "uses": "fake.write", "with": {"value": 7}, **first}
    ]
    for i in range(1, length):
        tasks.append(
            {
                "id": f"t{i}",
                "uses": "fake.write",
                "with": {"value": f"${{{{ tasks.t{i - 1}.value }}}}"},
            }
        )
    return tasks


async def test_a_goal_continues_as_new_and_no_task_runs_twice(
    impatient_server: TemporalServer, tmp_path: Path
) -> None:
    """Outputs, order and effects are carried over; a failure undoes the effects of every run."""
    tasks = chain(40)
    tasks.append({"id": "bad", "uses": "fake.read", "with": {"do": "fail"}, "needs": ["t39"]})
    async with running_engine(impatient_server.address, tmp_path) as engine:
        handle = await engine.submit(plan_of(*tasks))
        result = await engine.result(handle)
        assert result.state is GoalState.ROLLED_BACK
        done = [t for t, op, _ in engine.fake.done if op == "fake.write"]
        assert done == [f"t{i}" for i in range(40)]
        undone = [t for t, op, _ in engine.fake.done if op == "fake.undo"]
        assert undone == list(reversed(done))
        first = await handle.describe()
        assert first.raw_description.workflow_execution_info.execution.run_id
        assert first.run_id != handle.first_execution_run_id


async def test_a_goal_that_was_continued_as_new_can_be_run_again(
    impatient_server: TemporalServer, tmp_path: Path
) -> None:
    """Its contract was given whole, and its later runs carry only what a rerun needs of it."""
    tasks = [*chain(20), {"id": "last", "uses": "fake.read", "with": {"do": "flaky"}}]
    tasks[-1] |= {"needs": ["t19"], "retry": {"maximum_attempts": 1}, "on_failure": "stop"}
    async with running_engine(impatient_server.address, tmp_path) as engine:
        handle = await engine.submit(plan_of(*tasks))
        assert (await engine.result(handle)).state is GoalState.FAILED
        assert (await handle.describe()).run_id != handle.first_execution_run_id
        again = await engine.start(GoalInput(rerun=RerunOf(goal_id=handle.id, from_task="last")))
        result = await engine.result(again)
        assert result.state is GoalState.SUCCEEDED
        assert [t.reused for t in result.tasks] == [True] * 20 + [False]


async def test_an_open_request_is_carried_over_and_its_decision_still_counts(
    impatient_server: TemporalServer, tmp_path: Path
) -> None:
    """The request keeps its id, digest and expiry while the rest of the goal goes on."""
    tasks = chain(30)
    tasks.append({"id": "act", "uses": "fake.destroy"})
    tasks.append({"id": "last", "uses": "fake.read", "needs": ["act", "t29"]})
    async with running_engine(impatient_server.address, tmp_path) as engine:
        handle = await engine.submit(plan_of(*tasks))
        before = await engine.asked(handle)
        progress = await engine.until(
            handle, lambda p: sum(t.state is TaskState.SUCCEEDED for t in p.tasks) == 30
        )
        assert [r.digest for r in progress.requests] == [before.digest]
        await engine.decide(handle, before.request)
        assert (await engine.result(handle)).state is GoalState.SUCCEEDED
        assert engine.kinds(handle.id).count("approval.requested") == 1


async def test_a_worker_that_keeps_nothing_in_memory_comes_to_the_same_end(
    temporal_server: TemporalServer, tmp_path: Path
) -> None:
    """Replayed from its history at every step, the goal takes the same way."""
    async with running_engine(
        temporal_server.address, tmp_path, worker_cached_workflows=0
    ) as engine:
        handle = await engine.submit(
            plan_of(*chain(5), {"id": "act", "uses": "fake.destroy", "needs": ["t4"]})
        )
        asked = await engine.asked(handle)
        await engine.decide(handle, asked.request)
        assert (await engine.result(handle)).state is GoalState.SUCCEEDED
        assert [t for t, _, _ in engine.fake.done] == ["t0", "t1", "t2", "t3", "t4", "act"]


async def test_a_thousand_tasks_at_once_all_run(
    temporal_server: TemporalServer, tmp_path: Path
) -> None:
    """The window bounds what runs at a time; nothing is lost when completions come in crowds."""
    tasks = [{"id": f"t{i}", "uses": "core.noop", "with": {"value": i}} for i in range(1000)]
    async with running_engine(temporal_server.address, tmp_path) as engine:
        handle = await engine.submit(plan_of(*tasks))
        result = await engine.result(handle)
        assert result.state is GoalState.SUCCEEDED
        assert [t.outputs for t in result.tasks] == [{"value": i} for i in range(1000)]
