"""The compiler: a contract and a goal's inputs in, a plan out.

It is pure: it opens no file, asks no policy and runs nothing. What it accepts, the interpreter can
carry out: every reference has a source that runs before, every operation takes its inputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import TypeAdapter, ValidationError

from goalkeeper.domain.base import Json, Name, digest_of
from goalkeeper.domain.bindings import resolve
from goalkeeper.domain.contract import GATE, Contract, TaskSpec
from goalkeeper.domain.errors import InvalidContract, InvalidGoal
from goalkeeper.domain.expressions import Template
from goalkeeper.domain.graph import ancestors, find_circle, topological_order
from goalkeeper.domain.inputs import check_inputs
from goalkeeper.domain.operation import Operation
from goalkeeper.domain.plan import APPROVAL, Plan, PlanTask
from goalkeeper.domain.problems import Places, Problems, did_you_mean
from goalkeeper.domain.shapes import Path
from goalkeeper.domain.taskinputs import (
    bind,
    check_reference,
    check_type,
    check_use,
    find_templates,
    objections,
)

__all__ = ["compile_contract", "resolve"]

Operations = Mapping[str, Operation]
_NAME: TypeAdapter[str] = TypeAdapter(Name)
_BLANK = TaskSpec(id="blank", uses=GATE)


@dataclass
class _Draft:
    """A task on its way into the plan."""

    position: int
    spec: TaskSpec
    operation: Operation | None
    """None for a gate."""
    templates: dict[Path, Template]
    needs: set[int] = field(default_factory=set)

    def at(self, *path: str | int) -> Path:
        """A path of the contract."""
        return ("tasks", self.position, *path)


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
    index = _index(contract, problems)
    drafts = [_draft(i, spec, operations, problems) for i, spec in enumerate(contract.tasks)]
    environment = _environment_template(contract, problems)
    for draft in drafts:
        if problems.full:
            break
        _link(draft, drafts, index, contract, problems)
    _link_gates(drafts, index, problems)
    problems.raise_if_any(InvalidContract)

    needs = [sorted(d.needs) for d in drafts]
    order = topological_order(needs)
    if len(order) < len(drafts):
        _tell_circle(find_circle(needs, order), drafts, problems)
    else:
        _check_gates(drafts, index, needs, order, problems)
    problems.raise_if_any(InvalidContract)

    values = check_inputs(contract.name, contract.inputs, inputs)
    goal = Problems(lambda path: _label(contract, path))
    tasks = [_task(drafts[i], drafts, values, problems, goal) for i in order]
    named = _environment(contract, environment, values, problems, goal)
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
    if path[:1] == ("tasks",) and len(path) > 1 and isinstance(path[1], int):
        rest = ".".join(map(str, path[2:]))
        where = f"task '{contract.tasks[path[1]].id}'" + (f", {rest}" if rest else "")
    else:
        where = ".".join(map(str, path)) or "the contract"
    return f"contract '{contract.name}', {where}"


def _index(contract: Contract, problems: Problems) -> dict[str, int]:
    index: dict[str, int] = {}
    for i, spec in enumerate(contract.tasks):
        if index.setdefault(spec.id, i) != i:
            problems.add(("tasks", i, "id"), f"the task id '{spec.id}' is taken; choose another")
    return index


def _draft(position: int, spec: TaskSpec, operations: Operations, problems: Problems) -> _Draft:
    base: Path = ("tasks", position)
    operation = operations.get(spec.uses)
    if spec.is_gate:
        operation = None
        _refuse_settings(spec, ("with_", "credentials", "retry", "timeout"), base, problems)
        if not spec.covers:
            problems.add(base, "an approval names in `covers:` the tasks that wait for it")
    else:
        _refuse_settings(spec, ("covers", "show"), base, problems)
        if operation is None and not problems.full:
            hint = did_you_mean(spec.uses, [*operations, GATE], known_as="operations")
            problems.add((*base, "uses"), f"there is no operation '{spec.uses}'{hint}")
    draft = _Draft(position, spec, operation, {})
    if operation is not None:
        draft.templates = find_templates(spec.with_, draft.at("with"), problems)
        check_use(operation, draft.templates, problems, draft.at("with"))
        _check_credentials(draft, operation, problems)
    return draft


def _refuse_settings(spec: TaskSpec, names: Sequence[str], base: Path, problems: Problems) -> None:
    what = "an approval" if spec.is_gate else "a task that is not an approval"
    for name in names:
        if getattr(spec, name) != getattr(_BLANK, name):
            word = name.rstrip("_")
            problems.add((*base, word), f"{what} takes no `{word}:`; remove it", key=True)


def _check_credentials(draft: _Draft, operation: Operation, problems: Problems) -> None:
    given, slots = draft.spec.credentials, operation.credentials
    for slot in given:
        if slot not in slots:
            hint = did_you_mean(slot, slots, known_as="credentials of it")
            message = f"{operation.name} takes no credential '{slot}'{hint}"
            problems.add(draft.at("credentials", slot), message, key=True)
    for slot in slots:
        if slot not in given and slot not in operation.optional_credentials:
            problems.add(
                draft.at("credentials"),
                f"{operation.name} needs the credential '{slot}'; add "
                f"`credentials: {{{slot}: ROLE}}`",
            )


def _link(
    draft: _Draft,
    drafts: Sequence[_Draft],
    index: Mapping[str, int],
    contract: Contract,
    problems: Problems,
) -> None:
    """Find what a task needs, by name and by expression."""
    for word in ("needs", "show"):
        for k, other in enumerate(getattr(draft.spec, word)):
            if _known(other, index, draft.at(word, k), problems):
                draft.needs.add(index[other])
    for path, template in draft.templates.items():
        at = draft.at("with", *path)
        _check_input_names(template, contract, at, problems)
        for reference in template.references:
            if not _known(reference.task, index, at, problems):
                continue
            source = drafts[index[reference.task]]
            draft.needs.add(source.position)
            if source.spec.is_gate:
                problems.add(at, f"'{reference.task}' is an approval and has no outputs")
            elif source.operation is not None:
                check_reference(reference, source.operation, problems, at)
        if draft.operation is not None:
            whole = template.whole
            from_task = drafts[index[whole.task]] if whole and whole.task in index else None
            source_operation = from_task.operation if from_task else None
            check_type(template, source_operation, draft.operation, problems, at, path)


def _known(task: str, index: Mapping[str, int], at: Path, problems: Problems) -> bool:
    if task in index:
        return True
    if not problems.full:
        problems.add(at, f"there is no task '{task}'{did_you_mean(task, index, known_as='tasks')}")
    return False


def _check_input_names(
    template: Template, contract: Contract, at: Path, problems: Problems
) -> None:
    for name in template.inputs:
        if name not in contract.inputs:
            hint = did_you_mean(name, contract.inputs, known_as="inputs")
            problems.add(at, f"the contract declares no input '{name}'{hint}")


def _link_gates(drafts: Sequence[_Draft], index: Mapping[str, int], problems: Problems) -> None:
    """Make what a gate covers wait for it."""
    covered: dict[str, str] = {}
    for gate in drafts:
        for k, other in enumerate(gate.spec.covers):
            at = gate.at("covers", k)
            if not _known(other, index, at, problems):
                continue
            target = drafts[index[other]]
            if target.spec.is_gate:
                problems.add(at, f"'{other}' is an approval itself and cannot be covered")
            elif other in covered:
                problems.add(at, f"'{other}' is covered by '{covered[other]}' already")
            else:
                covered[other] = gate.spec.id
                target.needs.add(gate.position)


def _tell_circle(circle: Sequence[int], drafts: Sequence[_Draft], problems: Problems) -> None:
    names = [drafts[i].spec.id for i in circle]
    shown = names if len(names) <= 12 else [*names[:6], "…", *names[-5:]]
    gates = [drafts[i].spec.id for i in circle if drafts[i].spec.is_gate]
    why = f" (what '{gates[0]}' covers waits for it)" if gates else ""
    problems.add(
        drafts[circle[0]].at("id"),
        f"tasks wait for each other in a circle: {' → '.join([*shown, names[0]])}{why}",
    )


def _check_gates(
    drafts: Sequence[_Draft],
    index: Mapping[str, int],
    needs: Sequence[Sequence[int]],
    order: Sequence[int],
    problems: Problems,
) -> None:
    """What people approve must be known when they are asked."""
    gates = [d for d in drafts if d.spec.is_gate]
    before = ancestors(needs, order) if gates else []
    for gate in gates:
        for target in (drafts[index[c]] for c in gate.spec.covers):
            for path, template in target.templates.items():
                for reference in template.references:
                    if before[gate.position] >> index[reference.task] & 1:
                        continue
                    problems.add(
                        target.at("with", *path),
                        f"'{target.spec.id}' is approved at '{gate.spec.id}', so its inputs must "
                        f"be known then, and '{reference.task}' need not have run; let "
                        f"'{gate.spec.id}' need '{reference.task}', or refer to a task that runs "
                        "before it",
                    )


def _task(
    draft: _Draft,
    drafts: Sequence[_Draft],
    values: Mapping[str, Json],
    problems: Problems,
    goal: Problems,
) -> PlanTask | None:
    spec, operation = draft.spec, draft.operation
    needs = tuple(drafts[i].spec.id for i in sorted(draft.needs))
    if operation is None:
        return PlanTask(
            id=spec.id,
            operation=APPROVAL,
            summary=spec.summary,
            needs=needs,
            priority=spec.priority,
            covers=spec.covers,
            show=spec.show,
        )
    try:
        bound = bind(operation, spec.with_, draft.templates, values)
    except InvalidGoal as error:
        goal.add(draft.at("with"), error.message)
        return None
    for path, words, at_key in objections(operation, bound, draft.templates):
        names = _inputs_behind(path, draft.templates)
        if names and not at_key:
            goal.add(draft.at("with", *path), f"input {' and '.join(names)}: {words}")
        else:
            problems.add(draft.at("with", *path), words, key=at_key)
    return PlanTask(
        id=spec.id,
        operation=operation.name,
        summary=spec.summary,
        inputs=bound.inputs,
        bindings=bound.bindings,
        nullable=bound.nullable,
        needs=needs,
        risk=operation.risk,
        idempotent=operation.idempotent,
        quick=operation.quick,
        credentials=spec.credentials,
        retry=spec.retry,
        start_to_close_timeout=spec.timeout,
        priority=spec.priority,
        compensation=operation.compensation.operation if operation.compensation else None,
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


def _environment_template(contract: Contract, problems: Problems) -> Template | None:
    found = find_templates(contract.environment, ("environment",), problems)
    template = found.get(())
    if template is not None:
        _check_input_names(template, contract, ("environment",), problems)
        if template.references:
            problems.add(("environment",), "the environment may use inputs, and no tasks")
    return template


def _environment(
    contract: Contract,
    template: Template | None,
    values: Mapping[str, Json],
    problems: Problems,
    goal: Problems,
) -> str:
    try:
        value = contract.environment if template is None else template.bind(values).value
        return _NAME.validate_python(value, strict=True)
    except InvalidGoal as error:
        goal.add(("environment",), error.message)
    except ValidationError:
        blame = goal if template is not None and template.inputs else problems
        blame.add(
            ("environment",),
            f"'{value}' cannot name an environment: lower-case letters, digits and '-'",
        )
    return "unnamed"
