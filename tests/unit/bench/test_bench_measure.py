"""Comparing two sides: order, medians, limits."""

import itertools
from collections.abc import Awaitable, Callable

import pytest

from goalkeeper.bench.measure import Limit, Pair, interleaved, judged, percentiles, report


def side(
    name: str, ran: list[str], values: "itertools.count[int]"
) -> Callable[[], Awaitable[float]]:
    """A side that notes when it ran and takes one longer each time."""

    async def run() -> float:
        ran.append(name)
        return float(next(values))

    return run


async def test_the_sides_take_turns_and_each_goes_first_as_often_as_the_other() -> None:
    """Neither side always meets what the other has left behind."""
    ran: list[str] = []
    counts = itertools.count(), itertools.count(100)
    await interleaved("x", side("ours", ran, counts[0]), side("bare", ran, counts[1]), 4, print)
    measured = [tuple(ran[i : i + 2]) for i in range(2, len(ran), 2)]
    assert measured == [("ours", "bare"), ("bare", "ours")] * 2


async def test_the_warm_up_round_is_left_out() -> None:
    """What only the first run pays for is nobody's speed."""
    said: list[str] = []
    ours, bare = side("ours", [], itertools.count()), side("bare", [], itertools.count(100))
    pairs = await interleaved("x", ours, bare, 2, said.append)
    assert pairs == [Pair(1, 101), Pair(2, 102)]
    assert len(said) == 2


def test_a_report_has_the_medians_and_their_ratio() -> None:
    """One slow round moves neither side."""
    pairs = [Pair(3, 2), Pair(300, 2), Pair(2, 2), Pair(3, 200), Pair(3, 2)]
    row = report(pairs, unit="ms")
    assert (row["ours"], row["bare"], row["ratio"]) == (3, 2, 1.5)
    assert (row["unit"], row["rounds"]) == ("ms", 5)
    assert row["pair_ratios"] == [1.5, 150, 1, 0.015, 1.5]


@pytest.mark.parametrize(
    ("limit", "within", "text"),
    [
        (Limit("ratio", 1.5), True, "ratio ≤ 1.5"),
        (Limit("ratio", 1.4), False, "ratio ≤ 1.4"),
        (Limit("ratio", 1.5, at_least=True), True, "ratio ≥ 1.5"),
        (Limit("ratio", 1.6, at_least=True), False, "ratio ≥ 1.6"),
        (Limit("ours", 3), True, "ours ≤ 3"),
        (Limit("ours", 2.9), False, "ours ≤ 2.9"),
    ],
)
def test_a_report_says_what_is_aimed_at_and_whether_it_was_met(
    limit: Limit, within: bool, text: str
) -> None:
    """Meeting a limit exactly is meeting it; a rate has a lower limit."""
    row = judged(report([Pair(3, 2)], unit="ms"), limit)
    assert (row["within"], row["limit"]) == (within, text)


def test_several_limits_are_all_to_be_met() -> None:
    """One of them missed is the row missed, and each is named."""
    row = judged({"p50": 30.0, "p95": 90.0}, Limit("p50", 40), Limit("p95", 80))
    assert (row["within"], row["limit"]) == (False, "p50 ≤ 40, p95 ≤ 80")
    assert judged({"p50": 30.0, "p95": 80.0}, Limit("p50", 40), Limit("p95", 80))["within"]


def test_percentiles_are_of_the_measured_values() -> None:
    """The 95th of a hundred lies near the top, and a single value is its own."""
    assert percentiles([float(n) for n in range(1, 101)]) == {"p50": 50.5, "p95": 95.05}
    assert percentiles([7.0]) == {"p50": 7.0, "p95": 7.0}
