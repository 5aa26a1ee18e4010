"""Random goals: what Hypothesis draws, and the plan, policy and operations that follow from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from goalkeeper.contracts.activities import Asker, PlanInput
from goalkeeper.contracts.goal import OpenRequest, PlannedGoal
from goalkeeper.domain.approval import Action, Answer, Question, Requester
from goalkeeper.domain.base import Json
from goalkeeper.domain.errors import OperationFailed, OutcomeUnknown, ServiceUnavailable
from goalkeeper.domain.operation import Risk
from goalkeeper.domain.plan import (
    APPROVAL,
    WAIT,
    ForEach,
    OnFailure,
    Plan,
    PlanTask,
    RetryPolicy,
    RunRule,
)
from goalkeeper.domain.policy import Effect, Requirement, Verdict
from goalkeeper.simulation.goal_world import Deed
from goalkeeper.simulation.people import Answering, Gateway
from goalkeeper.simulation.stage import Stage

VERSION = "sha256:" + "1" * 64
EXPIRES = timedelta(hours=4)
UNKNOWN_EXPIRES = timedelta(hours=24)
RETRY_AFTER = timedelta(seconds=1)
_REQUIREMENT = Requirement(
    approvals=1, groups=("operators",), expires_in=EXPIRES, valid_for=timedelta(days=300)
)
_ASK = Verdict(effect=Effect.ASK, reasons=("asks",), requirement=_REQUIREMENT)
_GO = Verdict(effect=Effect.ALLOW, reasons=("goes",))

FATES = ("ok", "ok", "ok", "fail", "flaky", "exhausted", "lost")
"""How the attempts at an operation go: `flaky` fails once, `exhausted` each time."""


@dataclass(frozen=True)
class TaskCase:
    """One task of a random goal."""

    id: str
    kind: str = "operation"
    """``operation``, ``gate`` or ``wait``."""
    needs: tuple[str, ...] = ()
    run: RunRule = RunRule.ALL_SUCCEEDED
    on_failure: OnFailure = OnFailure.ROLL_BACK
    when: str | None = None
    """The id of the need that has to have succeeded, or ``never``."""
    items: int | None = None
    width: int = 2
    asks: bool = False
    answer: Answer | None = Answer.APPROVE
    fates: tuple[str, ...] = ("ok",)
    """By item; the last counts for all further ones."""
    told: Answer | None = Answer.HAPPENED
    compensable: bool = True
    undo: str = "ok"
    quick: bool = False
    always: bool = False
    priority: int = 3
    covers: tuple[str, ...] = ()
    weight: int = 1
    """No two sums of weights are equal, so that no two things happen at once by chance."""

    @property
    def takes(self) -> timedelta:
        """One attempt at one item."""
        # What is quick is done within the 10 s of a local activity.
        return timedelta(milliseconds=self.weight) / (4000 if self.quick else 1)

    @property
    def answered_after(self) -> timedelta:
        """How long people take."""
        return timedelta(minutes=1, milliseconds=self.weight)

    def fate(self, item: int = 0) -> str:
        """How an item goes."""
        fate = self.fates[min(item, len(self.fates) - 1)]
        return "ok" if self.quick and fate == "lost" else fate

    def takes_item(self, item: int) -> timedelta:
        """One attempt at an item: each takes a little longer than the one before."""
        return self.takes * (item + 1)


@dataclass(frozen=True)
class Case:
    """A random goal."""

    tasks: tuple[TaskCase, ...]
    window: int = 50

    @property
    def by_id(self) -> Mapping[str, TaskCase]:
        """Its tasks."""
        return {t.id: t for t in self.tasks}

    def gate_of(self, task_id: str) -> TaskCase | None:
        """The gate that covers a task."""
        return next((t for t in self.tasks if task_id in t.covers), None)

    @property
    def plan(self) -> Plan:
        """The plan."""
        return Plan(
            contract="random",
            contract_digest=VERSION,
            environment="development",
            tasks=tuple(_plan_task(t) for t in self.tasks),
        )


def _plan_task(task: TaskCase) -> PlanTask:
    operation, inputs = "fake.write", {"value": task.id}
    if task.kind == "gate":
        operation, inputs = APPROVAL, {}
    elif task.kind == "wait":
        operation, inputs = WAIT, {"duration": f"PT{task.weight / 1000:.3f}S"}
    when = None
    if task.when is not None:
        when = "`false`" if task.when == "never" else f"states.{task.when} == 'Succeeded'"
    return PlanTask(
        id=task.id,
        operation=operation,
        inputs=dict(inputs),
        needs=task.needs,
        risk=Risk.READ if task.quick else Risk.WRITE,
        idempotent=task.quick,
        quick=task.quick,
        retry=RetryPolicy(maximum_attempts=2),
        start_to_close_timeout=timedelta(days=300),
        priority=task.priority,
        run=task.run,
        when=when,
        for_each=None if task.items is None else ForEach(items=(1,) * task.items, width=task.width),
        on_failure=task.on_failure,
        always=task.always,
        compensation="fake.undo" if task.compensable and task.kind == "operation" else None,
        covers=task.covers,
    )


@dataclass(frozen=True)
class CasePlanning:
    """Planning that knows one plan."""

    case: Case

    def plan(self, given: PlanInput, gateway: Gateway) -> PlannedGoal:
        """The plan, judged."""
        plan = self.case.plan
        verdicts = {t.id: self._verdict(t) for t in self.case.tasks if t.kind != "wait"}
        return PlannedGoal(
            plan=plan,
            requester=Requester(id="dana", proven=True),
            verdicts=verdicts,
            policy_version=VERSION,
            plan_digest=plan.digest,
            decision_keys=gateway.keys,
            window=self.case.window,
        )

    def _verdict(self, task: TaskCase) -> Verdict:
        asking = task.asks or any(self.case.by_id[c].asks for c in task.covers)
        return _ASK if asking else _GO

    def judge(self, action: Action, asker: Asker) -> tuple[Verdict, str]:
        """As the case says."""
        return self._verdict(self.case.by_id[action.task_id.partition(".")[0]]), VERSION


@dataclass(frozen=True)
class CaseOperations:
    """Operations that go as the case says."""

    case: Case

    def perform(self, action: Action, attempt: int) -> Deed:
        """One attempt."""
        name, _, item = action.task_id.partition(".")
        task = self.case.by_id[name]
        index = int(item or 0)
        fate = "ok" if action.generation else task.fate(index)
        error: Exception | None = None
        if fate == "fail":
            error = OperationFailed("it fails")
        elif fate == "exhausted" or (fate == "flaky" and attempt == 1):
            error = ServiceUnavailable("not now")
        elif fate == "lost":
            error = OutcomeUnknown("who knows")
        outputs: Json = {"value": action.task_id, "generation": action.generation}
        return Deed(task.takes_item(index), outputs, error, task.compensable)

    def undo(self, action: Action, attempt: int) -> Deed:
        """One attempt at undoing."""
        task = self.case.by_id[action.task_id.partition(".")[0]]
        error: Exception | None = None
        if task.undo == "fail":
            error = OperationFailed("it cannot be undone")
        elif task.undo == "flaky" and attempt == 1:
            error = ServiceUnavailable("not now")
        return Deed(timedelta(milliseconds=5), error=error)


def stage_of(case: Case, **options: Any) -> Stage:
    """A stage for a case."""

    def answers(asked: OpenRequest) -> Answering:
        task = case.by_id[asked.request.task_id.partition(".")[0]]
        if asked.request.question is Question.OUTCOME:
            return Answering(answer=task.told, after=task.answered_after)
        return Answering(answer=task.answer, after=task.answered_after)

    return Stage(CasePlanning(case), CaseOperations(case), answers, **options)


_WEIGHTS = [1009 + 997 * 2**k for k in range(14)]


@st.composite
def cases(draw: st.DrawFn, *, most: int = 6, failing: bool = True, window: bool = False) -> Case:
    """Random goals of a few tasks."""
    count = draw(st.integers(1, most))
    last = draw(st.integers(0, 2))
    weights = draw(st.permutations(_WEIGHTS))
    made: list[TaskCase] = []
    gates: dict[str, list[str]] = {}
    for number in range(count + last):
        always = number >= count
        earlier = [t for t in made if t.always == always]
        task = draw(_tasks(f"t{number}", earlier, weights[number], always, failing))
        if task.kind == "operation" and not always:
            # Whatever an earlier gate may cover, it may also not.
            open_gates = [t.id for t in earlier if t.kind == "gate"]
            gate = draw(st.none() | st.sampled_from(open_gates)) if open_gates else None
            if gate is not None:
                gates.setdefault(gate, []).append(task.id)
                needs = tuple(dict.fromkeys((*task.needs, gate)))
                task = _with(task, needs=needs)
        made.append(task)
    tasks = [_with(t, covers=tuple(gates[t.id])) if t.id in gates else t for t in made]
    tasks = [_without_gate(t) if t.kind == "gate" and not t.covers else t for t in tasks]
    return Case(tuple(tasks), window=draw(st.integers(1, 4)) if window else 50)


def _without_gate(task: TaskCase) -> TaskCase:
    return _with(task, kind="wait")


def _with(task: TaskCase, **changes: Any) -> TaskCase:
    return TaskCase(**{**task.__dict__, **changes})


@st.composite
def _tasks(
    draw: st.DrawFn,
    ident: str,
    earlier: list[TaskCase],
    weight: int,
    always: bool,
    failing: bool,
) -> TaskCase:
    kinds = ["operation", "operation", "operation", "wait"] + ([] if always else ["gate"])
    kind = draw(st.sampled_from(kinds))
    needs: tuple[str, ...] = ()
    if earlier:
        found = draw(st.lists(st.sampled_from(earlier), max_size=3, unique_by=lambda t: t.id))
        needs = tuple(sorted(t.id for t in found))
    operation = kind == "operation"
    quick = operation and draw(st.booleans())
    fates = st.sampled_from(FATES if failing else ("ok", "flaky"))
    denials = (Answer.APPROVE, Answer.APPROVE, Answer.DENY, None) if failing else (Answer.APPROVE,)
    told = (Answer.HAPPENED, Answer.DID_NOT_HAPPEN, None)
    return TaskCase(
        id=ident,
        kind=kind,
        needs=needs,
        run=draw(st.sampled_from(RunRule)) if needs else RunRule.ALL_SUCCEEDED,
        on_failure=draw(st.sampled_from(OnFailure)),
        when=draw(st.sampled_from([None, None, "never", *needs])),
        items=draw(st.none() | st.integers(0, 3)) if operation else None,
        width=draw(st.integers(1, 3)),
        asks=operation and draw(st.booleans()),
        answer=draw(st.sampled_from(denials)),
        fates=tuple(draw(st.lists(fates, min_size=1, max_size=3))),
        told=draw(st.sampled_from(told)),
        compensable=operation and not quick and draw(st.booleans()),
        undo=draw(st.sampled_from(["ok", "ok", "flaky", "fail"])),
        quick=quick,
        always=always,
        priority=draw(st.integers(1, 5)),
        weight=weight,
    )
