"""How two sides are compared: interleaved pairs, medians, and the report of one benchmark.

It knows nothing of what is measured.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Literal, TypeAlias

from goalkeeper.domain.base import Json

Sample: TypeAlias = Callable[[], Awaitable[float]]
"""Carries one side out once and answers what it took."""
Progress: TypeAlias = Callable[[str], None]
Row: TypeAlias = dict[str, Json]
"""One benchmark's part of the report."""


@dataclass(frozen=True)
class Pair:
    """One round: both sides, right after one another."""

    ours: float
    bare: float


@dataclass(frozen=True)
class Limit:
    """What a benchmark is meant to stay within."""

    of: Literal["ours", "ratio"]
    value: float
    at_least: bool = False

    def holds(self, row: Row) -> bool:
        """Whether the report of one benchmark is within."""
        found = float(str(row[self.of]))
        return found >= self.value if self.at_least else found <= self.value

    def __str__(self) -> str:
        return f"{self.of} {'≥' if self.at_least else '≤'} {self.value:g}"


async def interleaved(
    name: str, ours: Sample, bare: Sample, rounds: int, progress: Progress
) -> list[Pair]:
    """Measure both sides in turns, so that whatever else the machine does meets both.

    The side that goes first alternates, and a round before the first one warms up caches and
    connections and is left out.
    """
    pairs: list[Pair] = []
    for number in range(rounds + 1):
        if number % 2:
            mine, other = await ours(), await bare()
        else:
            other, mine = await bare(), await ours()
        if number == 0:
            continue
        pairs.append(Pair(mine, other))
        progress(f"{name}: round {number} of {rounds}: {mine:.4g} against {other:.4g}")
    return pairs


def report(pairs: Sequence[Pair], *, unit: str, limit: Limit) -> Row:
    """Medians of both sides and their ratio, with each round's ratio to see the spread."""
    ours, bare = median(p.ours for p in pairs), median(p.bare for p in pairs)
    row: Row = {
        "ours": _rounded(ours),
        "bare": _rounded(bare),
        "ratio": _rounded(ours / bare),
        "unit": unit,
        "rounds": len(pairs),
        "limit": str(limit),
        "pair_ratios": [_rounded(p.ours / p.bare) for p in pairs],
    }
    return {**row, "within": limit.holds(row)}


def percentiles(values: Sequence[float]) -> Row:
    """The median and the 95th percentile; of a single value, itself."""
    if len(values) < 2:
        return {"p50": _rounded(values[0]), "p95": _rounded(values[0])}
    cuts = quantiles(values, n=20, method="inclusive")
    return {"p50": _rounded(median(values)), "p95": _rounded(cuts[-1])}


def _rounded(value: float) -> float:
    return round(value, 3)
