"""Inputs as they are typed."""

import io
from pathlib import Path

import pytest

from goalkeeper.cli.values import kinds_of, read_inputs, read_pairs
from goalkeeper.domain.base import Json
from goalkeeper.domain.errors import InvalidGoal
from goalkeeper.domain.inputs import InputSpec

SPECS = {
    "text": InputSpec(type="string"),
    "count": InputSpec(type="integer"),
    "share": InputSpec(type="number"),
    "yes": InputSpec(type="boolean"),
    "items": InputSpec(type="array"),
    "labels": InputSpec(type="object"),
}


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("text=1", "1"),
        ("text=a=b", "a=b"),
        ("text=", ""),
        ("text=@home", "@home"),
        ("count=-3", -3),
        ("share=0.5", 0.5),
        ("yes=True", True),
        ("yes=no", False),
        ('items=["a", 1]', ["a", 1]),
        ('labels={"a": 1}', {"a": 1}),
    ],
)
def test_a_value_is_read_by_its_type(pair: str, value: Json) -> None:
    """And stays text where the contract says text."""
    assert read_inputs([pair], None, SPECS) == {pair.split("=")[0]: value}


def test_an_unknown_input_is_left_to_the_compiler() -> None:
    """Which knows what was meant."""
    assert read_inputs(["txt=1"], None, SPECS) == {"txt": "1"}


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        ("text", "key=value"),
        ("=x", "key=value"),
        ("count=two", "'count' must be a whole number"),
        ("yes=maybe", "true or false"),
        ("items=a,b", "JSON array"),
    ],
)
def test_a_pair_that_cannot_be_read_is_refused_with_an_example(pair: str, says: str) -> None:
    """Before anything is sent anywhere."""
    with pytest.raises(InvalidGoal, match=says):
        read_inputs([pair], None, SPECS)


def test_a_pair_beats_the_file(tmp_path: Path) -> None:
    """The file holds what is usual."""
    file = tmp_path / "inputs.yaml"
    file.write_text("text: from file\ncount: 2\n")
    assert read_inputs(["count=3"], str(file), SPECS) == {"text": "from file", "count": 3}


def test_standard_input_is_a_file_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Called ``-``; JSON is fine."""
    monkeypatch.setattr("sys.stdin", io.StringIO('{"text": "piped"}'))
    assert read_inputs([], "-", SPECS) == {"text": "piped"}


@pytest.mark.parametrize(
    ("content", "says"), [("- a\n", "object of inputs"), ("a: [1\n", "line|inputs.yaml:")]
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: str, says: str) -> None:
    """With the place, where there is one."""
    file = tmp_path / "inputs.yaml"
    file.write_text(content)
    with pytest.raises(InvalidGoal, match=says):
        read_inputs([], str(file), SPECS)


def test_a_missing_file_is_named() -> None:
    """And nothing is sent."""
    with pytest.raises(InvalidGoal, match=r"nowhere\.yaml"):
        read_inputs([], "nowhere.yaml", SPECS)


def test_an_operations_schema_gives_the_types() -> None:
    """Where a value may be null too, the other type counts; what may be anything is any."""
    schema = {
        "properties": {
            "count": {"type": "integer"},
            "name": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "both": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            "nested": {"$ref": "#/$defs/Nested"},
            "value": {},
        }
    }
    assert kinds_of(schema) == {
        "count": "integer",
        "name": "string",
        "both": "any",
        "nested": "any",
        "value": "any",
    }


@pytest.mark.parametrize(
    ("text", "value"), [("3", 3), ('{"a": 1}', {"a": 1}), ("null", None), ("plain", "plain")]
)
def test_a_value_of_any_type_is_json_where_it_can_be(text: str, value: Json) -> None:
    """And text otherwise."""
    assert read_pairs([f"x={text}"], {}) == {"x": value}
