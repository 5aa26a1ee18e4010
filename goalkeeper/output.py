"""Live output: the file that one task's attempts print into, and readers that follow it.

It never shortens a file, since others are reading it, and it does not redact.
"""

import asyncio
import errno
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from goalkeeper.domain.errors import StoreUnavailable
from goalkeeper.domain.evidence import Evidence

OUTPUT_LIMIT = 10 * 1024 * 1024
"""Bytes that are kept of one attempt's output."""
RESTARTED = "--- another attempt; its output from the start: ---\n"

_CHUNK = 1024 * 1024


@dataclass(frozen=True)
class OutputLine:
    """One line of a task's output, without its line break."""

    task_id: str
    text: str


class Keep(Protocol):
    """Stores content as evidence, as `EvidenceStore.put` does."""

    async def __call__(self, content: bytes, *, name: str) -> Evidence:
        """Store it."""
        ...


class OutputStream:
    """What one attempt prints. `write` may be called from any thread.

    An attempt that repeats what an earlier one left in the file (an adopted container, whose
    output is read from its start) adds nothing until it says something new.

    Attributes:
        dropped: bytes that were counted and not kept.
    """

    def __init__(self, file: Path, *, limit: int, keep: Keep) -> None:
        self._file = file
        self._limit = limit
        self._store = keep
        self._lock = threading.Lock()
        self._kept = 0
        self._failure: OSError | None = None
        self.dropped = 0
        try:
            make_private(file.parent)
            flags = os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
            self._stream = os.fdopen(os.open(file, flags, 0o600), "r+b", buffering=0)
            earlier = self._stream.readall() or b""
        except OSError as error:
            raise unavailable(file, error) from None
        start = earlier.rfind(RESTARTED.encode())
        self._earlier = earlier[start + len(RESTARTED) :] if start >= 0 else earlier
        """What the attempt before left and this one may be repeating; empty once it is not."""
        self._repeated = 0

    def write(self, text: str) -> None:
        """Add output: a line, a part of one or several. Followers see it at once.

        It never raises, since output must not fail what makes it: `close` does.
        """
        content = text.encode(errors="replace")
        with self._lock:
            room = self._limit - self._kept
            if self.dropped == 0 and len(content) <= room:
                self._put(content)
                return
            if self.dropped == 0:
                # Cut between characters, not inside one.
                part = content[:room].decode(errors="ignore").encode()
                note = f"\n--- output is limited to {self._limit} bytes: the rest is not kept ---\n"
                self._put(part + note.encode())
                content = content[len(part) :]
            self.dropped += len(content)

    async def close(self) -> Evidence:
        """End the output and store it as evidence.

        Raises:
            StoreUnavailable: some of it could not be written.
        """
        with self._lock:
            self._stream.close()
        if self._failure is not None:
            raise unavailable(self._file, self._failure)
        try:
            content = await asyncio.to_thread(self._file.read_bytes)
        except OSError as error:
            raise unavailable(self._file, error) from None
        return await self._store(content, name="output.log")

    def _put(self, content: bytes) -> None:
        self._kept += len(content)
        if self._earlier:
            content = self._news(content)
        try:
            while content:
                # Unbuffered: a line that is seen late is worth little, and the call is cheap.
                content = content[self._stream.write(content) or 0 :]
        except (OSError, ValueError) as error:
            # ValueError: closed. Kept for `close`, and counted.
            self._failure = error if isinstance(error, OSError) else self._failure
            self.dropped += len(content)

    def _news(self, content: bytes) -> bytes:
        """What has to be written so that the file holds this attempt's output."""
        left = len(self._earlier) - self._repeated
        if self._earlier.startswith(content[:left], self._repeated):
            self._repeated += min(left, len(content))
            if len(content) > left:
                self._earlier = b""
            return content[left:]
        gap = b"" if self._earlier.endswith(b"\n") else b"\n"
        again = gap + RESTARTED.encode() + self._earlier[: self._repeated] + content
        self._earlier = b""
        return again


class Tail:
    """Reads a live file as it grows."""

    def __init__(self, file: Path, task_id: str) -> None:
        self._stream = file.open("rb", buffering=0)
        self._task_id = task_id
        self._partial = b""

    def lines(self) -> Iterator[OutputLine]:
        """The whole lines that have come since the last call."""
        while chunk := self._stream.read(_CHUNK):
            *whole, self._partial = (self._partial + chunk).split(b"\n")
            for line in whole:
                yield self._line(line)

    def rest(self) -> Iterator[OutputLine]:
        """The last line, where no line break ends it."""
        if self._partial:
            line, self._partial = self._partial, b""
            yield self._line(line)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _line(self, line: bytes) -> OutputLine:
        return OutputLine(self._task_id, line.decode(errors="replace"))


def make_private(folder: Path) -> None:
    """Make a folder for its owner alone, and those above it: `mkdir` gives its mode to one only."""
    if not folder.is_dir():
        make_private(folder.parent)
        folder.mkdir(exist_ok=True, mode=0o700)


def unavailable(path: Path, error: OSError) -> StoreUnavailable:
    """What a file error means and what to do about it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what = "the disk is full. Free some space; what waits on it goes on by itself"
    else:
        what = f"{error.strerror}. Check the folder's owner and permissions"
    return StoreUnavailable(f"evidence in '{path}' could not be written or read: {what}.")
