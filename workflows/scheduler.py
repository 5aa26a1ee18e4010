"""The scheduler: which task of the DAG runs next.

One ready heap, one counter of unfinished needs a task, one wake flag for the whole goal: a
`wait_condition` for each node costs half as much again at 5,000 nodes. It knows nothing of what a
task does.
"""

import asyncio
import heapq
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from temporalio import workflow

from goalkeeper.domain.goal import Skip
from goalkeeper.domain.plan import BUILT_IN, PlanTask, RunRule, TaskState
from workflows.state import BAD, HANDLERS, GoalRecord


class Scheduler:
    """Starts the tasks of one phase as their needs end, at most `window` at a time."""

    def __init__(
        self,
        record: GoalRecord,
        *,
        tasks: Iterable[PlanTask],
        window: int,
        run: Callable[[str], Awaitable[None]],
        halted: Callable[[], bool],
        stopping: Callable[[], bool],
    ) -> None:
        """Look at where each task stands.

        Args:
            record: the goal.
            tasks: those of this phase, in plan order.
            window: how many run at a time; who waits for people or time does not count.
            run: brings one task to an end, or to its expansion; raises nothing.
            halted: nothing at all may start now.
            stopping: the goal is over: only tasks that handle failures start.
        """
        self._record = record
        self._window = window
        self._run = run
        self._halted = halted
        self._stopping = stopping
        self._tasks = {t.id: t for t in tasks}
        self._index = {t.id: i for i, t in enumerate(record.plan.tasks)}
        self._dependents = self._find_dependents()
        self._missing: dict[str, int] = {}
        self._ready: list[tuple[int, int, int, str]] = []
        self._held_back: list[tuple[int, int, int, str]] = []
        """What is ready and does not start while the goal stops."""
        self._queued: set[str] = set()
        self._waiting: dict[str, list[str]] = {}
        """Task with a list → its instances that have no place yet, the first last."""
        self._left: dict[str, int] = {}
        """Task with a list → how many of its instances have not ended."""
        self.running: dict[str, asyncio.Future[None]] = {}
        self._busy: Counter[str] = Counter()
        """Task with a list → how many of its instances run."""
        self.parked: dict[str, None] = {}
        """Those of `running` that wait for people, time, a lock or another goal."""
        self._broken: BaseException | None = None
        self.paused = False
        self._awake = False
        for ident in list(self._tasks):
            self._count(ident)
        for ident in self._tasks:
            if self._is_expanded(ident):
                self._expanded(ident)

    def _find_dependents(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for task in self._tasks.values():
            for need in task.needs:
                found.setdefault(need, []).append(task.id)
        return found

    def _count(self, task_id: str) -> None:
        missing = sum(1 for n in self._tasks[task_id].needs if not self._over(n))
        self._missing[task_id] = missing
        if missing == 0 and self._startable(task_id):
            self._push(task_id)

    def _over(self, need: str) -> bool:
        # Tasks of an earlier phase have ended, or never will.
        return need not in self._tasks or self._record.settled(need)

    def _startable(self, task_id: str) -> bool:
        """Whether a task may start, or goes on waiting as it did before it was carried over."""
        state = self._record.state(task_id)
        if state in (TaskState.PENDING, TaskState.AWAITING_APPROVAL):
            return True
        if state is TaskState.UNKNOWN:
            return self._record.questioned(task_id)
        operation = self._record.by_id[task_id].operation
        return (
            state is TaskState.RUNNING
            and operation in BUILT_IN
            and task_id not in self._record.items
        )

    def _push(self, task_id: str) -> None:
        if task_id in self._queued:
            return
        self._queued.add(task_id)
        parent, _, item = task_id.partition(".")
        priority = self._record.by_id[task_id].priority
        place = (priority, self._index[parent], int(item) if item else -1, task_id)
        heapq.heappush(self._ready, place)

    # What others tell it.

    def wake(self) -> None:
        """Something changed: look again."""
        self._awake = True

    def again(self, task_ids: Iterable[str]) -> None:
        """These tasks are pending again: whatever waits for them waits anew."""
        for ident in task_ids:
            self._renew(ident)
        self.wake()

    def _renew(self, task_id: str) -> None:
        parent = self._record.parent_of(task_id)
        if parent is not None:
            self._left[parent] = self._left.get(parent, 0) + 1
            if self._record.settled(parent):
                self._record.set(parent, TaskState.RUNNING, failure=None, ended_at=None)
                self._renew_dependents(parent)
            self._push(task_id)
            return
        self._count(task_id)
        self._renew_dependents(task_id)

    def _renew_dependents(self, task_id: str) -> None:
        for dependent in self._dependents.get(task_id, ()):
            status = self._record.tasks[dependent]
            if status.skipped in (Skip.UPSTREAM, Skip.STOPPED):
                self._record.set(dependent, TaskState.PENDING, skipped=None, ended_at=None)
                self._count(dependent)
                self._renew_dependents(dependent)
            elif status.state is TaskState.PENDING:
                self._count(dependent)

    def _expanded(self, task_id: str) -> None:
        """A task has its instances now: start the first of them."""
        unsettled = [i for i in self._record.instances(task_id) if not self._record.settled(i)]
        self._left[task_id] = len(unsettled)
        self._waiting[task_id] = unsettled[::-1]
        for_each = self._tasks[task_id].for_each
        for _ in range(for_each.width if for_each else 0):
            self._next_instance(task_id)
        if not unsettled:
            self._gather(task_id)

    def _is_expanded(self, task_id: str) -> bool:
        """Whether a task is under way as its items; while it is asked about, it is not yet."""
        running = self._record.state(task_id) is TaskState.RUNNING
        return running and task_id in self._record.items

    def _next_instance(self, task_id: str) -> None:
        waiting = self._waiting.get(task_id)
        while waiting:
            # One that has been cancelled or skipped meanwhile must not take a turn with it.
            if self._startable(ident := waiting.pop()):
                self._push(ident)
                return

    def reconsider(self, task_id: str) -> None:
        """A task that had ended counts otherwise now: look again at what needs it."""
        self._renew_dependents(task_id)
        self.wake()

    def settle(self, task_id: str) -> None:
        """A task has ended: whatever needs it may come next."""
        parent = self._record.parent_of(task_id)
        if parent is not None:
            if parent not in self._left:
                # Not begun yet: it looks at its instances when it does.
                return
            self._left[parent] -= 1
            self._next_instance(parent)
            if self._left[parent] == 0:
                self._gather(parent)
            return
        for dependent in self._dependents.get(task_id, ()):
            self._missing[dependent] -= 1
            if self._missing[dependent] == 0 and self._startable(dependent):
                self._push(dependent)

    def _gather(self, task_id: str) -> None:
        """All instances of a task have ended: so has the task."""
        self._sum_up(task_id)
        self.settle(task_id)

    def _sum_up(self, task_id: str) -> None:
        """A task's state and outputs follow from its instances'."""
        record = self._record
        statuses = [record.tasks[i] for i in record.instances(task_id)]
        failed = [s for s in statuses if s.state in BAD or s.skipped is Skip.STOPPED]
        stopper = next((s for s in failed if record.stops(s.id)), None)
        if stopper is not None:
            record.set(task_id, TaskState.FAILED, failure=stopper.failure)
        elif any(s.skipped is Skip.STOPPED for s in failed):
            record.skip(task_id, Skip.STOPPED)
        else:
            outputs = [s.outputs if s.state is TaskState.SUCCEEDED else None for s in statuses]
            record.set(task_id, TaskState.SUCCEEDED, outputs=outputs)

    def gather_again(self, task_id: str) -> None:
        """A task whose items have all ended counts anew, since one of them counts otherwise."""
        if self._record.settled(task_id) and not self._left.get(task_id):
            self._sum_up(task_id)
            self.reconsider(task_id)

    # Running.

    async def drain(self) -> None:
        """Run until nothing runs and nothing more may start."""
        while True:
            self._awake = False
            if self._broken is not None:
                # A defect of ours: the workflow task fails and is tried again until it is mended.
                raise self._broken
            self._start_ready()
            if not self.running and not self._held() and not self._sweep():
                return
            await workflow.wait_condition(lambda: self._awake)

    def _held(self) -> bool:
        """A paused goal waits for `resume`: with tasks to start, or with one to retry."""
        return self.paused and not self._halted() and (bool(self._ready) or self._record.bad)

    def _sweep(self) -> bool:
        """The goal stops and nothing runs: pass over what never starts, for what handles failures.

        Returns:
            Whether anything has come up for that.
        """
        if self._halted() or not self._stopping():
            return False
        passed = False
        for ident, task in self._tasks.items():
            if task.run in HANDLERS and not self._record.settled(ident):
                passed = passed or self._pass_over_needs(task)
        self._awake = passed
        return passed

    def handlers_left(self) -> bool:
        """Whether a task that handles failures has yet to end."""
        return any(
            t.run in HANDLERS and not self._record.settled(t.id) for t in self._tasks.values()
        )

    def _pass_over_needs(self, task: PlanTask) -> bool:
        passed = False
        for need in task.needs:
            if need in self._tasks and not self._record.settled(need):
                passed = self._pass_over(need) or passed
        return passed

    def _pass_over(self, task_id: str) -> bool:
        task = self._tasks[task_id]
        if task.run in HANDLERS:
            return self._pass_over_needs(task)
        for instance in self._record.instances(task_id):
            if not self._record.settled(instance):
                self._record.skip(instance, Skip.STOPPED)
        if self._record.instances(task_id):
            self._left[task_id] = 0
            self._gather(task_id)
        else:
            self._record.skip(task_id, Skip.STOPPED)
            self.settle(task_id)
        return True

    def _hold_back(self) -> None:
        """While the goal stops, only what handles failures stays among the ready."""
        if self._stopping():
            self._held_back += [p for p in self._ready if not self._handles(p[-1])]
            self._ready = [p for p in self._ready if self._handles(p[-1])]
        elif self._held_back:
            self._ready += self._held_back
            self._held_back.clear()
        else:
            return
        heapq.heapify(self._ready)

    def _start_ready(self) -> None:
        self._hold_back()
        if self.paused or self._halted():
            return
        while self._ready and len(self.running) - len(self.parked) < self._window:
            ident = heapq.heappop(self._ready)[-1]
            self._queued.discard(ident)
            if ident in self.running or not self._startable(ident) or self._missing.get(ident):
                continue
            if self._full(ident):
                continue
            self._judge(ident)
            if self._stopping():
                self._hold_back()

    def _full(self, task_id: str) -> bool:
        """Whether as many items run as may; this one's turn comes when one of them has ended.

        Usually only so many are pushed, but a retry or a cancellation pushes further ones.
        """
        parent = self._record.parent_of(task_id)
        for_each = self._tasks[parent].for_each if parent is not None else None
        if parent is None or for_each is None or self._busy[parent] < for_each.width:
            return False
        self._waiting.setdefault(parent, []).append(task_id)
        return True

    def _occupy(self, task_id: str, change: int) -> None:
        parent, dot, _ = task_id.partition(".")
        if dot:
            self._busy[parent] += change

    def _handles(self, task_id: str) -> bool:
        return self._record.by_id[task_id].run in HANDLERS

    def _judge(self, task_id: str) -> None:
        if self._record.parent_of(task_id) is None and not self._rule_met(self._tasks[task_id]):
            self._record.skip(task_id, Skip.UPSTREAM)
            self.settle(task_id)
            return
        task = asyncio.ensure_future(self._run(task_id))
        task.add_done_callback(partial(self._finished, task_id))
        self.running[task_id] = task
        self._occupy(task_id, 1)

    def _rule_met(self, task: PlanTask) -> bool:
        if not task.needs or self._record.state(task.id) is not TaskState.PENDING:
            return True
        if task.run is RunRule.ANY_FAILED:
            return any(self._record.state(n) in BAD for n in task.needs)
        if task.run is RunRule.ALL_DONE or task.always:
            return True
        return all(self._record.fulfilled(n) for n in task.needs)

    def _finished(self, task_id: str, task: "asyncio.Future[None]") -> None:
        self.running.pop(task_id, None)
        self._occupy(task_id, -1)
        self.parked.pop(task_id, None)
        if task.cancelled():
            # Cancelled before its first step, so that it could not say so itself.
            self._record.set(task_id, TaskState.CANCELLED)
        elif task.exception() is not None:
            self._broken = task.exception()
        if self._record.settled(task_id):
            self.settle(task_id)
        elif self._is_expanded(task_id) and task_id not in self._left:
            self._expanded(task_id)
        elif self._record.state(task_id) is TaskState.PENDING:
            # It is to run again, from its beginning.
            self._count(task_id) if task_id in self._tasks else self._push(task_id)
        self.wake()
