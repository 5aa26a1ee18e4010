"""What a container prints: cut into lines, bounded, with its end kept.

It is fed by the thread that reads and hands lines to the event loop; it knows nothing of Docker.
"""

import asyncio
from collections.abc import Callable

LINE_BYTES = 8192
"""A longer line is passed on in parts."""
TAIL_BYTES = 2048


class Output:
    """The output of one container.

    Args:
        log: takes each line, on the event loop.
        limit: bytes after which lines are no longer passed on; the tail is kept to the end.
    """

    def __init__(self, log: Callable[[str], None], limit: int) -> None:
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._left = limit
        self._limit = limit
        self._partial = b""
        self._tail = b""
        self.truncated = False

    def feed(self, chunk: bytes) -> None:
        """Take what was read; called from one thread at a time."""
        self._tail = (self._tail + chunk)[-TAIL_BYTES:]
        if self.truncated:
            return
        lines = (self._partial + chunk).split(b"\n")
        self._partial = lines.pop()
        for line in lines:
            self._pass_on(line)
        if len(self._partial) >= LINE_BYTES:
            self._pass_on(self._partial)
            self._partial = b""

    def finish(self) -> None:
        """Pass on a last line that no newline ended."""
        if self._partial and not self.truncated:
            self._pass_on(self._partial)
        self._partial = b""

    @property
    def tail(self) -> str:
        """The last of the output, from a whole line on where there is one."""
        text = self._tail.decode(errors="replace")
        if len(self._tail) < TAIL_BYTES:
            return text
        return text.partition("\n")[2] or text

    def _pass_on(self, line: bytes) -> None:
        for start in range(0, len(line) or 1, LINE_BYTES):
            part = line[start : start + LINE_BYTES]
            self._left -= len(part) + 1
            if self._left < 0:
                if not self.truncated:
                    self.truncated = True
                    self._say(f"[no more than {self._limit} bytes of output are kept]")
                return
            self._say(part.decode(errors="replace"))

    def _say(self, line: str) -> None:
        self._loop.call_soon_threadsafe(self._log, line)
