"""How two sides are compared: interleaved pairs, medians, and the report of one benchmark.

It knows nothing of what is measured.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import TypeAlias

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

    of: str
    """A number of its row: ``ratio``, ``ours``, ``p95``, …"""
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


def report(pairs: Sequence[Pair], *, unit: str) -> Row:
    """Medians of both sides and their ratio, with each round's ratio to see the spread."""
    ours, bare = median(p.ours for p in pairs), median(p.bare for p in pairs)
    return {
        "ours": rounded(ours),
        "bare": rounded(bare),
        "ratio": rounded(ours / bare),
        "unit": unit,
        "rounds": len(pairs),
        "pair_ratios": [rounded(p.ours / p.bare) for p in pairs],
    }


def judged(row: Row, *limits: Limit) -> Row:
    """The row with what is aimed at and whether all of it was met."""
    said = ", ".join(str(limit) for limit in limits)
    return {**row, "limit": said, "within": all(limit.holds(row) for limit in limits)}


def percentiles(values: Sequence[float]) -> Row:
    """The median and the 95th percentile; of a single value, itself."""
    if len(values) < 2:
        return {"p50": rounded(values[0]), "p95": rounded(values[0])}
    cuts = quantiles(values, n=20, method="inclusive")
    return {"p50": rounded(median(values)), "p95": rounded(cuts[-1])}


def rounded(value: float) -> float:
    """As many digits as a measurement is worth."""
    return round(value, 3)
