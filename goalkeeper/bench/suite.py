"""Which benchmarks there are, and running them one after the other.

It may not run two at a time: they would measure each other.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from goalkeeper.bench import containers, crowds, goals, histories, sizes
from goalkeeper.bench.measure import Progress, Row
from goalkeeper.bench.stand import Stand, open_stand
from goalkeeper.domain.errors import InvalidSettings
from goalkeeper.settings import Settings

ROUNDS = 5
Benchmark = Callable[[Stand, int, Progress], Awaitable[Row]]
"""Takes the stand and how many rounds."""

USUAL: Mapping[str, Benchmark] = {
    "chain": goals.chain,
    "chain_read": goals.chain_read,
    "chain_stock": goals.chain_stock,
    "fan_out": goals.fan_out,
    "sandbox": containers.sandbox,
    "decision": goals.decision,
    "history": histories.history,
    "replay": histories.replay,
}
"""Run unless others are asked for: some minutes together."""
LONG = ("storm", "size")
"""Run when they are asked for: some minutes each."""
BENCHMARKS = (*USUAL, *LONG, "waiting")
"""The last one is among the usual ones too, with a smaller crowd."""


async def run(
    settings: Settings,
    *,
    rounds: int = ROUNDS,
    only: Sequence[str] = (),
    waiting: int | None = None,
    storm: int = crowds.STORM,
    progress: Progress = lambda _: None,
) -> dict[str, Row]:
    """Measure on servers of its own.

    Args:
        settings: of the installation, which is not touched.
        rounds: interleaved pairs of the long benchmarks; the short ones take a multiple.
        only: the benchmarks wanted; the usual ones when empty.
        waiting: how many goals wait for approval at once; None: 10,000 where that is asked for,
            1,000 among the usual ones.
        storm: how many goals arrive at once.
        progress: gets a line for every step.

    Returns:
        Benchmark → ``ours``, ``bare``, ``ratio``, ``unit``, ``rounds``, ``limit``, ``within`` and
        what else it found; or ``skipped``, with the reason.

    Raises:
        InvalidSettings: there is no such benchmark.
        ServiceUnavailable: a server or worker does not start.
    """
    unknown = [name for name in only if name not in BENCHMARKS]
    if unknown:
        raise InvalidSettings(
            f"there is no benchmark '{unknown[0]}'; there are {', '.join(BENCHMARKS)}"
        )
    wanted = [name for name in BENCHMARKS if name in (only or (*USUAL, "waiting"))]
    crowd = waiting or (crowds.WAITING if only else crowds.FEW_WAITING)
    async with open_stand(settings, progress) as stand:
        doing: Mapping[str, Callable[[], Awaitable[Row]]] = {
            **{name: partial(do, stand, rounds, progress) for name, do in USUAL.items()},
            "storm": partial(crowds.storm, stand, storm, progress),
            "size": partial(sizes.size, stand, sizes.SIZES, progress),
            "waiting": partial(crowds.waiting, stand, crowd, progress),
        }
        return {name: await doing[name]() for name in wanted}
