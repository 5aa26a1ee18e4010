"""The reference model: how a goal ends, told as simply as possible and without Temporal.

It reads `cases.Case`, keeps one state a task on a clock of its own, and shares no code with the
interpreter.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

from goalkeeper.domain.approval import Answer
from goalkeeper.domain.plan import OnFailure, RunRule
from tests.unit.workflows.cases import EXPIRES, RETRY_AFTER, UNKNOWN_EXPIRES, Case, TaskCase

_BAD = {"Failed", "Unknown"}
_ENDED = {"Succeeded", "Failed", "Skipped", "Unknown", "Compensated"}
_HANDLERS = {RunRule.ALL_DONE, RunRule.ANY_FAILED}


@dataclass
class Prediction:
    """How a goal ends."""

    states: dict[str, str]
    skips: dict[str, str]
    goal: str
    undone: list[str]
    begun: set[tuple[str, int]]
    """Task and generation."""
    withdrawn: set[str] = field(default_factory=set)
    """Tasks that people were being asked about when the goal stopped."""


def predict(case: Case) -> Prediction:
    """How a goal ends."""
    return _Model(case).run()


class _Model:
    def __init__(self, case: Case) -> None:
        self.case = case
        self.now = timedelta()
        self.state: dict[str, str] = {t.id: "Pending" for t in case.tasks}
        self.skips: dict[str, str] = {}
        self.generation: dict[str, int] = {}
        self.questioned: set[str] = set()
        self.asked: dict[str, int] = {}
        """Whoever is asked about → the number of the question."""
        self.granted: set[str] = set()
        self.effects: list[str] = []
        self.undone: list[str] = []
        self.begun: set[tuple[str, int]] = set()
        self.withdrawn: set[str] = set()
        self.stoppers: list[str] = []
        self.denied: set[str] = set()
        self.waiting: dict[str, list[str]] = {}
        self.always = False
        self._events: list[tuple[timedelta, int, Callable[[], None]]] = []
        self._numbers = count()

    # The whole.

    def run(self) -> Prediction:
        self._drain()
        goal = self._judge()
        goal = self._undo(goal)
        self.always = True
        before = len(self.stoppers)
        self._drain()
        for task in self._phase():
            self._pass_over(task)
        if goal == "Succeeded" and len(self.stoppers) > before:
            goal = "Failed"
        return Prediction(self.state, self.skips, goal, self.undone, self.begun, self.withdrawn)

    def _phase(self) -> list[TaskCase]:
        return [t for t in self.case.tasks if t.always == self.always]

    def _drain(self) -> None:
        while True:
            while self._start_some():
                pass
            if self._events:
                self.now, _, action = heapq.heappop(self._events)
                action()
            elif not self._sweep():
                return

    def _later(self, delay: timedelta, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay, next(self._numbers), action))

    def _judge(self) -> str:
        for task in self._phase():
            self._pass_over(task)
        if not self.stoppers:
            return "Succeeded"
        first = next((t for t in self.stoppers if self.state[t] == "Unknown"), self.stoppers[0])
        return "Denied" if first in self.denied else "Failed"

    def _undo(self, goal: str) -> str:
        rolls = any(self._of(t).on_failure is OnFailure.ROLL_BACK for t in self.stoppers)
        if not rolls or not self.effects or "Unknown" in self.state.values():
            return goal
        goal = "RolledBack"
        for unit in reversed(self.effects):
            if self._of(unit).undo == "fail":
                goal = "Failed"
            else:
                self.undone.append(unit)
                self.state[unit] = "Compensated"
        return goal

    # Starting.

    @property
    def _stopping(self) -> bool:
        return bool(self.stoppers) and not self.always

    def _settled(self, task_id: str) -> bool:
        return self.state[task_id] in _ENDED and task_id not in self.questioned

    def _start_some(self) -> bool:
        for task in self._phase():
            if self.state[task.id] != "Pending" or not all(self._settled(n) for n in task.needs):
                continue
            if self._stopping and task.run not in _HANDLERS:
                continue
            self._start(task)
            return True
        for parent, units in self.waiting.items():
            task = self.case.by_id[parent]
            running = [u for u in self._units(parent) if self._busy(u)]
            held = self._stopping and task.run not in _HANDLERS
            if units and not held and len(running) < task.width:
                self._begin(units.pop(0))
                return True
        return False

    def _busy(self, unit: str) -> bool:
        return self.state[unit] in ("Running", "AwaitingApproval") or unit in self.questioned

    def _start(self, task: TaskCase) -> None:
        if not self._rule_met(task):
            self._skip(task.id, "upstream")
        elif not self._condition_met(task):
            self._skip(task.id, "condition")
        elif task.items is not None:
            self._expand(task)
        elif task.kind == "gate":
            self._gate(task)
        elif task.kind == "wait":
            self.state[task.id] = "Running"
            self._later(task.takes, lambda: self._succeed(task.id))
        else:
            self._begin(task.id)

    def _rule_met(self, task: TaskCase) -> bool:
        if not task.needs:
            return True
        if task.run is RunRule.ANY_FAILED:
            return any(self.state[n] in _BAD for n in task.needs)
        if task.run is RunRule.ALL_DONE or task.always:
            return True
        return all(
            self.state[n] == "Succeeded" or self.skips.get(n) in ("condition", "person")
            for n in task.needs
        )

    def _condition_met(self, task: TaskCase) -> bool:
        return task.when is None or (task.when != "never" and self.state[task.when] == "Succeeded")

    def _gate(self, task: TaskCase) -> None:
        covered = [self.case.by_id[c] for c in task.covers]
        for other in covered:
            # What people are asked about has its items by then.
            self.state.update({f"{other.id}.{n}": "Pending" for n in range(other.items or 0)})
        runs = any(c.items != 0 for c in covered)
        self._ask_or(task.id, runs and any(c.asks for c in covered), self._succeed)

    def _expand(self, task: TaskCase) -> None:
        units = [f"{task.id}.{n}" for n in range(task.items or 0)]
        self.state.update(dict.fromkeys(units, "Pending"))

        def go(_: str) -> None:
            self.state[task.id] = "Running"
            self.waiting[task.id] = list(units)
            self._gather(task.id)

        self._ask_or(task.id, bool(units) and task.asks and not self._has_grant(task.id), go)

    def _begin(self, unit: str) -> None:
        task = self._of(unit)
        first = self.generation.get(unit, 0) == 0
        asks = task.asks and not (first and self._has_grant(task.id))
        self._ask_or(unit, asks, self._execute)

    def _has_grant(self, task_id: str) -> bool:
        gate = self.case.gate_of(task_id)
        return task_id in self.granted or (gate is not None and gate.id in self.granted)

    def _execute(self, unit: str) -> None:
        task, generation = self._of(unit), self.generation.get(unit, 0)
        item = int(unit.partition(".")[2] or 0)
        takes = task.takes_item(item)
        fate = "ok" if generation else task.fate(item)
        self.state[unit] = "Running"
        self.begun.add((unit, generation))
        match fate:
            case "ok":
                self._later(takes, lambda: self._done(unit))
            case "flaky":
                self._later(takes + RETRY_AFTER + takes, lambda: self._done(unit))
            case "fail":
                self._later(takes, lambda: self._fail(unit))
            case "exhausted":
                self._later(takes + RETRY_AFTER + takes, lambda: self._fail(unit))
            case "lost":
                self._later(takes, lambda: self._lost(unit))

    # People.

    def _ask_or(self, unit: str, asks: bool, go: Callable[[str], None]) -> None:
        if not asks:
            go(unit)
            return
        task, number = self._of(unit), next(self._numbers)
        self.state[unit] = "AwaitingApproval"
        self.asked[unit] = number

        def closed() -> None:
            if self.asked.get(unit) != number:
                return
            del self.asked[unit]
            if task.answer is Answer.APPROVE:
                self.granted.add(unit)
                go(unit)
            else:
                self.denied.add(unit)
                self._fail(unit)

        self._later(EXPIRES if task.answer is None else task.answered_after, closed)

    def _lost(self, unit: str) -> None:
        task = self._of(unit)
        self.state[unit] = "Unknown"
        self.questioned.add(unit)

        def told() -> None:
            self.questioned.discard(unit)
            if task.told is Answer.HAPPENED:
                self._succeed(unit)
            elif task.told is None:
                self._bad(unit, "Unknown")
            else:
                self.generation[unit] = 1
                self.state[unit] = "Pending"
                held = self._stopping and task.run not in _HANDLERS
                if not held:
                    self._begin(unit)

        silence = EXPIRES if task.asks else UNKNOWN_EXPIRES
        self._later(silence if task.told is None else task.answered_after, told)

    # Ends.

    def _done(self, unit: str) -> None:
        if self._of(unit).compensable:
            self.effects.append(unit)
        self._succeed(unit)

    def _succeed(self, unit: str) -> None:
        self.state[unit] = "Succeeded"
        self._gather(unit.partition(".")[0])

    def _fail(self, unit: str) -> None:
        self._bad(unit, "Failed")

    def _bad(self, unit: str, state: str) -> None:
        self.state[unit] = state
        if self._of(unit).on_failure is not OnFailure.CONTINUE:
            self.stoppers.append(unit)
        if self._stopping:
            self._withdraw()
        self._gather(unit.partition(".")[0])

    def _withdraw(self) -> None:
        """Nobody need answer any more whether something may run."""
        for unit in list(self.asked):
            if self.asked.pop(unit, None) is None:
                continue
            self.withdrawn.add(unit)
            self._skip(unit, "stopped")
            self._gather(unit.partition(".")[0])

    def _skip(self, unit: str, why: str) -> None:
        self.state[unit], self.skips[unit] = "Skipped", why

    def _gather(self, task_id: str) -> None:
        """A task with a list ends when all its items have."""
        if task_id not in self.waiting or self.state[task_id] in _ENDED:
            return
        units = self._units(task_id)
        if not all(self._settled(u) for u in units):
            return
        if any(u in self.stoppers for u in units):
            self.state[task_id] = "Failed"
            self.stoppers.append(task_id)
        elif any(self.skips.get(u) == "stopped" for u in units):
            self._skip(task_id, "stopped")
        else:
            self.state[task_id] = "Succeeded"

    def _sweep(self) -> bool:
        """Nothing runs any more: what never starts is passed over, for what handles failures."""
        before = dict(self.state)
        if self._stopping:
            for task in self._phase():
                if task.run in _HANDLERS and self.state[task.id] == "Pending":
                    for need in task.needs:
                        if self._of(need).run not in _HANDLERS:
                            self._pass_over(self._of(need))
        return before != self.state

    def _pass_over(self, task: TaskCase) -> None:
        self.waiting.get(task.id, []).clear()
        for unit in self._units(task.id):
            if not self._settled(unit):
                self._skip(unit, "stopped")
        if self._settled(task.id):
            return
        if task.id in self.waiting:
            self._gather(task.id)
        else:
            self._skip(task.id, "stopped")

    def _units(self, task_id: str) -> list[str]:
        return [u for u in self.state if u.partition(".")[0] == task_id and "." in u]

    def _of(self, unit: str) -> TaskCase:
        return self.case.by_id[unit.partition(".")[0]]
