"""Which benchmarks there are, and running them one after the other.

It may not run two at a time: they would measure each other.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from goalkeeper.bench import containers, goals
from goalkeeper.bench.measure import Progress, Row
from goalkeeper.bench.stand import Stand, open_stand
from goalkeeper.domain.errors import InvalidSettings
from goalkeeper.settings import Settings

BENCHMARKS: Mapping[str, Callable[[Stand, int, Progress], Awaitable[Row]]] = {
    "chain": goals.chain,
    "fan_out": goals.fan_out,
    "sandbox": containers.sandbox,
    "decision": goals.decision,
}
ROUNDS = 5


async def run(
    settings: Settings,
    *,
    rounds: int = ROUNDS,
    only: Sequence[str] = (),
    progress: Progress = lambda _: None,
) -> dict[str, Row]:
    """Measure on servers of its own, which takes one or two minutes.

    Args:
        settings: of the installation, which is not touched.
        rounds: interleaved pairs of the long benchmarks; the short ones take a multiple.
        only: the benchmarks wanted; all of them when empty.
        progress: gets a line for every step.

    Returns:
        Benchmark → ``ours``, ``bare``, ``ratio``, ``unit``, ``rounds``, ``limit``, ``within`` and
        ``pair_ratios``; or ``skipped``, with the reason.

    Raises:
        InvalidSettings: there is no such benchmark.
        ServiceUnavailable: a server or worker does not start.
    """
    unknown = [name for name in only if name not in BENCHMARKS]
    if unknown:
        raise InvalidSettings(
            f"there is no benchmark '{unknown[0]}'; there are {', '.join(BENCHMARKS)}"
        )
    async with open_stand(settings, progress) as stand:
        return {
            name: await measure(stand, rounds, progress)
            for name, measure in BENCHMARKS.items()
            if not only or name in only
        }
