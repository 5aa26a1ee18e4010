"""The compiler: a contract and a goal's inputs in, a plan out.

It is pure: it opens no file, asks no policy and runs nothing. What it accepts, the interpreter can
carry out: every reference has a source that runs before, every operation takes its inputs.
"""

from collections.abc import Mapping

from pydantic import TypeAdapter, ValidationError

from goalkeeper.domain.base import Json, Name, digest_of
from goalkeeper.domain.bindings import pointer, replaced, resolve
from goalkeeper.domain.contract import CHILD, WAIT, Contract, LockSpec
from goalkeeper.domain.drafts import Draft, Operations, read_tasks
from goalkeeper.domain.errors import InvalidContract, InvalidGoal
from goalkeeper.domain.expressions import Template, literal
from goalkeeper.domain.inputs import check_inputs
from goalkeeper.domain.links import Links
from goalkeeper.domain.operation import Operation
from goalkeeper.domain.plan import (
    APPROVAL,
    GOAL,
    MOST_ITEMS,
    ForEach,
    LockUse,
    OnFailure,
    Plan,
    PlanTask,
)
from goalkeeper.domain.plan import WAIT as PLAN_WAIT
from goalkeeper.domain.problems import Places, Problems
from goalkeeper.domain.shapes import Path
from goalkeeper.domain.taskinputs import BoundInputs, bind, find_templates, objections

__all__ = ["compile_contract", "resolve"]

_MOST_TASKS = 20_000
_NAME: TypeAdapter[str] = TypeAdapter(Name)
_BUILT_IN = {WAIT: PLAN_WAIT, CHILD: GOAL}
_DURATION = {"for": "duration"}
"""What a wait calls `for`, the plan calls `duration`."""


def compile_contract(
    contract: Contract,
    inputs: Mapping[str, Json],
    operations: Operations,
    *,
    located: Places | None = None,
) -> Plan:
    """Compile a contract for one goal.

    Args:
        contract: what is declared.
        inputs: what the goal gives.
        operations: what is installed, by name.
        located: the contract's text, so that messages show the place.

    Raises:
        InvalidContract: the contract cannot work, whatever the goal's inputs.
        InvalidGoal: the inputs are wrong.
    """
    problems = Problems(lambda path: _label(contract, path), located)
    if len(contract.tasks) + len(contract.finally_) > _MOST_TASKS:
        problems.add(("finally",), f"a plan has at most {_MOST_TASKS} tasks, these included")
    drafts = read_tasks(contract, operations, problems)
    environment = find_templates(contract.environment, ("environment",), problems).get(())
    links = Links(contract, drafts, problems)
    links.check_inputs_alone(environment, ("environment",), "the environment")
    order = links.order()
    problems.raise_if_any(InvalidContract)

    values = check_inputs(contract.name, contract.inputs, inputs)
    goal = Problems(lambda path: _label(contract, path))
    making = _Making(contract, drafts, values, problems, goal)
    tasks = [making.task(drafts[i]) for i in order]
    named = making.name(contract.environment, environment, ("environment",), "an environment")
    problems.raise_if_any(InvalidContract)
    goal.raise_if_any(InvalidGoal)
    return Plan(
        contract=contract.name,
        contract_digest=digest_of(contract),
        environment=named,
        inputs=values,
        tasks=tuple(t for t in tasks if t is not None),
    )


def _label(contract: Contract, path: Path) -> str:
    """A place in words, for contracts that come without a text."""
    sections = {"tasks": contract.tasks, "finally": contract.finally_}
    if path and path[0] in sections and len(path) > 1 and isinstance(path[1], int):
        rest = ".".join(map(str, path[2:]))
        task = sections[str(path[0])][path[1]].id
        where = f"task '{task}'" + (f", {rest}" if rest else "")
    else:
        where = ".".join(map(str, path)) or "the contract"
    return f"contract '{contract.name}', {where}"


class _Making:
    """Plan tasks out of drafts, for one goal's inputs.

    Args:
        contract: where the drafts come from.
        drafts: all of them, in order.
        values: the goal's inputs.
        problems: takes what is wrong with the contract.
        goal: takes what is wrong with the goal's inputs.
    """

    def __init__(
        self,
        contract: Contract,
        drafts: list[Draft],
        values: Mapping[str, Json],
        problems: Problems,
        goal: Problems,
    ) -> None:
        self._contract = contract
        self._drafts = drafts
        self._values = values
        self._problems = problems
        self._goal = goal
        self._locks: dict[str, tuple[LockUse, str]] = {}

    def task(self, draft: Draft) -> PlanTask | None:
        """The plan's task; None if something is wrong with it, which the problems hold then."""
        spec, operation = draft.spec, draft.operation
        common = {
            "id": spec.id,
            "summary": spec.summary,
            "needs": tuple(self._drafts[i].spec.id for i in sorted(draft.needs)),
            "priority": spec.priority,
            "run": spec.run,
            "when": self._when(draft),
            "for_each": self._items(draft),
            "on_failure": self._on_failure(draft),
            "lock": self._lock(draft, spec.lock),
            "always": draft.always,
        }
        if operation is None:
            return PlanTask(operation=APPROVAL, covers=spec.covers, show=spec.show, **common)
        bound = self._inputs(draft, operation)
        if bound is None:
            return None
        return PlanTask(
            operation=_BUILT_IN.get(operation.name, operation.name),
            inputs=bound.inputs,
            bindings=bound.bindings,
            nullable=bound.nullable,
            risk=operation.risk,
            idempotent=operation.idempotent,
            quick=operation.quick,
            credentials=spec.credentials,
            retry=spec.retry,
            start_to_close_timeout=spec.timeout,
            schedule_to_close_timeout=spec.schedule_to_close_timeout,
            compensation=operation.compensation.operation if operation.compensation else None,
            **common,
        )

    def name(self, written: str, template: Template | None, at: Path, what: str) -> str:
        """A name that the contract writes out or makes of inputs."""
        value: Json = written
        try:
            value = written if template is None else template.bind(self._values).value
            return _NAME.validate_python(value, strict=True)
        except InvalidGoal as error:
            self._goal.add(at, error.message)
        except ValidationError:
            self._blame(template).add(
                at, f"'{value}' cannot name {what}: lower-case letters, digits and '-'"
            )
        return "unnamed"

    def _blame(self, template: Template | None) -> Problems:
        """Whose mistake a wrong value is: the goal's if its inputs stand in it."""
        return self._problems if template is None or not template.inputs else self._goal

    def _inputs(self, draft: Draft, operation: Operation) -> BoundInputs | None:
        try:
            bound = bind(operation, draft.spec.with_, draft.templates, self._values)
        except InvalidGoal as error:
            self._goal.add(draft.at("with"), error.message)
            return None
        for path, words, at_key in objections(operation, bound, draft.templates):
            names = _inputs_behind(path, draft.templates)
            if names and not at_key:
                self._goal.add(draft.at("with", *path), f"input {' and '.join(names)}: {words}")
            else:
                self._problems.add(draft.at("with", *path), words, key=at_key)
        return _renamed(bound) if draft.spec.uses == WAIT else bound

    def _when(self, draft: Draft) -> str | None:
        written = draft.spec.when
        if draft.when is None:
            return literal(False) if written is False else None
        try:
            bound = draft.when.bind(self._values)
        except InvalidGoal as error:
            self._blame(draft.when).add(draft.at("when"), error.message)
            return None
        return literal(bound.value) if bound.expression is None else bound.expression

    def _items(self, draft: Draft) -> ForEach | None:
        written, whole = draft.spec.for_each, draft.items.get(())
        if written is None:
            return None
        value: Json = None
        try:
            if whole is not None:
                bound = whole.bind(self._values)
                if bound.expression is not None:
                    return ForEach(expression=bound.expression, width=draft.spec.width)
                value = bound.value
            elif not isinstance(written, str):
                known = {pointer(p): t.bind(self._values).value for p, t in draft.items.items()}
                value = replaced(list(written), known)
        except InvalidGoal as error:
            self._goal.add(draft.at("for_each"), error.message)
            return None
        return self._listed(draft, value, whole)

    def _listed(self, draft: Draft, value: Json, whole: Template | None) -> ForEach | None:
        blame, at = self._blame(whole), draft.at("for_each")
        names = _inputs_behind((), draft.items)
        who = f"input {' and '.join(names)}: " if names else ""
        if not isinstance(value, list):
            blame.add(at, f"{who}`for_each` takes a list")
        elif len(value) > MOST_ITEMS:
            blame.add(at, f"{who}`for_each` takes at most {MOST_ITEMS} items, not {len(value)}")
        else:
            return ForEach(items=tuple(value), width=draft.spec.width)
        return None

    def _on_failure(self, draft: Draft) -> OnFailure:
        given = draft.spec.on_failure or self._contract.on_failure
        # What is undone has been undone before any task of `finally` runs.
        return OnFailure.STOP if draft.always and given is OnFailure.ROLL_BACK else given

    def _lock(self, draft: Draft, lock: LockSpec | None) -> LockUse | None:
        if lock is None:
            return None
        name = self.name(lock.name, draft.lock, draft.at("lock", "name"), "a lock")
        use = LockUse(name=name, while_waiting=lock.while_waiting, hold_for=lock.hold_for)
        first, task = self._locks.setdefault(name, (use, draft.spec.id))
        if first != use:
            self._problems.add(
                draft.at("lock"),
                f"a goal has the lock '{name}' once, and task '{task}' says something else about "
                "it: write the same `while_waiting` and `hold_for` at both",
            )
        return use


def _renamed(bound: BoundInputs) -> BoundInputs:
    """A wait's inputs as `WaitInputs` has them."""
    return BoundInputs(
        {_DURATION.get(k, k): v for k, v in bound.inputs.items()},
        {pointer((_DURATION.get(k[1:], k[1:]),)): v for k, v in bound.bindings.items()},
        bound.nullable,
    )


def _inputs_behind(path: Path, templates: Mapping[Path, Template]) -> tuple[str, ...]:
    """The goal inputs whose values stand at a place or around it."""
    return tuple(
        dict.fromkeys(
            f"'{name}'"
            for at, template in templates.items()
            if path[: len(at)] == at
            for name in template.inputs
        )
    )
