from typing import Any

import pytest

from goalkeeper.domain.compiler import resolve
from goalkeeper.domain.errors import InvalidContract, InvalidGoal
from goalkeeper.domain.plan import MOST_ITEMS, ForEach, Plan
from tests.unit.compiler.making import gate, made, note, task

NAMES = {"names": {"type": "array", "default": []}, "word": {"default": "w"}}


def over(items: Any, name: str = "each_one", *needs: str, **inputs: Any) -> dict[str, Any]:
    """A note for each item."""
    return note(name, *needs, **inputs) | {"for_each": items}


def test_a_list_over_inputs_is_known_when_the_plan_is_made() -> None:
    """So people see how much will run."""
    plan = made(
        over("${{ inputs.names }}", text="${{ each.item }}"),
        goal={"names": ["x", "y"]},
        inputs=NAMES,
    )
    assert task(plan, "each_one").for_each == ForEach(items=("x", "y"))
    assert task(plan, "each_one").bindings == {"/text": "each.item"}


def test_a_list_that_is_written_out_may_hold_inputs() -> None:
    """At any depth; null and numbers stay what they are."""
    plan = made(
        over([1, None, {"k": ["${{ inputs.word }}!"]}], anything="${{ each.item }}"), inputs=NAMES
    )
    found = task(plan, "each_one").for_each
    assert found is not None
    assert found.items == (1, None, {"k": ["w!"]})


def test_a_list_of_an_earlier_task_is_a_need() -> None:
    """It is known once that has run."""
    plan = made(
        note("look"),
        over("${{ tasks.look.many[*].image }}", text="${{ each.item }}") | {"width": 3},
    )
    found = task(plan, "each_one")
    assert found.for_each == ForEach(expression="tasks.look.many[*].image", width=3)
    assert found.needs == ("look",)


def test_an_item_and_its_index_stand_in_inputs() -> None:
    """As soon as the interpreter knows them."""
    plan = made(
        over(["a"], number="${{ each.index }}", text="${{ each.index }}: ${{ each.item.name }}")
    )
    scope = {"each": {"item": {"name": "x"}, "index": 4}}
    inputs = resolve(task(plan, "each_one"), scope)
    assert inputs["number"] == 4
    assert inputs["text"] == "4: x"


def test_the_outputs_are_a_list() -> None:
    """Of which later tasks take all of a field, or one item's."""
    plan = made(
        over([1, 2]),
        note(
            "sum",
            anything="${{ tasks.each_one[*].number }}",
            number="${{ tasks.each_one[0].number }}",
        ),
        note("whole", anything="${{ tasks.each_one }}"),
        note("some", anything="${{ tasks.each_one[?number > `1`].text }}"),
        note("part", anything="${{ tasks.each_one[0:2].text }}"),
    )  # fmt: skip
    assert task(plan, "sum").needs == ("each_one",)
    scope = {"tasks": {"each_one": [{"number": 1}, {"number": 2}]}}
    inputs = resolve(task(plan, "sum"), scope)
    assert inputs["anything"] == [1, 2]
    assert inputs["number"] == 1


def test_a_list_may_be_made_of_a_list() -> None:
    """One task for each answer of another."""
    plan = made(
        over([1, 2]), over("${{ tasks.each_one[*].text }}", "next", text="${{ each.item }}")
    )
    assert task(plan, "next").needs == ("each_one",)


def test_a_gate_covers_all_items_when_their_list_is_known_before_it() -> None:
    """One request shows each of them."""
    plan = made(
        note("look"),
        gate("ask", "each_one", needs=["look"]),
        over("${{ tasks.look.many }}", anything="${{ each.item }}"),
    )
    assert task(plan, "each_one").needs == ("look", "ask")


def test_an_empty_list_is_a_list() -> None:
    """Nothing runs, and that is a success."""
    found = task(made(over("${{ inputs.names }}"), inputs=NAMES), "each_one").for_each
    assert found == ForEach(items=())


WRONG = {
    "a field of the list": (
        [over([1]), note("b", text="${{ tasks.each_one.text }}")],
        "is a list; write tasks.each_one[*].text for all of it, tasks.each_one[0].text for one",
    ),
    "a field that the items have not": (
        [over([1]), note("b", anything="${{ tasks.each_one[*].txt }}")],
        "'tasks.each_one[*]' (note.take, for each item) has no field 'txt'; did you mean 'text'?",
    ),
    "a list of something that is none": (
        [note("a"), note("b", anything="${{ tasks.a[*].text }}")],
        "'tasks.a' (note.take) is no list",
    ),
    "a list where one value stands": (
        [over([1]), note("b", number="${{ tasks.each_one[*].number }}")],
        "'number' of note.take takes integer, and this is array",
    ),
    "a list that is no list": (
        [note("a"), over("${{ tasks.a.text }}")],
        "`for_each` takes a list, and this is string",
    ),
    "a list that is the word": ([over("names")], "write `${{ names }}`"),
    "a list that is text": (
        [over("x${{ inputs.word }}")],
        "put all of it between `${{` and `}}`",
    ),
    "an output in a list that is written out": (
        [note("a"), over(["${{ tasks.a.text }}"])],
        "so it may use inputs and not 'tasks.a.text'",
    ),
    "an item of the list that it is in": (
        [note("a"), over("${{ each.item }}")],
        "an item is known only once the list is",
    ),
    "an item in a condition": (
        [over([1]) | {"when": "${{ each.item }}"}],
        "to leave items out, filter the list",
    ),
    "another word after each": (
        [over([1], text="${{ each.value }}")],
        "there is no 'each.value'; write each.item or each.index",
    ),
    "an index where text stands": (
        [over([1], text="${{ each.index }}")],
        "'text' of note.take takes string, and this is integer",
    ),
    "a width without a list": (
        [note("a") | {"width": 3}],
        "`width` says how many items of a `for_each` run at a time",
    ),
    "too many constants": ([over(list(range(MOST_ITEMS + 1)))], "takes at most 1000 items"),
    "a list that is not known when people are asked": (
        [
            note("look"),
            gate("ask", "each_one"),
            over("${{ tasks.look.many }}", anything="${{ each.item }}"),
        ],
        "'each_one' is approved at 'ask', so its list must be known then, and 'look' need not",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_refuses_a_list_that_could_not_work(case: str) -> None:
    """The message says what to write instead."""
    tasks, words = WRONG[case]
    with pytest.raises(InvalidContract) as refused:
        made(*tasks, inputs=NAMES)
    assert words in refused.value.message


def listed(value: Any) -> Plan:
    """A plan over an input of any type."""
    inputs = {"list": {"type": "array" if isinstance(value, list) else "string"}}
    return made(over("${{ inputs.list }}"), goal={"list": value}, inputs=inputs)


def test_a_goal_that_gives_no_list_is_told_which_input() -> None:
    """The contract is right then."""
    with pytest.raises(InvalidGoal, match="input 'list': `for_each` takes a list"):
        listed("x")


def test_a_goal_that_gives_too_long_a_list_is_told_which_input() -> None:
    """A thousand are taken."""
    found = task(listed(list(range(MOST_ITEMS))), "each_one").for_each
    assert found is not None
    assert found.items is not None
    assert len(found.items) == MOST_ITEMS
    with pytest.raises(InvalidGoal, match=r"input 'list': .* at most 1000 items, not 1001"):
        listed(list(range(MOST_ITEMS + 1)))
