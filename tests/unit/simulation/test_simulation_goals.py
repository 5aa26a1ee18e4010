"""A simulated goal does what the real one would, with nobody and nothing behind it."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from connectors.registry import known_operations
from goalkeeper.catalogue import Catalogue
from goalkeeper.contracts.goal import GoalInput
from goalkeeper.domain.approval import Answer, Question, Requester
from goalkeeper.domain.contract import Contract
from goalkeeper.domain.errors import InvalidGoal
from goalkeeper.domain.plan import GoalState, TaskState
from goalkeeper.policy import PolicyEngine
from goalkeeper.simulation.examples import example
from goalkeeper.simulation.people import Answering
from goalkeeper.simulation.planning import RealPlanning
from goalkeeper.simulation.scenario import Scenario, check_scenario
from goalkeeper.simulation.simulate import Simulated, simulate
from goalkeeper.simulation.what_if import what_if
from tests.support.fakes import FakeConnector

_SHIP: tuple[dict[str, Any], ...] = (
    {"id": "look", "uses": "fake.quick", "with": {"value": "v2"}},
    {"id": "ok", "uses": "approval", "covers": ["merge", "deploy"], "show": ["look"]},
    {"id": "merge", "uses": "fake.write", "with": {"value": "${{ tasks.look.value }}"}},
    {"id": "deploy", "uses": "fake.once", "with": {"value": 2}, "needs": ["merge"]},
)
_OPERATIONS = FakeConnector.operations


def _planning(*, proven: bool = True) -> RealPlanning:
    return RealPlanning(
        operations=_OPERATIONS,
        catalogue=Catalogue(),
        policy=PolicyEngine.load(),
        requester=Requester(id="dana", proven=proven),
    )


def _goal(*tasks: dict[str, Any], environment: str = "production") -> GoalInput:
    contract = {"name": "test", "environment": environment, "tasks": tasks or _SHIP}
    return GoalInput(definition=Contract.model_validate(contract))


def _run(
    *tasks: dict[str, Any],
    scenario: Scenario | None = None,
    proven: bool = True,
    environment: str = "production",
) -> Simulated:
    goal = _goal(*tasks, environment=environment)
    return simulate(goal, _planning(proven=proven), scenario or Scenario(), _OPERATIONS)


def test_a_goal_that_goes_well_takes_as_long_as_its_tasks_and_people() -> None:
    """Nobody waits for it meanwhile: five minutes for people, ten seconds for each write."""
    run = _run()
    assert run.state is GoalState.SUCCEEDED
    assert timedelta(minutes=5, seconds=20) < run.took < timedelta(minutes=5, seconds=21)
    assert run.critical_path == ("look", "ok", "merge", "deploy")
    states = [(m.task_id, m.state) for m in run.moments if m.task_id == "merge"]
    assert states == [("merge", "Running"), ("merge", "Succeeded")]


def test_the_time_before_what_always_runs_is_told_too() -> None:
    """It needs nothing, and begins when all else has ended."""
    contract = {
        "name": "test",
        "environment": "production",
        "tasks": _SHIP,
        "finally": [{"id": "tell", "uses": "fake.quick", "with": {"value": "done"}}],
    }
    goal = GoalInput(definition=Contract.model_validate(contract))
    run = simulate(goal, _planning(), Scenario(), _OPERATIONS)
    assert run.critical_path == ("look", "ok", "merge", "deploy", "tell")


def test_it_says_who_is_asked_about_what_and_what_silence_means() -> None:
    """As policy has it, for the actions as they would run."""
    [asked] = _run().asked
    assert asked.task_id == "ok"
    assert asked.question is Question.RUN
    assert asked.groups == ("operators",)
    assert asked.needed == 1
    assert asked.actions == ("merge fake.write", "deploy fake.once")
    assert asked.expires_after == timedelta(hours=4)
    assert asked.silence == "denied"


def test_who_is_not_proven_needs_one_more_approver() -> None:
    """The rule of the real thing."""
    [asked] = _run(proven=False).asked
    assert asked.needed == 2


def test_a_denied_goal_has_done_nothing() -> None:
    """And says so."""
    denied = Scenario(answers={"ok": Answering(answer=Answer.DENY)})
    run = _run(scenario=denied)
    assert run.state is GoalState.DENIED
    assert run.failure is not None
    assert run.failure.code == "ApprovalDenied"
    assert run.in_state(TaskState.SKIPPED) == ("merge", "deploy")


def test_a_failure_after_a_write_undoes_the_write() -> None:
    """The last first."""
    run = _run(scenario=Scenario(failures={"deploy": "OperationFailed"}))
    assert run.state is GoalState.ROLLED_BACK
    assert run.undone == ("merge",)


def test_a_transient_failure_is_retried_before_it_counts() -> None:
    """With the pauses of the task's retry policy."""
    run = _run(scenario=Scenario(failures={"merge": "ServiceUnavailable"}))
    [merge] = [t for t in run.tasks if t.id == "merge"]
    assert merge.failure is not None
    assert merge.failure.code == "ServiceUnavailable"
    assert run.took > timedelta(minutes=5 + 3)


def test_a_lost_attempt_is_asked_about() -> None:
    """What people say decides whether it runs again."""
    for answer, generation in ((Answer.HAPPENED, 0), (Answer.DID_NOT_HAPPEN, 1)):
        told = {"deploy": Answering(answer=answer)}
        run = _run(scenario=Scenario(lost=frozenset({"deploy"}), outcomes=told))
        [deploy] = [t for t in run.tasks if t.id == "deploy"]
        assert run.state is GoalState.SUCCEEDED
        assert deploy.generation == generation
        assert [a.question for a in run.asked][1] is Question.OUTCOME


def test_what_policy_refuses_does_not_begin() -> None:
    """The simulation shows the refusal."""
    run = _run({"id": "a", "uses": "fake.privileged"})
    assert run.state is GoalState.FAILED
    assert run.failure is not None
    assert run.failure.code == "PolicyDenied"
    assert run.plan is None


def test_outputs_that_are_given_reach_the_tasks_after() -> None:
    """In place of the example that the operation's model yields."""
    run = _run(scenario=Scenario(outputs={"look": {"value": "mine"}}))
    [look] = [t for t in run.tasks if t.id == "look"]
    assert look.outputs == {"value": "mine"}


def test_durations_that_are_given_count() -> None:
    """Time-outs included: ten minutes is all that an attempt gets by default."""
    run = _run(scenario=Scenario(durations={"merge": timedelta(minutes=9)}))
    assert run.took > timedelta(minutes=14)
    late = _run(scenario=Scenario(durations={"merge": timedelta(minutes=11)}))
    assert late.state is not GoalState.SUCCEEDED


def test_what_if_tries_each_failure_and_each_denial() -> None:
    """One thing at a time, from the scenario at hand."""
    scenario = Scenario()

    def run(varied: Scenario) -> Simulated:
        return _run(scenario=varied)

    table = {w.change: w for w in what_if(run, scenario, run(scenario))}
    assert table["'ok' is denied"].state is GoalState.DENIED
    assert table["nobody answers 'ok'"].failure == "ApprovalExpired"
    assert table["'merge' fails"].skipped == ("deploy",)
    assert table["'deploy' fails"].undone == ("merge",)
    lost = table["'deploy' is lost and nobody says what became of it"]
    assert lost.state is GoalState.FAILED
    assert lost.kept == ("merge",)


def test_the_same_simulation_twice_is_the_same() -> None:
    """Down to the request ids: nothing of it is left to chance."""
    assert _run() == _run()


def test_a_scenario_names_tasks_that_there_are() -> None:
    """A slip of the finger is no scenario."""
    planning = _planning()
    plan = planning.compile(_goal())
    with pytest.raises(InvalidGoal, match="no task 'merg'"):
        check_scenario(Scenario(failures={"merg": "OperationFailed"}), plan)
    with pytest.raises(ValidationError):
        Scenario(failures={"merge": "not a code"})


def test_every_operation_has_an_example_answer_that_its_own_model_takes() -> None:
    """Otherwise a simulation would go on with what no operation answers."""
    for operation in known_operations().values():
        operation.outputs.model_validate(example(operation.outputs))
