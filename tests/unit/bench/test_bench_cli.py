"""`goalkeeper bench` on the command line: which benchmarks it asks for, and what it prints."""

import json
from pathlib import Path
from typing import Any

import pytest

from goalkeeper import bench
from goalkeeper.bench.measure import Row
from goalkeeper.cli.app import run

ROW: Row = {
    "ours": 12.5,
    "bare": 10,
    "ratio": 1.25,
    "unit": "ms a step",
    "limit": "ratio ≤ 1.3",
    "within": True,
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `bench.run` was called with; nothing is measured."""
    seen: dict[str, Any] = {}

    async def fake(_: Any, **arguments: Any) -> dict[str, Row]:
        seen.update(arguments)
        arguments["progress"]("measuring")
        return {"chain": ROW, "sandbox": {"skipped": "there is no engine"}}

    monkeypatch.setattr(bench, "run", fake)
    return seen


def test_the_report_stands_alone_on_standard_output(
    asked: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Progress goes to standard error, so that a script can read the rest."""
    assert run(["--state", str(tmp_path), "--json", "bench", "chain"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["chain"] == ROW
    assert "measuring" in err
    assert asked["only"] == ("chain",)


def test_the_long_ones_are_run_when_all_are_asked_for(
    asked: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise the usual ones are, which `run` takes nothing named for."""
    assert run(["--state", str(tmp_path), "bench", "--waiting", "50"]) == 0
    assert (asked["only"], asked["waiting"]) == ((), 50)
    table = capsys.readouterr().out
    assert "1.25" in table
    assert "there is no engine" in table
    assert run(["--state", str(tmp_path), "bench", "--all", "--rounds", "2"]) == 0
    assert (asked["only"], asked["rounds"]) == (bench.BENCHMARKS, 2)
