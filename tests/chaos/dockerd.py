"""A Docker Engine of the suite's own, which may be killed without anybody else noticing.

It has no network of its own making: no bridge, no rules of a firewall. Only root can start one.
"""

import asyncio
import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

import psutil

from goalkeeper.embedded.process import Process
from tests.chaos.killer import TimeLine

_READY = 60
_GONE = 10


class Dockerd:
    """One engine on a folder; its containers die with it, its images do not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # A socket's path has 107 characters at most, and a test's own folder most of them.
        self._run = Path(tempfile.mkdtemp(prefix="chaos-"))
        self.host = f"unix://{self._run}/docker.sock"
        self.process = Process("dockerd", folder / "dockerd.log")
        self.restarts = -1

    @staticmethod
    def possible() -> bool:
        """Whether this user can start one here."""
        return os.geteuid() == 0 and shutil.which("dockerd") is not None

    async def start(self) -> None:
        """Start it, also after it was killed, and return once it answers.

        Raises:
            AssertionError: it ended again, or does not answer in time.
        """
        await asyncio.to_thread(self._forget_dead)
        await self.process.spawn(
            (
                *("dockerd", "--host", self.host, "--data-root", f"{self.folder}/data"),
                *("--exec-root", f"{self._run}/exec", "--pidfile", f"{self._run}/pid"),
                *("--bridge=none", "--iptables=false", "--ip6tables=false"),
            )
        )
        self.restarts += 1
        deadline = time.monotonic() + _READY
        while not await self._docker("version"):
            if self.process.pid is None or time.monotonic() > deadline:
                raise AssertionError(f"dockerd does not start:\n{self.process.tail(20)}")
            await asyncio.sleep(0.1)

    async def keep(self, line: TimeLine) -> None:
        """Start it again whenever it ends, until cancelled."""
        while True:
            await self.process.wait()
            try:
                await self.start()
            except AssertionError as error:
                # On a busy machine its containerd may be too slow for it; it is killed at random
                # while it starts, too.
                line.note(str(error).replace("\n", " | ")[-500:])
                await self.process.stop()

    async def load(self, image: str, source: str) -> None:
        """Copy an image from another engine."""
        archive = self.folder / "image.tar"
        assert await self._docker("save", "--output", str(archive), image, host=source)
        assert await self._docker("load", "--input", str(archive))
        archive.unlink()

    async def stop(self) -> None:
        """Stop it, its containers, and what a killed one has left running."""
        await self.process.stop()
        for left in self._left():
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
        # What a killed engine had mounted for its containers.
        for mount in reversed([*_mounts(self.folder), *_mounts(self._run)]):
            await _run("umount", "--lazy", mount)
        shutil.rmtree(self._run, ignore_errors=True)

    def _left(self) -> list[psutil.Process]:
        """Processes that were started for this very folder: containerd, and shims."""
        mine = f"{self._run}/exec"
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if any(mine in part for part in process.cmdline()):
                    found.append(process)
        return found

    def _forget_dead(self) -> None:
        """Else the next one takes the process ids of the dead for somebody's who still runs."""
        containerd = self._run / "exec" / "containerd" / "containerd.pid"
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            left = psutil.Process(int(containerd.read_text()))
            if str(self._run) in " ".join(left.cmdline()):
                left.kill()
                left.wait(_GONE)
        containerd.unlink(missing_ok=True)
        (self._run / "pid").unlink(missing_ok=True)

    async def _docker(self, *arguments: str, host: str | None = None) -> bool:
        return await _run("docker", "--host", host or self.host, *arguments)


async def _run(*command: str) -> bool:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    return await process.wait() == 0


def _mounts(folder: Path) -> list[str]:
    """Mount points below a folder, the outermost first."""
    points = (line.split()[1] for line in Path("/proc/mounts").read_text().splitlines())
    return sorted(point for point in points if point.startswith(f"{folder}/"))


__all__ = ["Dockerd"]
