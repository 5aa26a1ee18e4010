import pytest

from goalkeeper.domain.errors import InvalidContract, InvalidGoal
from goalkeeper.domain.expressions import evaluate
from goalkeeper.domain.plan import OnFailure, PlanTask, RunRule
from tests.unit.compiler.making import gate, made, note, task


def test_a_task_runs_when_its_needs_succeeded_unless_told_otherwise() -> None:
    """And its failure rolls the goal back."""
    plain = task(made(note("a")), "a")
    assert plain.run is RunRule.ALL_SUCCEEDED
    assert plain.when is None
    assert plain.on_failure is OnFailure.ROLL_BACK


def test_the_words_of_a_task_reach_the_plan() -> None:
    """As they are written."""
    plan = made(
        note("a"),
        note("b", "a") | {
            "run": "any_failed",
            "on_failure": "continue",
            "schedule_to_close_timeout": "PT1H",
            "retry": {"non_retryable": ["RateLimited"]},
        },
    )  # fmt: skip
    found = task(plan, "b")
    assert found.run is RunRule.ANY_FAILED
    assert found.on_failure is OnFailure.CONTINUE
    assert found.schedule_to_close_timeout is not None
    assert found.schedule_to_close_timeout.total_seconds() == 3600
    assert found.retry.non_retryable == ("RateLimited",)


def test_a_task_fails_as_its_contract_says_unless_it_says_something_else() -> None:
    """One line at the top serves every task."""
    plan = made(note("a"), note("b") | {"on_failure": "stop"}, on_failure="continue")
    assert task(plan, "a").on_failure is OnFailure.CONTINUE
    assert task(plan, "b").on_failure is OnFailure.STOP


def test_a_condition_makes_needs_of_what_it_names() -> None:
    """A task's output as its state."""
    plan = made(
        note("a"),
        note("b"),
        note("c") | {"when": "${{ tasks.a.number > `1` && states.b == 'Failed' }}"},
    )
    assert task(plan, "c").needs == ("a", "b")
    assert task(plan, "c").when == "tasks.a.number > `1` && states.b == 'Failed'"


def met(found: PlanTask) -> object:
    """What a condition comes to."""
    return found.when is None or evaluate(found.when, {})


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        (True, True),
        (False, False),
        ("${{ inputs.flag }}", True),
        ("${{ !inputs.flag }}", False),
        ("${{ inputs.word == 'x' }}", False),
        ("${{ inputs.word }}", ""),
    ],
)
def test_a_condition_over_inputs_is_settled_when_the_plan_is_made(
    when: object, expected: object
) -> None:
    """People who read the plan see what it came to."""
    plan = made(
        note("a") | {"when": when},
        goal={"flag": True, "word": ""},
        inputs={"flag": {"type": "boolean"}, "word": {}},
    )
    assert met(task(plan, "a")) == expected


def test_an_approval_may_have_a_condition_a_rule_and_a_lock() -> None:
    """So may what stands around it."""
    plan = made(
        note("a"),
        gate("ask", "b", when="${{ tasks.a.number }}", run="all_done", lock="prod"),
        note("b"),
    )
    asked = task(plan, "ask")
    assert asked.when == "tasks.a.number"
    assert asked.run is RunRule.ALL_DONE
    assert asked.lock is not None
    assert asked.lock.name == "prod"


WRONG = {
    "a condition that is no expression": (
        note("b") | {"when": "states.a == 'Failed'"},
        "write `${{ states.a == 'Failed' }}`",
    ),
    "a condition that is text": (
        note("b") | {"when": "${{ states.a }} == 'Failed'"},
        "put all of it between `${{` and `}}`",
    ),
    "a condition that is not JMESPath": (note("b") | {"when": "${{ a b }}"}, "is not JMESPath"),
    "the state of nothing": (
        note("b") | {"when": "${{ states.aa == 'Failed' }}"},
        "there is no task 'aa'; did you mean 'a'?",
    ),
    "a field of a state": (
        note("b") | {"when": "${{ states.a.code }}"},
        "states.a is text and has no fields",
    ),
    "an output that is not there": (
        note("b") | {"when": "${{ tasks.a.nmber == `1` }}"},
        "has no field 'nmber'; did you mean 'number'?",
    ),
    "an input that is not there": (
        note("b") | {"when": "${{ inputs.x }}"},
        "the contract declares no input 'x'",
    ),
    "the goal's end before the end": (
        note("b") | {"when": "${{ goal.state == 'Failed' }}"},
        "'goal.state' is known once all is over, so in tasks of `finally:` alone",
    ),
    "something of the goal that is not there": (
        note("b", text="${{ goal.name }}"),
        "there is no 'goal.name'; write goal.id, goal.state or goal.failure",
    ),
    "an item without a list": (
        note("b", text="${{ each.item }}"),
        "'each.item' stands for an item of `for_each:`; add that",
    ),
    "a state where a number stands": (
        note("b", number="${{ states.a }}"),
        "takes integer, and this is string",
    ),
    "an error that is not there": (
        note("b") | {"retry": {"non_retryable": ["RateLimit"]}},
        "there is no error 'RateLimit'; did you mean 'RateLimited'?",
    ),
    "a rule on an approval's failure": (
        gate("ask", "a", on_failure="stop"),
        "an approval takes no `on_failure:`",
    ),
    "a list for an approval": (gate("ask", "a", for_each=[1]), "an approval takes no `for_each:`"),
}


@pytest.mark.parametrize("case", WRONG)
def test_refuses_what_could_never_be_met(case: str) -> None:
    """The message says what to write instead."""
    wrong, words = WRONG[case]
    with pytest.raises(InvalidContract) as refused:
        made(note("a"), wrong)
    assert words in refused.value.message


def test_a_condition_without_a_value_is_blamed_on_the_input() -> None:
    """A function does not take everything."""
    with pytest.raises(InvalidGoal, match="has no value"):
        made(note("a") | {"when": "${{ length(inputs.n) > `1` }}"}, goal={"n": 3},
             inputs={"n": {"type": "integer"}})  # fmt: skip


def test_a_condition_may_wait_for_its_own_failure_handler() -> None:
    """A circle is found through conditions too."""
    with pytest.raises(InvalidContract, match="a → b → a"):
        made(note("a") | {"when": "${{ states.b }}"}, note("b", "a"))
