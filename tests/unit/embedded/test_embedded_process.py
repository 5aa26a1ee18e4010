import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from goalkeeper.domain.errors import ServiceUnavailable
from goalkeeper.embedded.process import Process, create_time, end, is_alive

Eventually = Callable[[Callable[[], bool]], Awaitable[None]]


async def test_a_process_that_ignores_the_request_to_stop_is_killed(
    tmp_path: Path, eventually: Eventually
) -> None:
    """The grace is waited for, then it is over."""
    process = Process("deaf", tmp_path / "log", grace=0.2)
    await process.spawn(("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"))
    await eventually(lambda: "ready" in process.tail())
    await process.stop()
    assert process.pid is None
    assert process.returncode == -signal.SIGKILL


async def test_a_process_may_end_in_its_own_way_when_asked(
    tmp_path: Path, eventually: Eventually
) -> None:
    """A clean shutdown is not cut short."""
    process = Process("polite", tmp_path / "log")
    script = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    await process.spawn(("sh", "-c", script))
    await eventually(lambda: "ready" in process.tail())
    await process.stop()
    assert process.returncode == 3
    assert process.tail().endswith("bye")


async def test_a_process_dies_with_its_parent_however_that_ends(
    tmp_path: Path, eventually: Eventually
) -> None:
    """Kill -9 of the parent leaves no orphan."""
    code = (
        "import asyncio, sys; from pathlib import Path\n"
        "from goalkeeper.embedded.process import Process\n"
        "async def main():\n"
        "    child = Process('child', Path(sys.argv[1]))\n"
        "    await child.spawn(('sleep', '60'))\n"
        "    print(child.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = Process("parent", tmp_path / "log")
    await parent.spawn((sys.executable, "-c", code, str(tmp_path / "child.log")))
    await eventually(lambda: parent.tail().strip().isdigit())
    child = psutil.Process(int(parent.tail()))
    await parent.kill()
    await asyncio.to_thread(psutil.wait_procs, [child], 10)
    assert not child.is_running()


async def test_the_tail_shows_nothing_of_an_earlier_run(tmp_path: Path) -> None:
    """A message about this start must not quote the last one's error."""
    process = Process("twice", tmp_path / "log")
    for word in ("first", "second"):
        await process.spawn(("echo", word))
        await process.wait()
    assert process.tail() == "second"
    assert (tmp_path / "log").read_text() == "first\nsecond\n"


async def test_a_log_that_has_grown_large_is_set_aside_at_the_next_start(tmp_path: Path) -> None:
    """One older log is kept."""
    log = tmp_path / "log"
    with log.open("wb") as file:
        file.truncate(11 * 1024 * 1024)
    process = Process("chatty", log)
    await process.spawn(("echo", "new"))
    await process.wait()
    assert log.read_text() == "new\n"
    assert (tmp_path / "log.1").stat().st_size == 11 * 1024 * 1024
    assert log.stat().st_mode & 0o777 == 0o600


async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    """One clear message instead of an OSError."""
    with pytest.raises(ServiceUnavailable, match="'/no/such/program'"):
        await Process("ghost", tmp_path / "log").spawn(("/no/such/program",))


def test_only_the_very_process_that_was_recorded_is_ended() -> None:
    """Process ids are used again: another start time is another process."""
    pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
    started = create_time(pid)
    assert started is not None
    assert not end(pid, started - 100)
    assert is_alive(pid, started)
    assert end(pid, started)
    assert not is_alive(pid, started)


def test_a_zombie_is_not_alive() -> None:
    """It has ended; only its exit code waits to be read."""
    pid = os.posix_spawn("/bin/true", ["true"], {})
    started = create_time(pid)
    assert started is not None
    # Returns once it has ended, and leaves it a zombie.
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert not is_alive(pid, started)
    os.waitpid(pid, 0)
