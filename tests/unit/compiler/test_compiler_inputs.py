import pytest

from goalkeeper.domain.base import Json
from goalkeeper.domain.errors import InvalidContract, InvalidGoal
from tests.unit.compiler.making import made, note, task

INPUTS = {
    "branch": {"description": "What to deploy.", "pattern": "[a-z/]+"},
    "replicas": {"type": "integer", "default": 2, "minimum": 1, "maximum": 9},
    "size": {"enum": ["small", "large"], "default": "small"},
    "share": {"type": "number", "required": False},
    "flag": {"type": "boolean", "default": False},
    "names": {"type": "array", "default": []},
    "labels": {"type": "object", "default": {}},
}


def inputs(**goal: Json) -> dict[str, Json]:
    """The inputs that a goal runs with."""
    return made(note("a"), goal=goal, inputs=INPUTS).inputs


def test_fills_in_the_defaults() -> None:
    """The plan holds every input, given or not."""
    assert inputs(branch="main", replicas=3) == {
        "branch": "main", "replicas": 3, "size": "small", "share": None, "flag": False,
        "names": [], "labels": {},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        ({}, "input 'branch' (text) is missing"),
        ({"branch": None}, "input 'branch' (text) is missing"),
        ({"branch": "Main"}, "input 'branch' must match [a-z/]+, found \"Main\""),
        ({"branch": "main\n"}, "must match"),
        ({"branch": 1}, "must be text, found 1"),
        ({"branch": "a" * 5000}, "at most 4096 characters"),
        ({"branch": "a", "brnch": "b"}, "there is no input 'brnch'; did you mean 'branch'?"),
        ({"branch": "a", "replicas": "2"}, "must be a whole number, found \"2\""),
        ({"branch": "a", "replicas": 2.5}, "must be a whole number"),
        ({"branch": "a", "replicas": True}, "must be a whole number, found true"),
        ({"branch": "a", "replicas": 10}, "must be at most 9, found 10"),
        ({"branch": "a", "replicas": 0}, "must be at least 1, found 0"),
        ({"branch": "a", "size": "smal"}, "did you mean 'small'?"),
        ({"branch": "a", "flag": "yes"}, "must be true or false"),
        ({"branch": "a", "names": "x"}, "must be a list"),
        ({"branch": "a", "labels": []}, "must be a mapping"),
        ({"branch": "a", "share": 2**60}, "no exact form in JSON"),
        ({"branch": "a", "names": ["\ud800"]}, "no exact form in JSON"),
        ({"branch": "a", "names": ["x" * 300_000]}, "at most 262144 are taken"),
    ],
)  # fmt: skip
def test_refuses_wrong_inputs_and_shows_right_ones(goal: dict[str, Json], words: str) -> None:
    """Each message says what is wrong, what the contract takes, and an example."""
    with pytest.raises(InvalidGoal) as refused:
        inputs(**goal)
    assert words in refused.value.message
    assert "branch (text, required): What to deploy." in refused.value.message
    assert 'For example: {"branch": "…"}' in refused.value.message


def test_tells_all_wrong_inputs_at_once() -> None:
    """One attempt is enough to learn them all."""
    with pytest.raises(InvalidGoal) as refused:
        inputs(replicas="x", size="medium")
    assert [w in refused.value.message for w in ("'branch'", "'replicas'", "'size'")] == [True] * 3


def test_a_pattern_cannot_hang_the_worker() -> None:
    """Patterns run in linear time, so this ends."""
    spec = {"x": {"pattern": "(a+)+b"}}
    with pytest.raises(InvalidGoal, match="must match"):
        made(note("a"), goal={"x": "a" * 4000}, inputs=spec)


def test_an_input_that_an_operation_refuses_is_the_goals_mistake() -> None:
    """The message names the input, not the contract's line."""
    spec = {"count": {"type": "string"}}
    with pytest.raises(InvalidGoal, match="input 'count': 'number' must be a whole number"):
        made(note("a", number="${{ inputs.count }}"), goal={"count": "many"}, inputs=spec)


def test_an_input_keeps_its_type_and_is_substituted_before_anything_runs() -> None:
    """Inputs are literal in the plan, wherever they stand."""
    plan = made(
        note(
            "a",
            number="${{ inputs.n }}",
            anything={"list": ["${{ inputs.n }}", "n=${{ inputs.n }}"]},
        ),
        goal={"n": 5},
        inputs={"n": {"type": "integer"}},
    )
    a = task(plan, "a")
    assert (a.inputs["number"], a.inputs["anything"]) == (5, {"list": [5, "n=5"]})
    assert a.bindings == {}


def test_an_optional_input_is_null_alone_and_refused_inside_text() -> None:
    """Nothing becomes the word "null"."""
    spec = {"x": {"required": False}}
    assert task(made(note("a", text="${{ inputs.x }}"), inputs=spec), "a").inputs["text"] is None
    with pytest.raises(InvalidGoal, match="is null"):
        made(note("a", text="to ${{ inputs.x }}"), inputs=spec)


def test_the_environment_follows_from_inputs_alone() -> None:
    """It is part of what policy judges, so it is known before anything runs."""
    spec = {"where": {"default": "staging"}}
    assert made(note("a"), inputs=spec, environment="${{ inputs.where }}").environment == "staging"
    with pytest.raises(InvalidContract, match="may use inputs and not 'tasks"):
        made(note("a"), environment="${{ tasks.a.text }}")
    with pytest.raises(InvalidContract, match="'Not a name' cannot name an environment"):
        made(note("a"), environment="Not a name")
    with pytest.raises(InvalidGoal, match="'Prod!' cannot name an environment"):
        made(note("a"), goal={"where": "Prod!"}, inputs=spec, environment="${{ inputs.where }}")


def test_text_holds_no_nul() -> None:
    """Commands and files end at it, so what was approved would not be what runs."""
    with pytest.raises(InvalidGoal, match="NUL"):
        made(note("a"), goal={"x": "a\0b"}, inputs={"x": {}})
