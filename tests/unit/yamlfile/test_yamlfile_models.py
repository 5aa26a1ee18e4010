import pytest

from goalkeeper.domain.contract import Contract
from goalkeeper.domain.errors import InvalidContract, InvalidSettings
from goalkeeper.yamlfile import read

HEAD = "name: demo\ntasks:\n  - id: one\n    uses: note.take\n"

WRONG = {
    "a misspelt key": (HEAD + "    need: [x]\n", "f.yaml:5:5", "did you mean 'needs'?"),
    "a misspelt key of an input": (
        HEAD + "inputs:\n  a: {typ: string}\n",
        "f.yaml:6:7",
        "did you mean 'type'?",
    ),
    "a key that resembles nothing": (HEAD + "xyzzy: 1\n", "f.yaml:5:1", "known keys: description"),
    "a missing key": ("name: demo\ntasks:\n  - id: one\n", "f.yaml:3:5", "add `uses: …`"),
    "a number for text": (HEAD + "description: 1.0\n", "f.yaml:5:14", "put it in quotes"),
    "text for a number": (HEAD + "    priority: high\n", "f.yaml:5:15", "must be a whole number"),
    "a number out of bounds": (
        HEAD + "    priority: 9\n",
        "f.yaml:5:15",
        "less than or equal to 5",
    ),
    "text for a list": (HEAD + "    needs: x\n", "f.yaml:5:12", "must be a list"),
    "text for a mapping": (HEAD + "    with: x\n", "f.yaml:5:11", "must be a mapping"),
    "an unknown choice": (
        HEAD + "inputs:\n  a: {type: strng}\n",
        "f.yaml:6:13",
        "did you mean 'string'?",
    ),
    "an unquoted version": ("version: 1\n" + HEAD, "f.yaml:1:10", 'write "1", in quotes'),
    "a duration in no known form": (HEAD + "    timeout: 10m\n", "f.yaml:5:14", "PT10M"),
    "an id with a capital": (
        "name: demo\ntasks:\n  - {id: One, uses: x}\n",
        "f.yaml:3:10",
        "lower-case",
    ),
    "a bad key of a mapping": (HEAD + "inputs:\n  A-b: {}\n", "f.yaml:6:3", "lower-case"),
    "a pattern that does not parse": (
        HEAD + "inputs:\n  a: {pattern: '('}\n",
        "f.yaml:6:6",
        "not a regular expression",
    ),
    "a default against its own pattern": (
        HEAD + "inputs:\n  a: {pattern: '[a-z]+', default: A}\n",
        "f.yaml:6:6",
        "must match [a-z]+",
    ),
    "a minimum on text": (HEAD + "inputs:\n  a: {minimum: 1}\n", "f.yaml:6:6", "are for numbers"),
    "a list as the whole": ("- a\n", "f.yaml:1:1", "must be a mapping"),
}


@pytest.mark.parametrize("case", WRONG)
def test_points_at_what_is_wrong_and_says_what_to_write(case: str) -> None:
    """Each mistake is told at its line and column, with the remedy."""
    text, place, words = WRONG[case]
    with pytest.raises(InvalidContract) as refused:
        read(text, "f.yaml").validate(Contract)
    assert refused.value.message.startswith(place + ":")
    assert words in refused.value.message


def test_tells_every_problem_at_once() -> None:
    """Nobody has to fix a file one error at a time."""
    text = HEAD + "    need: []\n    priority: high\ndescribtion: x\n"
    with pytest.raises(InvalidContract) as refused:
        read(text, "f.yaml").validate(Contract)
    assert [f"f.yaml:{i}:" in refused.value.message for i in (5, 6, 7)] == [True] * 3


def test_tells_at_most_ten_problems() -> None:
    """A file full of errors gives a bounded message that says there is more."""
    text = "name: demo\ntasks:\n" + "  - {id: X, uses: y}\n" * 30
    with pytest.raises(InvalidContract) as refused:
        read(text, "f.yaml").validate(Contract)
    assert refused.value.message.count("f.yaml:") == 10
    assert refused.value.message.endswith("there are more problems; fix these first")


def test_shows_no_value_of_a_file_with_secrets() -> None:
    """With `quotes` off, neither the line nor the value is in the message."""
    located = read(HEAD + "    priority: hunter2\n", "f.yaml", InvalidSettings, quotes=False)
    with pytest.raises(InvalidSettings) as refused:
        located.validate(Contract, InvalidSettings)
    assert "f.yaml:5:15" in refused.value.message
    assert "hunter2" not in refused.value.message


def test_points_at_the_nearest_thing_where_a_path_leads_nowhere() -> None:
    """A path that is not in the text is no error."""
    located = read(HEAD, "f.yaml")
    assert located.where(("tasks", 0, "with", "x")) == (3, 5)
    assert located.where(("tasks", 0, "uses")) == (4, 11)
    assert located.where(("tasks", 0, "uses"), key=True) == (4, 5)
    assert located.where(()) == (1, 1)


def test_a_contract_survives_the_way_through_json() -> None:
    """`with` is spelled the same on both ends: a contract travels inside a goal's input."""
    contract = read(HEAD + "    with: {text: a}\n", "f.yaml").validate(Contract)
    assert Contract.model_validate_json(contract.model_dump_json()) == contract
