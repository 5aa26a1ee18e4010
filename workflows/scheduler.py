"""The scheduler: which task of the DAG runs next.

One ready heap, one counter of unfinished needs a task, one wake flag for the whole goal: a
`wait_condition` for each node costs half as much again at 5,000 nodes. It knows nothing of what a
task does.
"""

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from functools import partial

from temporalio import workflow

from goalkeeper.domain.plan import Plan, TaskState
from workflows.state import GoalRecord

_STARTABLE = (TaskState.PENDING, TaskState.AWAITING_APPROVAL)
"""A task that was carried over while it waited for people goes on waiting."""


class Scheduler:
    """Starts tasks as their needs succeed, at most `window` at a time."""

    def __init__(
        self,
        record: GoalRecord,
        *,
        window: int,
        run: Callable[[str], Awaitable[None]],
        stopping: Callable[[], bool],
    ) -> None:
        self._record = record
        self._window = window
        self._run = run
        self._stopping = stopping
        self._index = {t.id: i for i, t in enumerate(record.plan.tasks)}
        self._dependents = _dependents(record.plan)
        self._missing: dict[str, int] = {}
        self._ready: list[tuple[int, int, str]] = []
        self.running: dict[str, asyncio.Future[None]] = {}
        self._broken: BaseException | None = None
        self.paused = False
        self._awake = False
        for task in record.plan.tasks:
            self._count(task.id)

    def _count(self, task_id: str) -> None:
        task = self._record.by_id[task_id]
        missing = sum(1 for n in task.needs if self._record.state(n) is not TaskState.SUCCEEDED)
        self._missing[task_id] = missing
        if missing == 0 and self._record.state(task_id) in _STARTABLE:
            heapq.heappush(self._ready, (task.priority, self._index[task_id], task_id))

    def wake(self) -> None:
        """Something changed: look again."""
        self._awake = True

    def offer(self, task_id: str) -> None:
        """Put a task that was retried or carried over back among the ready."""
        self._count(task_id)
        self.wake()

    async def drain(self) -> None:
        """Run until nothing runs and nothing more may start."""
        while True:
            self._awake = False
            if self._broken is not None:
                # A defect of ours: the workflow task fails and is tried again until it is mended.
                raise self._broken
            self._start_ready()
            if not self.running and not self._held():
                return
            await workflow.wait_condition(lambda: self._awake)

    def _held(self) -> bool:
        """A paused goal waits for `resume`: with tasks to start, or with one to retry."""
        return self.paused and not self._stopping() and (bool(self._ready) or self._record.bad)

    def _start_ready(self) -> None:
        if self.paused or self._stopping():
            return
        while self._ready and len(self.running) < self._window:
            _, _, task_id = heapq.heappop(self._ready)
            if task_id in self.running or self._record.state(task_id) not in _STARTABLE:
                continue
            task = asyncio.ensure_future(self._run(task_id))
            task.add_done_callback(partial(self._finished, task_id))
            self.running[task_id] = task

    def _finished(self, task_id: str, task: "asyncio.Future[None]") -> None:
        self.running.pop(task_id, None)
        if task.cancelled():
            # Cancelled before its first step, so that it could not say so itself.
            self._record.set(task_id, TaskState.CANCELLED)
        elif task.exception() is not None:
            self._broken = task.exception()
        elif self._record.state(task_id) is TaskState.SUCCEEDED:
            self._release_dependents(task_id)
        self.wake()

    def _release_dependents(self, task_id: str) -> None:
        for dependent in self._dependents.get(task_id, ()):
            self._missing[dependent] -= 1
            if self._missing[dependent] == 0:
                task = self._record.by_id[dependent]
                heapq.heappush(self._ready, (task.priority, self._index[dependent], dependent))


def _dependents(plan: Plan) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for task in plan.tasks:
        for need in task.needs:
            found.setdefault(need, []).append(task.id)
    return found
