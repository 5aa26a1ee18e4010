import pytest

from goalkeeper.domain.errors import InvalidContract
from goalkeeper.domain.plan import APPROVAL
from tests.unit.compiler.making import gate, made, note, task


def test_what_a_gate_covers_waits_for_it() -> None:
    """Nobody has to say so, and nobody can forget to."""
    plan = made(note("look"), gate("ask", "change"), note("change"), note("after", "change"))
    assert task(plan, "change").needs == ("ask",)
    assert task(plan, "ask").operation == APPROVAL
    assert task(plan, "ask").covers == ("change",)


def test_what_a_gate_shows_runs_before_it() -> None:
    """The card is complete when people see it."""
    plan = made(gate("ask", "change", show=["look"]), note("change"), note("look"))
    assert task(plan, "ask").needs == ("look",)
    assert [t.id for t in plan.tasks] == ["look", "ask", "change"]


def test_covered_tasks_may_follow_each_other_and_use_what_ran_before_the_gate() -> None:
    """A whole sequence can be approved in one request."""
    plan = made(
        note("look"),
        gate("ask", "first", "second", needs=["look"]),
        note("first", text="${{ tasks.look.text }}"),
        note("second", "first", text="${{ tasks.look.text }}"),
    )
    assert task(plan, "second").needs == ("look", "ask", "first")


def test_an_ancestor_of_an_ancestor_is_known_too() -> None:
    """What runs before the gate need not be named by it."""
    plan = made(
        note("deep"),
        note("look", "deep"),
        gate("ask", "change", show=["look"]),
        note("change", text="${{ tasks.deep.text }}"),
    )
    assert task(plan, "change").bindings


WRONG = {
    "an output that comes after the gate": (
        [
            gate("ask", "first", "second"),
            note("first"),
            note("second", text="${{ tasks.first.text }}"),
        ],
        "'second' is approved at 'ask', so its inputs must be known then, and 'first'",
    ),
    "an output beside the gate": (
        [note("look"), gate("ask", "change"), note("change", text="${{ tasks.look.text }}")],
        "let 'ask' need 'look'",
    ),
    "a gate that waits for what it covers": (
        [gate("ask", "change", needs=["change"]), note("change")],
        "ask → change → ask (what 'ask' covers waits for it)",
    ),
    "a gate that shows what it covers": (
        [gate("ask", "change", show=["change"]), note("change")],
        "ask → change → ask",
    ),
    "a gate that covers nothing": ([gate("ask")], "names in `covers:`"),
    "a gate that covers the unknown": ([gate("ask", "chang"), note("change")], "mean 'change'?"),
    "a gate that covers a gate": (
        [gate("ask", "again"), gate("again", "a"), note("a")],
        "'again' is an approval itself",
    ),
    "a task under two gates": (
        [gate("one", "a"), gate("two", "a"), note("a")],
        "'a' is covered by 'one' already",
    ),
    "a task that a gate covers twice": ([gate("one", "a", "a"), note("a")], "covered by 'one'"),
    "a gate with inputs": ([gate("ask", "a", **{"with": {"x": 1}}), note("a")], "no `with:`"),
    "a gate with credentials": (
        [gate("ask", "a", credentials={"token": "x"}), note("a")],
        "takes no `credentials:`",
    ),
    "a gate with a time-out": ([gate("ask", "a", timeout=5), note("a")], "takes no `timeout:`"),
    "the outputs of a gate": (
        [gate("ask", "a"), note("a"), note("b", text="${{ tasks.ask.person }}")],
        "'ask' is an approval and has no outputs",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_refuses_a_gate_that_could_not_ask_for_exactly_what_runs(case: str) -> None:
    """People approve resolved actions, so these must be known when they are asked."""
    tasks, words = WRONG[case]
    with pytest.raises(InvalidContract) as refused:
        made(*tasks)
    assert words in refused.value.message
