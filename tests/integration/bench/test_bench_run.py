"""A short run of the benchmarks on real servers."""

import os
from pathlib import Path
from typing import Any

import pytest

from goalkeeper.bench import crowds, histories, run, sizes
from goalkeeper.settings import load_settings


async def test_a_run_measures_both_sides_and_skips_what_it_cannot(tmp_path: Path) -> None:
    """A decision is timed on both sides; without an engine the sandbox says so in one line."""
    settings = load_settings(tmp_path, environ={}, docker_host=f"unix://{tmp_path}/none.sock")
    said: list[str] = []
    found: dict[str, Any] = await run(
        settings, rounds=1, only=["decision", "sandbox", "chain_read"], progress=said.append
    )
    assert list(found) == ["chain_read", "sandbox", "decision"]
    assert list(found["sandbox"]) == ["skipped"]
    assert "none.sock" in found["sandbox"]["skipped"]
    assert "\n" not in found["sandbox"]["skipped"]
    for row in (found["decision"], found["chain_read"]):
        assert row["ours"] > 0
        assert row["bare"] > 0
    assert found["decision"]["rounds"] == 6
    assert found["decision"]["p95"] >= found["decision"]["p50"] > 0
    assert sum(line.startswith("decision: round") for line in said) == 6
    assert os.listdir(tmp_path) == []


@pytest.mark.timeout(900)
async def test_the_benchmarks_of_many_goals_and_of_histories_measure_what_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made small: every goal waits, every decision counts, every history replays."""
    monkeypatch.setattr(crowds, "_DECIDED", 5)
    monkeypatch.setattr(sizes, "SIZES", (3, 12))
    monkeypatch.setattr(histories, "REPLAYED", 30)
    monkeypatch.setattr(histories, "FAN_OUT", 20)
    monkeypatch.setattr(histories, "CHAIN", 5)
    found: dict[str, Any] = await run(
        load_settings(tmp_path, environ={}),
        rounds=1,
        only=["history", "replay", "storm", "size", "waiting"],
        waiting=8,
        storm=12,
    )
    assert found["waiting"]["goals"] == found["waiting"]["rounds"] == 8
    assert found["waiting"]["ours"] > 50
    assert found["storm"]["goals"] == 12
    assert found["storm"]["rounds"] >= 1
    assert list(found["size"]["sizes"]) == ["3", "12"]
    assert found["replay"]["ours"] > 0
    assert found["replay"]["bare"] > 0
    for shape in ("chain", "fan_out"):
        assert found["history"][shape]["runs"] == 1
        assert found["history"][shape]["bytes"]["ours"] > found["history"][shape]["bytes"]["bare"]
