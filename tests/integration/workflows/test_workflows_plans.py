"""Every shape of plan on a real Temporal server: conditions, lists, failure rules, waits, ends."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from goalkeeper.contracts.goal import SIGNAL_EVENT, EventSignal
from goalkeeper.domain.contract import Contract
from goalkeeper.domain.goal import GoalResult, Skip
from goalkeeper.domain.plan import GoalState, TaskState
from tests.support.engine import Engine, plan_of


def states(result: GoalResult) -> Mapping[str, TaskState]:
    """Task id → state."""
    return {t.id: t.state for t in result.tasks}


def skips(result: GoalResult) -> Mapping[str, Skip]:
    """Skipped task → why."""
    return {t.id: t.skipped for t in result.tasks if t.skipped is not None}


def fails(name: str, **more: Any) -> dict[str, Any]:
    """A task that fails."""
    return {"id": name, "uses": "fake.read", "with": {"do": "fail"}, **more}


def does(name: str, *needs: str, uses: str = "fake.read", value: Any = None, **more: Any) -> Any:
    """A task that succeeds."""
    return {"id": name, "uses": uses, "with": {"value": value}, "needs": list(needs), **more}


async def test_a_task_runs_by_the_rule_on_how_its_needs_ended(engine: Engine) -> None:
    """Handlers run although the goal stops; what needs success is passed over."""
    handle = await engine.submit(
        plan_of(
            fails("bad"),
            does("next", "bad"),
            does("handler", "bad", run="any_failed"),
            does("after", "next", "handler", run="all_done"),
            does("calm", "handler", run="any_failed"),
        )
    )
    result = await engine.result(handle)
    assert result.state is GoalState.FAILED
    assert states(result) == {
        "bad": TaskState.FAILED,
        "next": TaskState.SKIPPED,
        "handler": TaskState.SUCCEEDED,
        "after": TaskState.SUCCEEDED,
        "calm": TaskState.SKIPPED,
    }


async def test_a_tolerated_failure_skips_only_what_needs_it(engine: Engine) -> None:
    """The goal succeeds, and says what failed."""
    handle = await engine.submit(
        plan_of(
            fails("bad", on_failure="continue"),
            does("needs_bad", "bad"),
            does("needs_that", "needs_bad"),
            does("other", uses="fake.write", value=1),
            does("sees", "bad", run="all_done", value="${{ states.bad }}"),
        )
    )
    result = await engine.result(handle)
    assert result.state is GoalState.SUCCEEDED
    assert skips(result) == {"needs_bad": Skip.UPSTREAM, "needs_that": Skip.UPSTREAM}
    assert states(result)["other"] is TaskState.SUCCEEDED
    assert result.outputs("sees") == {"value": "Failed"}


async def test_stop_leaves_what_succeeded_where_roll_back_undoes_it(engine: Engine) -> None:
    """The same plan ends in two ways."""
    for on_failure, state in (("stop", GoalState.FAILED), ("roll_back", GoalState.ROLLED_BACK)):
        engine.fake.done.clear()
        handle = await engine.submit(
            plan_of(
                does("made", uses="fake.write", value=1),
                fails("bad", needs=["made"], on_failure=on_failure),
            )
        )
        result = await engine.result(handle)
        assert result.state is state
        undone = [op for _, op, _ in engine.fake.done if op == "fake.undo"]
        assert len(undone) == (1 if on_failure == "roll_back" else 0)


async def test_a_condition_that_is_not_met_skips_the_task_and_not_what_follows(
    engine: Engine,
) -> None:
    """A skip by condition counts as done; the outputs are null."""
    handle = await engine.submit(
        plan_of(
            does("size", value=3),
            does("big", value="big", when="${{ tasks.size.value > `5` }}"),
            does("small", value="small", when="${{ tasks.size.value <= `5` }}"),
            does("after", "big", "small"),
        )
    )
    result = await engine.result(handle)
    assert result.state is GoalState.SUCCEEDED
    assert skips(result) == {"big": Skip.CONDITION}
    assert states(result)["after"] is TaskState.SUCCEEDED


async def test_a_task_runs_for_each_item_of_a_list_that_an_earlier_one_gave(
    engine: Engine,
) -> None:
    """Results are collected in order, and never more run at a time than the width says."""
    handle = await engine.submit(
        plan_of(
            does("find", value=["a", "b", "c", "d", "e"]),
            {
                "id": "each",
                "uses": "fake.write",
                "for_each": "${{ tasks.find.value }}",
                "width": 2,
                "with": {"value": "${{ each.index }}: ${{ each.item }}"},
            },
            does("all", value="${{ tasks.each[*].value }}"),
        )
    )
    result = await engine.result(handle)
    assert result.state is GoalState.SUCCEEDED
    assert result.outputs("all") == {"value": ["0: a", "1: b", "2: c", "3: d", "4: e"]}
    assert states(result)["each.4"] is TaskState.SUCCEEDED


async def test_an_empty_list_succeeds_with_no_results(engine: Engine) -> None:
    """What needs the task goes on."""
    handle = await engine.submit(
        plan_of(
            does("find", value=[]),
            does("each", value="${{ each.item }}", for_each="${{ tasks.find.value }}"),
            does("after", "each"),
        )
    )
    result = await engine.result(handle)
    assert result.state is GoalState.SUCCEEDED
    assert result.outputs("each") == []
    assert states(result)["after"] is TaskState.SUCCEEDED


async def test_what_is_no_list_fails_the_task_with_a_sentence(engine: Engine) -> None:
    """The message names the expression."""
    handle = await engine.submit(
        plan_of(does("find", value=7), does("each", for_each="${{ tasks.find.value }}"))
    )
    result = await engine.result(handle)
    assert result.failure is not None
    assert "for each item of a list" in result.failure.message


async def test_the_items_that_succeeded_are_undone_when_one_fails(engine: Engine) -> None:
    """The last first; items that had not begun are skipped."""
    handle = await engine.submit(
        plan_of(
            {
                "id": "each",
                "uses": "fake.write",
                "for_each": ["ok", "ok", "fail", "ok"],
                "width": 1,
                "with": {"value": "${{ each.index }}", "do": "${{ each.item }}"},
            },
        )
    )
    result = await engine.result(handle)
    assert result.state is GoalState.ROLLED_BACK
    assert [v for _, op, v in engine.fake.done if op == "fake.undo"] == [1, 0]
    assert states(result)["each"] is TaskState.FAILED
    assert skips(result)["each.3"] is Skip.STOPPED


async def test_a_tolerated_item_leaves_null_in_its_place(engine: Engine) -> None:
    """All items run, and the list keeps its order."""
    handle = await engine.submit(
        plan_of(
            {
                "id": "each",
                "uses": "fake.read",
                "for_each": ["ok", "fail", "ok"],
                "on_failure": "continue",
                "with": {"value": "${{ each.index }}", "do": "${{ each.item }}"},
            },
        )
    )
    result = await engine.result(handle)
    assert result.state is GoalState.SUCCEEDED
    assert result.outputs("each") == [{"value": 0}, None, {"value": 2}]


async def test_one_request_covers_all_items(engine: Engine) -> None:
    """People see every action of the list, and approve them together."""
    contract = plan_of(
        {
            "id": "each",
            "uses": "fake.destroy",
            "for_each": ["x", "y", "z"],
            "with": {"value": "${{ each.item }}"},
        },
        environment="production",
    )
    handle = await engine.submit(contract)
    asked = await engine.asked(handle)
    assert [a.task_id for a in asked.request.actions] == ["each.0", "each.1", "each.2"]
    assert [a.inputs["value"] for a in asked.request.actions] == ["x", "y", "z"]
    await engine.decide(handle, asked.request)
    result = await engine.result(handle)
    assert result.state is GoalState.SUCCEEDED
    assert len((await engine.progress(handle)).requests) == 1


async def test_a_gate_covers_a_list_that_is_known_by_then(engine: Engine) -> None:
    """The gate asks for every item, and what it covers is not asked about again."""
    handle = await engine.submit(
        plan_of(
            does("find", value=["x", "y"]),
            {"id": "gate", "uses": "approval", "needs": ["find"], "covers": ["each", "one"]},
            {
                "id": "each",
                "uses": "fake.destroy",
                "for_each": "${{ tasks.find.value }}",
                "with": {"value": "${{ each.item }}"},
            },
            does("one", uses="fake.destroy"),
            environment="production",
        )
    )
    asked = await engine.asked(handle)
    assert [a.task_id for a in asked.request.actions] == ["each.0", "each.1", "one"]
    await engine.decide(handle, asked.request)
    result = await engine.result(handle)
    assert result.state is GoalState.SUCCEEDED
    assert len((await engine.progress(handle)).requests) == 1


def with_finally(*tasks: dict[str, Any], last: list[dict[str, Any]]) -> Contract:
    """A contract with tasks that always run."""
    return Contract.model_validate(
        {"name": "test", "environment": "development", "tasks": tasks, "finally": last}
    )


async def test_finally_runs_after_the_undoing_and_sees_how_the_goal_ended(engine: Engine) -> None:
    """Order: the task, its undoing, what always runs."""
    handle = await engine.submit(
        with_finally(
            does("made", uses="fake.write", value="it"),
            fails("bad", needs=["made"]),
            last=[
                does("tidy", uses="fake.write", value="${{ goal.state }} ${{ goal.failure.code }}"),
                does("tell", "tidy", value="${{ tasks.made.value }}"),
            ],
        )
    )
    result = await engine.result(handle)
    assert result.state is GoalState.ROLLED_BACK
    assert [op for _, op, _ in engine.fake.done] == [
        "fake.write",
        "fake.undo",
        "fake.write",
        "fake.read",
    ]
    assert result.outputs("tidy") == {"value": "RolledBack OperationFailed"}
    assert result.outputs("tell") == {"value": "it"}


async def test_finally_runs_when_the_goal_is_cancelled(engine: Engine) -> None:
    """Temporal's cancellation stops the tasks and not what always runs."""
    handle = await engine.submit(
        with_finally(
            does("hang", value=1) | {"with": {"do": "hang"}},
            last=[does("tidy", value="${{ goal.state }}")],
        )
    )
    await engine.fake.started.wait()
    await handle.cancel()
    await engine.until(handle, lambda p: p.state is GoalState.CANCELLED)
    progress = await engine.progress(handle)
    tidy = next(t for t in progress.tasks if t.id == "tidy")
    assert tidy.outputs == {"value": "Cancelled"}


async def test_a_failure_in_finally_fails_a_goal_that_had_succeeded(engine: Engine) -> None:
    """Nothing is undone for it, and its siblings run."""
    handle = await engine.submit(
        with_finally(does("made", uses="fake.write"), last=[fails("bad"), does("good", "bad")])
    )
    result = await engine.result(handle)
    assert result.state is GoalState.FAILED
    assert states(result)["made"] is TaskState.SUCCEEDED
    assert states(result)["good"] is TaskState.SUCCEEDED


async def test_a_wait_ends_with_its_time(engine: Engine) -> None:
    """A length of time, and a point in time that has passed."""
    past = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    handle = await engine.submit(
        plan_of(
            {"id": "short", "uses": "wait", "with": {"for": "PT0.05S"}},
            {"id": "past", "uses": "wait", "with": {"until": past}},
            does("after", "short", "past"),
        )
    )
    assert (await engine.result(handle)).state is GoalState.SUCCEEDED


async def test_a_wait_for_an_event_ends_with_it(engine: Engine) -> None:
    """Its payload is the output; one that came before anything waited counts too."""
    handle = await engine.submit(
        plan_of(
            {"id": "first", "uses": "wait", "with": {"signal": "built"}},
            {"id": "second", "uses": "wait", "needs": ["first"], "with": {"signal": "tested"}},
            does("after", value="${{ tasks.second.payload.ok }}"),
        )
    )
    await handle.signal(SIGNAL_EVENT, EventSignal(name="tested", payload={"ok": True}))
    await handle.signal(SIGNAL_EVENT, {"name": {"not": "a name"}})
    await handle.signal(SIGNAL_EVENT, EventSignal(name="built"))
    await handle.signal(SIGNAL_EVENT, EventSignal(name="built"))
    result = await engine.result(handle)
    assert result.state is GoalState.SUCCEEDED
    assert result.outputs("after") == {"value": True}


async def test_an_event_that_does_not_come_in_time_fails_the_wait(engine: Engine) -> None:
    """The message says how it is sent."""
    handle = await engine.submit(
        plan_of({"id": "w", "uses": "wait", "with": {"signal": "built", "timeout": "PT0.05S"}})
    )
    result = await engine.result(handle)
    assert result.failure is not None
    assert "goalkeeper signal" in result.failure.message


async def test_waits_do_not_take_the_place_of_work(engine: Engine) -> None:
    """A window of one still runs what can run while people are asked."""
    handle = await engine.submit(
        plan_of(
            {"id": "w", "uses": "wait", "with": {"signal": "go"}, "priority": 1},
            does("work", uses="fake.write"),
        )
    )
    await engine.until(
        handle, lambda p: any(t.id == "work" and t.state is TaskState.SUCCEEDED for t in p.tasks)
    )
    await handle.signal(SIGNAL_EVENT, EventSignal(name="go"))
    assert (await engine.result(handle)).state is GoalState.SUCCEEDED
