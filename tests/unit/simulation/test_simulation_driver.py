"""The driver does to a workflow what Temporal would."""

from datetime import timedelta
from typing import Any

import pytest
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, TimeoutError

from goalkeeper.domain.errors import OperationFailed, ServiceUnavailable
from goalkeeper.simulation.conversion import value_of
from goalkeeper.simulation.driver import Driver
from goalkeeper.simulation.execution import Execution
from goalkeeper.simulation.replay import check_replay
from goalkeeper.simulation.run import SimulationBroken
from tests.unit.simulation.small_workflows import START, ScriptedWorld, driving


def _ran(what: str, world: ScriptedWorld | None = None, **options: Any) -> tuple[Driver, Execution]:
    driver = driving(world, **options)
    execution = driver.start("Small", "one", what)
    driver.run()
    return driver, execution


def _result(execution: Execution) -> Any:
    assert execution.failure is None
    assert execution.result is not None
    return value_of(execution.result)


def _cause(execution: Execution) -> BaseException | None:
    assert execution.failure is not None
    found: BaseException | None = execution.failure
    while isinstance(found, ActivityError):
        found = found.cause
    return found


def test_an_hour_of_waiting_takes_no_time_and_shows_on_the_clock() -> None:
    """A timer fires at its time, and nobody waits for it."""
    driver, execution = _ran("wait")
    assert driver.now - START == timedelta(hours=1)
    assert _result(execution) == "2026-01-01T01:00:00+00:00"


def test_a_transient_error_is_retried_by_temporals_rules() -> None:
    """Attempts follow after 1 s and 2 s, as the default policy has it."""
    world = ScriptedWorld(errors=[ServiceUnavailable("no"), ServiceUnavailable("no")])
    driver, execution = _ran("act_thrice", world)
    assert _result(execution) == "done at attempt 3"
    assert driver.now - START == timedelta(seconds=10 + 1 + 10 + 2 + 10)


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (ServiceUnavailable("no"), 3),
        (OperationFailed("no"), 1),
        (ApplicationError("no", type="Never"), 1),
    ],
)
def test_an_activity_fails_in_the_end_with_the_last_error(error: Exception, attempts: int) -> None:
    """After as many attempts as the policy and the error allow."""
    world = ScriptedWorld(errors=[error] * 5)
    _, execution = _ran("act_thrice", world)
    cause = _cause(execution)
    assert isinstance(cause, ApplicationError)
    assert cause.type in (type(error).__name__, "Never")
    assert len(world.attempts) == attempts


def test_an_attempt_that_takes_too_long_is_a_time_out() -> None:
    """Temporal counts it as lost; here all three are."""
    world = ScriptedWorld(takes=timedelta(hours=1))
    _, execution = _ran("act_thrice", world)
    assert isinstance(_cause(execution), TimeoutError)
    assert len(world.attempts) == 3
    assert world.finished == 0


def test_a_cancelled_activity_stops_once_it_has_noticed() -> None:
    """Its work is not done, and the workflow ends as cancelled."""
    world = ScriptedWorld(takes=timedelta(seconds=50))
    driver = driving(world)
    execution = driver.start("Small", "one", "act_for_long")
    driver.after(timedelta(seconds=20), lambda: driver.cancel("one"))
    driver.run()
    assert isinstance(execution.failure, CancelledError)
    assert driver.now - START == timedelta(seconds=25)
    assert world.finished == 0


def test_an_activity_that_is_done_before_it_notices_has_done_its_work() -> None:
    """Cancellation is a request, and it came too late."""
    world = ScriptedWorld(takes=timedelta(seconds=50))
    driver = driving(world)
    execution = driver.start("Small", "one", "act_for_long")
    driver.after(timedelta(seconds=47), lambda: driver.cancel("one"))
    driver.run()
    assert world.finished == 1
    assert _result(execution) == "done at attempt 1"


def test_a_local_activity_keeps_its_workflow_task_open() -> None:
    """What was asked for beside it begins once it has ended: so it is with Temporal."""
    _, execution = _ran("act_locally")
    assert _result(execution) == ["look 00:02", "work 00:12"]


def test_a_child_runs_beside_its_parent_and_answers_it() -> None:
    """Its result reaches the parent when it has ended."""
    _, execution = _ran("parent")
    assert _result(execution) == "the child said 2026-01-01T01:00:00+00:00"


def test_a_cancelled_parent_cancels_its_child() -> None:
    """And waits until it has ended."""
    driver = driving()
    execution = driver.start("Small", "one", "parent")
    driver.after(timedelta(minutes=1), lambda: driver.cancel("one"))
    driver.run()
    assert driver.executions["child"].closed
    assert driver.executions["child"].failure is not None
    assert execution.failure is not None


def test_an_abandoned_child_outlives_its_parent() -> None:
    """Its policy says so."""
    driver, execution = _ran("leave")
    assert _result(execution) == "gone"
    assert _result(driver.executions["child"]) == "2026-01-01T01:00:00+00:00"


def test_signals_updates_and_queries_reach_the_workflow() -> None:
    """In the order in which they were sent; a query changes nothing."""
    driver = driving()
    execution = driver.start("Small", "one", "listen")
    driver.signal("one", "say", "hello")
    driver.run()
    assert driver.query("one", "heard") == ["hello"]
    update = driver.update("one", "shout", "bye")
    driver.run()
    assert update.result() == "BYE"
    assert _result(execution) == ["hello", "bye"]


def test_an_update_may_be_turned_down() -> None:
    """The validator's error is the answer, and replay knows nothing of the update."""
    driver = driving()
    execution = driver.start("Small", "one", "listen")
    driver.run()
    update = driver.update("one", "shout", "nonsense")
    driver.run()
    with pytest.raises(ApplicationError, match="that is nonsense"):
        update.result()
    check_replay(execution)
    driver.close()


def test_what_comes_after_the_end_is_answered_too() -> None:
    """A signal finds nobody; an update is told so."""
    driver, _ = _ran("wait")
    assert not driver.signal("one", "say", "hello")
    with pytest.raises(ApplicationError, match="has ended"):
        driver.update("one", "shout", "hello").result()


def test_a_workflow_continues_as_new_when_its_history_has_grown() -> None:
    """A signal sent meanwhile reaches the next run."""
    driver = driving(events_until_new=7)
    execution = driver.start("Small", "one", "renew")
    driver.run()
    assert not execution.earlier
    for word in ("a", "b", "c", "d"):
        driver.signal("one", "say", word)
        driver.run()
    assert len(execution.runs) == 2
    assert _result(execution) == ["c", "d"]
    check_replay(execution)


def test_the_same_seed_gives_the_same_run() -> None:
    """Down to the run ids, also where the order at one instant is left to chance."""

    def commands(seed: int) -> list[bytes]:
        _, execution = _ran("act_locally", seed=seed, scattered=True)
        turns = execution.run.turns
        return [t.activation.SerializeToString(deterministic=True) for t in turns]

    assert commands(1) == commands(1)
    assert commands(1) != commands(2)


def test_a_defect_of_the_workflow_ends_the_simulation() -> None:
    """Temporal would try the workflow task again for ever."""
    with pytest.raises(SimulationBroken, match="a defect"):
        _ran("break_down")


def test_replay_finds_a_workflow_that_is_not_deterministic() -> None:
    """Other commands than the first time."""
    _, execution = _ran("differ")
    with pytest.raises(SimulationBroken, match="not deterministic"):
        check_replay(execution)
