"""Which process dies when: a plan that follows from the seed alone, and the record of doing it.

It kills and does not look back: starting again is the supervisor's part, and under test.
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

VICTIMS: Mapping[str, int] = {"worker": 3, "temporal": 2, "vault": 2, "gateway": 2, "engine": 2}
"""Process → how often it is chosen, in proportion."""
_SHORTEST, _LONGEST = 0.2, 3.0
_BACK = 60.0
_LOOK_EVERY = 0.05


@dataclass(frozen=True)
class Kill:
    """One kill: how long after the one before, and whom."""

    after: float
    victim: str


def planned(seed: int, kills: int, victims: Mapping[str, int] = VICTIMS) -> list[Kill]:
    """The same seed gives the same kills, with the same pauses between them."""
    rng = Random(f"kills {seed}")  # noqa: S311 - not a secret
    names, weights = list(victims), list(victims.values())
    return [
        Kill(round(rng.uniform(_SHORTEST, _LONGEST), 3), rng.choices(names, weights)[0])
        for _ in range(kills)
    ]


@dataclass
class TimeLine:
    """What happened when, in memory and in a file that is there whatever happens."""

    file: Path
    began: float = field(default_factory=time.monotonic)
    lines: list[str] = field(default_factory=list)

    def note(self, what: str) -> None:
        """Write a line with the seconds since the beginning."""
        line = f"{time.monotonic() - self.began:8.2f} s  {what}"
        self.lines.append(line)
        with self.file.open("a") as file:
            file.write(line + "\n")


async def kill_all(
    plan: list[Kill],
    find: Mapping[str, Callable[[], int | None]],
    under_way: Callable[[], Awaitable[object]],
    line: TimeLine,
) -> None:
    """Carry the plan out.

    Args:
        plan: of `planned`.
        find: the process id of each victim, if it has one at the moment. One that is just being
            started again is waited for: the seed says who dies.
        under_way: returns once some goal is: a kill while nothing happens proves nothing.
        line: where each kill is noted.

    Raises:
        AssertionError: a process that was killed does not come back.
    """
    for number, kill in enumerate(plan, start=1):
        await under_way()
        await asyncio.sleep(kill.after)
        pid = await _alive(kill.victim, find[kill.victim])
        os.kill(pid, signal.SIGKILL)
        line.note(f"kill {number} of {len(plan)}: {kill.victim} (process {pid})")


async def _alive(victim: str, find: Callable[[], int | None]) -> int:
    deadline = time.monotonic() + _BACK
    while time.monotonic() < deadline:
        pid = find()
        if pid is not None and _runs(pid):
            return pid
        await asyncio.sleep(_LOOK_EVERY)
    raise AssertionError(f"{victim} did not come back within {_BACK:g} s")


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state != "Z"
