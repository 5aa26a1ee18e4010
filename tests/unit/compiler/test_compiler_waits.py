from typing import Any

import pytest

from goalkeeper.domain.compiler import resolve
from goalkeeper.domain.errors import InvalidContract, InvalidGoal
from goalkeeper.domain.operation import Risk
from goalkeeper.domain.plan import GOAL, WAIT, WaitInputs
from tests.unit.compiler.making import gate, made, made_from, note, task


def wait(name: str, **inputs: Any) -> dict[str, Any]:
    """A wait."""
    return {"id": name, "uses": "wait", "with": inputs}


def child(name: str, **inputs: Any) -> dict[str, Any]:
    """A goal of its own."""
    return {"id": name, "uses": "goal", "with": inputs}


@pytest.mark.parametrize(
    "inputs",
    [
        {"for": "PT5M"},
        {"for": 300},
        {"until": "2030-01-01T00:00:00Z"},
        {"signal": "reviewed"},
        {"signal": "reviewed", "timeout": "PT1H"},
    ],
)
def test_the_interpreter_takes_what_the_compiler_makes_of_a_wait(inputs: dict[str, Any]) -> None:
    """A wait reads and asks nobody."""
    found = task(made(wait("w", **inputs)), "w")
    assert found.operation == WAIT
    assert found.risk is Risk.READ
    understood = WaitInputs.model_validate(resolve(found, {}))
    given = understood.model_dump(mode="json", exclude_none=True)
    assert given == {{"for": "duration"}.get(k, k): v if v != 300 else "PT5M"
                     for k, v in inputs.items()}  # fmt: skip


def test_how_long_to_wait_may_be_an_answer() -> None:
    """The place is called as the interpreter calls it."""
    found = task(made(note("a"), wait("w", **{"for": "${{ tasks.a.number }}"})), "w")
    assert found.needs == ("a",)
    assert found.bindings == {"/duration": "tasks.a.number"}
    inputs = resolve(found, {"tasks": {"a": {"number": 60}}})
    waits = WaitInputs.model_validate(inputs).duration
    assert waits is not None
    assert waits.total_seconds() == 60


def test_what_an_event_brought_is_an_output() -> None:
    """Of any shape."""
    plan = made(wait("w", signal="reviewed"), note("b", text="${{ tasks.w.payload.by.name }}"))
    assert task(plan, "b").needs == ("w",)


def test_a_wait_may_follow_each_item_of_a_list() -> None:
    """Each item waits for itself."""
    found = task(made(wait("w", signal="${{ each.item }}") | {"for_each": ["a", "b"]}), "w")
    assert found.bindings == {"/signal": "each.item"}


WRONG_WAITS = {
    "for nothing": (wait("w"), "exactly one of `for`, `until` and `signal`"),
    "for two things": (
        wait("w", signal="x", until="2030-01-01T00:00:00Z"),
        "exactly one of `for`, `until` and `signal`",
    ),
    "a misspelt word": (
        wait("w", untill="2030-01-01T00:00:00Z"),
        "unknown key 'untill'; did you mean 'until'?",
    ),
    "no length of time": (wait("w", **{"for": "soon"}), "'for' must be a duration"),
    "a time without a zone": (wait("w", until="2030-01-01T00:00:00"), "'until'"),
    "no name": (wait("w", signal="Not A Name"), "takes lower-case letters, digits and '-'"),
    "a time-out of a length of time": (
        wait("w", **{"for": "PT5M", "timeout": "PT1H"}),
        "`timeout` belongs to a wait for a `signal`",
    ),
    "a time-out of the task": (
        wait("w", signal="x") | {"timeout": "PT1H"},
        "a wait takes no `timeout:`",
    ),
    "credentials": (
        wait("w", signal="x") | {"credentials": {"token": "r"}},
        "a wait takes no `credentials:`",
    ),
    "attempts": (
        wait("w", signal="x") | {"retry": {"maximum_attempts": 2}},
        "a wait takes no `retry:`",
    ),
    "a list for a length of time": (
        wait("w", **{"for": "${{ tasks.a.many }}"}),
        "'for' of wait takes number or string, and this is array",
    ),
}


@pytest.mark.parametrize("case", WRONG_WAITS)
def test_refuses_a_wait_that_is_not_clear(case: str) -> None:
    """The message says what to write instead."""
    wrong, words = WRONG_WAITS[case]
    with pytest.raises(InvalidContract) as refused:
        made(note("a"), wrong)
    assert words in refused.value.message


def test_a_wait_for_time_has_no_payload() -> None:
    """Only an event brings something."""
    with pytest.raises(InvalidContract, match=r"'tasks.w' \(wait\) has no field 'payload'"):
        made(wait("w", **{"for": 5}), note("b", anything="${{ tasks.w.payload }}"))


def test_a_wrong_length_of_time_is_blamed_on_the_input() -> None:
    """With its name, and the contract's word for the place."""
    with pytest.raises(InvalidGoal, match="input 'long': 'for' must be a duration"):
        made(wait("w", **{"for": "${{ inputs.long }}"}), goal={"long": "?"}, inputs={"long": {}})


def test_a_wrong_wait_is_told_at_its_line() -> None:
    """Where the word stands."""
    with pytest.raises(InvalidContract, match=r"demo.yaml:5:17: .*'for' must be a duration"):
        made_from("name: demo\ntasks:\n- id: w\n  uses: wait\n  with: {  for: soon}\n")


def test_a_child_goal_stands_in_the_plan_as_a_task() -> None:
    """Its inputs may be answers."""
    plan = made(
        note("a"),
        child("c", contract="read-file", inputs={"path": "${{ tasks.a.text }}", "n": 1}),
        note("b", text="${{ tasks.c.tasks.read.content }}", anything="${{ tasks.c.goal_id }}"),
    )
    found = task(plan, "c")
    assert found.operation == GOAL
    assert found.needs == ("a",)
    assert resolve(found, {"tasks": {"a": {"text": "x"}}}) == {
        "contract": "read-file",
        "inputs": {"path": "x", "n": 1},
    }
    assert task(plan, "b").needs == ("c",)


def test_which_contract_a_child_follows_may_be_an_input() -> None:
    """The plan knows it, since the planner looks it up."""
    plan = made(
        child("c", contract="${{ inputs.kind }}"), goal={"kind": "read-file"}, inputs={"kind": {}}
    )
    assert task(plan, "c").inputs == {"contract": "read-file", "inputs": {}}


def test_a_child_goal_for_each_item_answers_a_list() -> None:
    """Of goal ids, states and outputs."""
    plan = made(
        child("c", contract="x", inputs={"n": "${{ each.item }}"}) | {"for_each": [1, 2]},
        note("b", anything="${{ tasks.c[*].state }}"),
    )
    assert task(plan, "c").bindings == {"/inputs/n": "each.item"}


WRONG_CHILDREN = {
    "no contract": (child("c", inputs={}), "'contract' is missing"),
    "no name": (child("c", contract="Read File"), "takes lower-case letters"),
    "a contract that an output names": (
        child("c", contract="${{ tasks.a.text }}"),
        "the contract of a child goal is part of the plan, so it may use inputs and not "
        "'tasks.a.text'",
    ),
    "another key": (
        child("c", contract="x", input={}),
        "unknown key 'input'; did you mean 'inputs'?",
    ),
    "inputs that are a list": (child("c", contract="x", inputs=[1]), "'inputs' must be a mapping"),
    "credentials": (
        child("c", contract="x") | {"credentials": {"token": "r"}},
        "a child goal takes no `credentials:`",
    ),
    "a time-out": (child("c", contract="x") | {"timeout": 5}, "a child goal takes no `timeout:`"),
    "an output that no goal has": (
        note("b", text="${{ tasks.kid.status }}"),
        "'tasks.kid' (goal) has no field 'status'; did you mean 'state'?",
    ),
}


@pytest.mark.parametrize("case", WRONG_CHILDREN)
def test_refuses_a_child_goal_that_is_not_clear(case: str) -> None:
    """The message says what to write instead."""
    wrong, words = WRONG_CHILDREN[case]
    with pytest.raises(InvalidContract) as refused:
        made(note("a"), child("kid", contract="x"), wrong)
    assert words in refused.value.message


@pytest.mark.parametrize(
    ("covered", "words"),
    [
        (child("c", contract="x"), "'c' is a goal of its own and asks for itself"),
        (wait("c", signal="x"), "'c' is a wait, which needs no approval"),
    ],
)
def test_a_gate_covers_only_what_it_can_show(covered: dict[str, Any], words: str) -> None:
    """Nobody approves what is not on the card."""
    with pytest.raises(InvalidContract) as refused:
        made(gate("ask", "c"), covered)
    assert words in refused.value.message


def test_a_misspelt_kind_is_told() -> None:
    """Built-in ones are known by name too."""
    with pytest.raises(InvalidContract, match="no operation 'wiat'; did you mean 'wait'"):
        made({"id": "w", "uses": "wiat"})
