import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goalkeeper.domain.base import Json
from goalkeeper.domain.bindings import pointer, replaced
from goalkeeper.domain.compiler import resolve
from goalkeeper.domain.errors import InvalidGoal
from goalkeeper.domain.plan import PlanTask
from tests.unit.compiler.making import made, note, task


def test_puts_outputs_where_the_contract_refers_to_them() -> None:
    """Types are kept, text is built, everything else stays."""
    plan = made(
        note("a"),
        note(
            "b",
            number="${{ tasks.a.number }}",
            text="${{ tasks.a.number }} of ${{ tasks.a.text }}",
            anything={"x/y": ["literal", "${{ tasks.a.many[*].image }}"]},
        ),
    )
    outputs: dict[str, Json] = {"a": {"number": 3, "text": "many", "many": [{"image": "i"}]}}
    assert resolve(task(plan, "b"), {"tasks": outputs}) == {
        "number": 3,
        "text": "3 of many",
        "anything": {"x/y": ["literal", ["i"]]},
        "wait": None,
    }


def test_leaves_the_plan_as_it_is() -> None:
    """Resolving twice with other outputs gives other inputs."""
    plan = made(note("a"), note("b", anything=["${{ tasks.a.number }}"]))
    before = plan.model_copy(deep=True)
    assert resolve(task(plan, "b"), {"tasks": {"a": {"number": 1}}})["anything"] == [1]
    assert resolve(task(plan, "b"), {"tasks": {"a": {"number": 2}}})["anything"] == [2]
    assert plan == before


def test_null_is_refused_where_the_operation_needs_a_value() -> None:
    """The message names the task, the place and the expression."""
    plan = made(note("a"), note("b", number="${{ tasks.a.anything }}"))
    with pytest.raises(InvalidGoal) as refused:
        resolve(task(plan, "b"), {"tasks": {"a": {"anything": None}}})
    assert "task 'b'" in refused.value.message
    assert "/number" in refused.value.message
    assert "`tasks.a.anything`" in refused.value.message


def test_null_stands_where_the_operation_takes_it() -> None:
    """An optional output may fill an optional input."""
    plan = made(note("a"), note("b", text="${{ tasks.a.maybe }}"))
    assert resolve(task(plan, "b"), {"tasks": {"a": {"maybe": None}}})["text"] is None


def test_an_output_never_becomes_code() -> None:
    """What a task answers is data, whatever it looks like."""
    plan = made(note("a"), note("b", text="${{ tasks.a.text }}!"))
    hostile = "${{ tasks.a.number }}`'"
    assert resolve(task(plan, "b"), {"tasks": {"a": {"text": hostile}}})["text"] == hostile + "!"


def test_a_missing_task_is_told_like_null() -> None:
    """A skipped task has no outputs."""
    plan = made(note("a"), note("b", number="${{ tasks.a.number }}"))
    with pytest.raises(InvalidGoal, match="is null"):
        resolve(task(plan, "b"), {"tasks": {}})


def test_an_expression_without_value_names_its_place() -> None:
    """A function that does not take what it is given is told with the task."""
    broken = PlanTask(
        id="b",
        operation="note.take",
        inputs={"number": None},
        bindings={"/number": "length(tasks.a.n)"},
    )
    with pytest.raises(InvalidGoal, match="task 'b', input /number: `length"):
        resolve(broken, {"tasks": {"a": {"n": 1}}})


def test_writes_pointers_as_rfc_6901_does() -> None:
    """Other programs read them too."""
    assert pointer(("a/b~c", 0, "")) == "/a~1b~0c/0/"


keys = st.text(alphabet="ab/~0", min_size=0, max_size=3)
trees = st.recursive(
    st.integers(), lambda c: st.lists(c, min_size=1) | st.dictionaries(keys, c, min_size=1)
)


@given(trees, st.data())
def test_a_pointer_leads_to_its_place_and_nowhere_else(tree: Json, data: st.DataObject) -> None:
    """Keys with slashes and tildes included."""
    path: list[str | int] = []
    expected: Any = copy.deepcopy(tree)
    parent: Any = None
    at = expected
    while isinstance(at, dict | list):
        part = data.draw(st.sampled_from(list(at) if isinstance(at, dict) else range(len(at))))
        path.append(part)
        parent, at = at, at[part]
    if parent is None:
        expected = "new"
    else:
        parent[path[-1]] = "new"
    before = copy.deepcopy(tree)
    assert replaced(tree, {pointer(tuple(path)): "new"}) == expected
    assert tree == before
