"""The tables of docs/operations.md against the code."""

import re
from pathlib import Path

from prometheus_client import REGISTRY

import hitl.metrics
from goalkeeper import telemetry
from goalkeeper.settings import Settings

PAGE = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
_TOLD_IN_WORDS = {
    "contracts",
    "git_hosts",
    "identities",
    "policy",
    "pools",
    "sandbox_concurrency",
    "state",
}
_OF_THE_GATEWAY = {m for m in vars(hitl.metrics) if m.isupper()}


def _rows() -> dict[str, str]:
    table = PAGE.partition("| name | default | meaning |")[2].partition("\n\n")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", table, re.MULTILINE))


def test_every_setting_is_in_the_table_and_no_other() -> None:
    """By the name that the file takes."""
    assert set(_rows()) == set(Settings.model_fields)


def test_the_defaults_of_the_table_are_those_of_the_code() -> None:
    """Where they are values and not words."""
    for name, field in Settings.model_fields.items():
        if name in _TOLD_IN_WORDS:
            continue
        default = field.default
        shown = "none" if default is None else f"`{str(default).lower()}`"
        assert _rows()[name].lower() == shown, name


def test_every_metric_is_in_the_table_and_no_other() -> None:
    """By the name that Prometheus sees."""
    assert telemetry.TASKS is not None
    assert _OF_THE_GATEWAY
    told = set(re.findall(r"^\| `(goalkeeper_\w+)", PAGE, re.MULTILINE))
    real = {
        m.name + ("_total" if m.type == "counter" else "")
        for m in REGISTRY.collect()
        if m.name.startswith("goalkeeper_")
    }
    assert told == real
