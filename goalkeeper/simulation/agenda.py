"""The clock of a simulation, and what is to happen when.

It jumps from one entry to the next and never waits.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import TypeAlias

Action: TypeAlias = Callable[[], None]


@dataclass(order=True)
class Entry:
    """Something that will happen; `drop` takes it off again."""

    at: datetime
    late: bool
    """Of entries at the same instant, those that are not late come first."""
    number: int
    action: Action = field(compare=False)
    dropped: bool = field(default=False, compare=False)

    def drop(self) -> None:
        """It will not happen."""
        self.dropped = True


class Agenda:
    """Entries in the order of time, and of entering where the time is the same."""

    def __init__(self, start: datetime) -> None:
        self.now = start
        self._entries: list[Entry] = []
        self._numbers = count()

    def after(self, delay: timedelta, action: Action, *, late: bool = True) -> Entry:
        """Let something happen once `delay` has gone by."""
        entry = Entry(self.now + max(delay, timedelta()), late, next(self._numbers), action)
        heapq.heappush(self._entries, entry)
        return entry

    def pop(self, *, at: datetime | None = None) -> Entry | None:
        """The next entry, with the clock moved to it; with `at`, only one of that instant."""
        while self._entries and self._entries[0].dropped:
            heapq.heappop(self._entries)
        if not self._entries or (at is not None and self._entries[0].at != at):
            return None
        entry = heapq.heappop(self._entries)
        self.now = entry.at
        return entry
