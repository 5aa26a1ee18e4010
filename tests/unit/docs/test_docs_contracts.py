"""What docs/contracts.md says compiles, compiles; what it says is refused, is."""

import re
from enum import StrEnum
from pathlib import Path

import pytest
from pydantic import BaseModel

from connectors.registry import known_operations
from goalkeeper import yamlfile
from goalkeeper.domain.base import Json
from goalkeeper.domain.builtin import WAITS, ChildGoal
from goalkeeper.domain.compiler import compile_contract
from goalkeeper.domain.contract import Contract, LockSpec, TaskSpec
from goalkeeper.domain.errors import InvalidContract
from goalkeeper.domain.inputs import InputSpec
from goalkeeper.domain.plan import OnFailure, Plan, RetryPolicy, RunRule, WhileWaiting

PAGE = (Path(__file__).parents[3] / "docs" / "contracts.md").read_text()
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
GOOD = [b for b in BLOCKS if not b.startswith("# error: ")]
BAD = [b for b in BLOCKS if b.startswith("# error: ")]
_INPUTS: dict[str, Json] = {
    "repository": "https://git.example/shop.git",
    "branch": "feature",
    "commit": "a" * 40,
}


def _compile(text: str) -> Plan:
    located = yamlfile.read(text, "contract.yaml")
    contract = located.validate(Contract)
    inputs = {k: v for k, v in _INPUTS.items() if k in contract.inputs}
    return compile_contract(contract, inputs, known_operations(), located=located)


def test_the_page_has_examples_of_both_kinds() -> None:
    """Otherwise the tests below would pass on an empty page."""
    assert len(GOOD) >= 2
    assert len(BAD) >= 5


@pytest.mark.parametrize("text", GOOD, ids=lambda t: t.split()[1])
def test_an_example_compiles(text: str) -> None:
    """Into a plan of the name it says."""
    assert _compile(text).contract == text.split()[1]


@pytest.mark.parametrize("text", BAD, ids=lambda t: t.splitlines()[0][9:50])
def test_a_mistake_is_refused_with_the_words_of_the_page(text: str) -> None:
    """At a line and column."""
    words = text.splitlines()[0].removeprefix("# error: ")
    with pytest.raises(InvalidContract, match=r"contract\.yaml:\d+:\d+: ") as refused:
        _compile(text)
    assert words in refused.value.message


def test_every_operation_is_in_the_table_with_its_risk_and_compensation() -> None:
    """And the table has no other."""
    rows = re.findall(r"^\| `([a-z]+\.[a-z_]+)` \| (\w+) \| (?:`([a-z_.]+)`)? *\|", PAGE, re.M)
    told = {name: (risk, undo or None) for name, risk, undo in rows}
    real = {
        o.name: (o.risk.value, o.compensation.operation if o.compensation else None)
        for o in known_operations().values()
    }
    assert told == real


@pytest.mark.parametrize(
    "model",
    [
        Contract,
        InputSpec,
        TaskSpec,
        LockSpec,
        RetryPolicy,
        ChildGoal,
        *(w.inputs for w in WAITS.values()),
    ],
    ids=lambda m: m.__name__,
)
def test_every_key_is_explained(model: type[BaseModel]) -> None:
    """By the name that is written in the file."""
    explained = set(re.findall(r"`([a-z_]+)`", PAGE))
    keys = {field.alias or name for name, field in model.model_fields.items()}
    assert keys <= explained


@pytest.mark.parametrize("words", [RunRule, OnFailure, WhileWaiting], ids=lambda w: w.__name__)
def test_every_word_is_explained(words: type[StrEnum]) -> None:
    """Those that a key takes."""
    for word in words:
        assert f"`{word}`" in PAGE or f": {word}`" in PAGE
