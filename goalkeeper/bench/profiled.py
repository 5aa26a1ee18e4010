"""A Goalkeeper command under Python's profiler, in every thread: `python -m …profiled FILE ARGS…`.

For whoever makes it faster; no part of the product. The clock is each thread's CPU time, so that
waiting costs nothing; what the SDK's core does outside of Python is not seen by it.
"""

import cProfile
import importlib
import marshal
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

Function: TypeAlias = tuple[str, int, str]
Spent: TypeAlias = tuple[int, float, float]
"""Calls, seconds in the function itself, seconds with all that it calls."""


class Profilers:
    """One profiler for each thread that was started since."""

    def __init__(self) -> None:
        self._made: list[cProfile.Profile] = []
        self._before: dict[Function, Spent] = {}
        self._cpu = 0.0

    def begin(self) -> None:
        """Profile this thread, and each one that starts later."""
        threading.setprofile(self._begin_in)
        self._enable()

    def restart(self, *_: object) -> None:
        """What was spent up to now does not count: a start and a first goal are no work."""
        self._before, self._cpu = self._spent(), time.process_time()

    def write(self, file: Path) -> None:
        """What all threads together have spent since, and the process's CPU time."""
        cpu = time.process_time() - self._cpu
        spent = self._spent()
        for function, (calls, own, whole) in self._before.items():
            now = spent.get(function, (0, 0.0, 0.0))
            spent[function] = (now[0] - calls, now[1] - own, now[2] - whole)
        written = file.with_suffix(".new")
        written.write_bytes(marshal.dumps({"cpu": cpu, "spent": spent}))
        os.replace(written, file)

    def _begin_in(self, _frame: FrameType, _event: str, _argument: Any) -> None:
        # The thread's first call ends up here; from now on the profiler sees the others.
        self._enable()

    def _enable(self) -> None:
        profiler = cProfile.Profile(timer=time.thread_time)
        self._made.append(profiler)
        profiler.enable()

    def _spent(self) -> dict[Function, Spent]:
        found: dict[Function, Spent] = {}
        for profiler in self._made:
            # Unlike `create_stats` it leaves the profiler running.
            profiler.snapshot_stats()
            for function, (_, calls, own, whole, _) in profiler.stats.items():
                before = found.get(function, (0, 0.0, 0.0))
                found[function] = (before[0] + calls, before[1] + own, before[2] + whole)
        return found


def main(arguments: Sequence[str]) -> None:
    """Run the command; SIGUSR1 begins to count, SIGUSR2 writes what was counted."""
    file, *command = arguments
    # Before the clock starts: what a worker imports is not what is asked about.
    importlib.import_module("goalkeeper.worker")
    profilers = Profilers()
    signal.signal(signal.SIGUSR1, profilers.restart)
    signal.signal(signal.SIGUSR2, lambda *_: profilers.write(Path(file)))
    profilers.begin()
    sys.argv = ["goalkeeper", *command]
    runpy.run_module("goalkeeper", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
