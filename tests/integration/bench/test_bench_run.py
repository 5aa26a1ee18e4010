"""A short run of the benchmarks on real servers."""

import os
from pathlib import Path
from typing import Any

from goalkeeper.bench import run
from goalkeeper.settings import load_settings


async def test_a_run_measures_both_sides_and_skips_what_it_cannot(tmp_path: Path) -> None:
    """A decision is timed on both sides; without an engine the sandbox says so in one line."""
    settings = load_settings(tmp_path, environ={}, docker_host=f"unix://{tmp_path}/none.sock")
    said: list[str] = []
    found: dict[str, Any] = await run(
        settings, rounds=1, only=["decision", "sandbox"], progress=said.append
    )
    assert list(found) == ["sandbox", "decision"]
    assert list(found["sandbox"]) == ["skipped"]
    assert "none.sock" in found["sandbox"]["skipped"]
    assert "\n" not in found["sandbox"]["skipped"]
    row = found["decision"]
    assert row["ours"] > 0
    assert row["bare"] > 0
    assert row["rounds"] == 6
    assert row["p95"] >= row["p50"] > 0
    assert sum(line.startswith("decision: round") for line in said) == 6
    assert os.listdir(tmp_path) == []
