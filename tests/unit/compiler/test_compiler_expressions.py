import pytest
from hypothesis import given
from hypothesis import strategies as st

from goalkeeper.domain.base import Json
from goalkeeper.domain.errors import InvalidContract, InvalidGoal
from goalkeeper.domain.expressions import evaluate, parse_template

TASKS: dict[str, Json] = {"tasks": {"a": {"n": 3, "s": "text", "l": [{"k": "x"}, {"k": "y"}]}}}


def value(template: str, **inputs: Json) -> Json:
    """What a template comes to, whether now or later."""
    bound = parse_template(template).bind(inputs)
    return bound.value if bound.expression is None else evaluate(bound.expression, TASKS)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("plain", "plain"),
        ("${{ inputs.n }}", 7),
        ("n=${{ inputs.n }}", "n=7"),
        ("${{ inputs.n }}${{ inputs.s }}", "7it's"),
        ("${{ tasks.a.n }}", 3),
        ("${{tasks.a.n}} of ${{ inputs.n }}", "3 of 7"),
        ("${{ tasks.a.l[?k == 'y'] | [0].k }}", "y"),
        ("${{ tasks.a.l[?k == inputs.k].k }}", ["y"]),
        ("${{ {a: {b: inputs.n}} }}", {"a": {"b": 7}}),
        ("${{ {inputs: tasks.a.n} }}", {"inputs": 3}),
        ("${{ '${{' }}", "${{"),
        ("${{ '}}' }}", "}}"),
        ("${{ join('-', tasks.a.l[*].k) }}", "x-y"),
        ("${{ tasks.a.missing || inputs.n }}", 7),
        ("all: ${{ inputs.flag }} ${{ tasks.a.l[0] }}", 'all: true {"k":"x"}'),
    ],
)
def test_gives_the_value_that_the_words_say(template: str, expected: Json) -> None:
    """A whole-string expression keeps its type; inside text it becomes text."""
    assert value(template, n=7, s="it's", k="y", flag=True) == expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=8,
)


@given(json_values)
def test_an_input_is_never_code(given_value: Json) -> None:
    """Whatever an input holds, quotes and expressions included, comes out as it went in."""
    assert value("${{ inputs.x }}", x=given_value) == given_value
    assert value("${{ [inputs.x, tasks.a.n] }}", x=given_value) == [given_value, 3]


@given(st.text())
def test_text_around_an_expression_stays_literal(text: str) -> None:
    """Text from an input stands unchanged next to what a task answered."""
    assert value("${{ inputs.x }}:${{ tasks.a.s }}", x=text) == f"{text}:text"


@pytest.mark.parametrize(
    "hostile", ["${{ tasks.a.s }}", "`", "\\`", "' || tasks.a.s || '", "\u2028\n${{"]
)
def test_an_input_that_looks_like_an_expression_stays_text(hostile: str) -> None:
    """Nothing that a goal's requester writes is evaluated."""
    assert value("${{ inputs.x }}", x=hostile) == hostile
    assert value("a ${{ inputs.x }} ${{ tasks.a.n }}", x=hostile) == f"a {hostile} 3"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("${{ inputs.a", "never closed"),
        ("${{ }}", "empty"),
        ("${{ repository }}", "did you mean 'inputs.repository'?"),
        ("${{ task.a.n }}", "did you mean 'tasks'?"),
        ("${{ inputs }}", "name one input"),
        ("${{ tasks }}", "tasks.ID.FIELD"),
        ("${{ tasks.*.n }}", "tasks.ID.FIELD"),
        ("${{ tasks[0] }}", "tasks.ID.FIELD"),
        ("${{ @ }}", "begins with"),
        ("${{ [0] }}", "begins with"),
        ("${{ !tasks.a.n }}", "!(tasks.ID.FIELD)"),
        ("${{ tasks.a.n > 5 }}", "is not JMESPath at '5'"),
        ("${{ tasks.a.n == 'x }}", "is not JMESPath"),
        ("${{ lenght(tasks.a.l) }}", "did you mean 'length()'?"),
        ("${{ length(tasks.a.l, tasks.a.l) }}", "takes 1 value(s), not 2"),
        ("${{ " + "(" * 900 + "a" + ")" * 900 + " }}", "is not JMESPath"),
        ("${{ " + "!" * 60 + "tasks.a.n }}", "nested too deeply"),
        ("${{ tasks.a.n || '" + "x" * 5000 + "' }}", "longer than 4000"),
    ],
)
def test_refuses_what_it_cannot_understand(template: str, words: str) -> None:
    """The message says what to write instead."""
    with pytest.raises(InvalidContract) as refused:
        parse_template(template)
    assert words in refused.value.message


def test_null_does_not_become_text() -> None:
    """`deploy to null` is refused, from an input as from a task."""
    with pytest.raises(InvalidGoal, match="null"):
        value("to ${{ inputs.x }}", x=None)
    with pytest.raises(InvalidGoal, match="null"):
        value("to ${{ tasks.a.missing }}")


@pytest.mark.parametrize("expression", ["avg(tasks.a.s)", "abs(tasks.a.missing)", "max(tasks.a.l)"])
def test_a_function_that_cannot_take_its_value_is_an_error_of_ours(expression: str) -> None:
    """The library's own errors do not come through."""
    with pytest.raises(InvalidGoal, match="has no value"):
        evaluate(expression, TASKS)


@pytest.mark.parametrize(
    "path",
    ["tasks.a", "tasks.a.b.c", "states.a", "each.item", "each.item.x", "goal.failure.code",
     "states.a.b", "each.x", "goal.name", "tasks.tasks.inputs"],
)  # fmt: skip
def test_a_plain_path_means_the_same_with_and_without_parentheses(path: str) -> None:
    """The short way past the parser ends where the long one does."""

    def told(text: str) -> object:
        try:
            return parse_template(text).references
        except InvalidContract as error:
            return error.message

    assert told(f"${{{{ {path} }}}}") == told(f"${{{{ ({path}) }}}}")


def test_steps_are_told_as_far_as_they_are_plain() -> None:
    """A field, a position, or every element of a list."""
    found = {
        text: next(iter(parse_template(f"${{{{ {text} }}}}").references))
        for text in ("tasks.a[*].b[0]", "tasks.a[0:2].b", "tasks.a.b[?c].d", "tasks.a.b | [0]")
    }
    assert [(r.path, r.whole) for r in found.values()] == [
        ((None, "b", 0), True), ((), False), (("b",), False), (("b",), False),
    ]  # fmt: skip
    assert str(found["tasks.a[*].b[0]"]) == "tasks.a[*].b[0]"


def test_finds_the_tasks_that_are_meant_and_no_others() -> None:
    """Names inside a filter or projection are fields of the items, not tasks."""
    found = parse_template(
        "${{ (tasks.a.l[?tasks.b == k].tasks.c | [0]) || tasks.d.n }}"
    ).references
    assert [r.task for r in found] == ["a", "d"]
    mapped = parse_template("${{ map(&tasks.q.r, tasks.a.l) }}").references
    assert [r.task for r in mapped] == ["a"]
    nested = parse_template(
        "${{ {x: [tasks.a.n, length(tasks.b.l)], y: !(tasks.c.n)} }}"
    ).references
    assert [r.task for r in nested] == ["a", "b", "c"]
