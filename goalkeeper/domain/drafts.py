"""Drafts: a contract's tasks on their way into a plan, each read and checked for itself.

It looks at one task at a time; what joins them belongs to `goalkeeper.domain.links`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from goalkeeper.domain.base import Model
from goalkeeper.domain.builtin import CHILD_GOAL, WAITS
from goalkeeper.domain.contract import CHILD, GATE, WAIT, Contract, TaskSpec
from goalkeeper.domain.errors import InvalidContract, all_errors
from goalkeeper.domain.expressions import Template, has_expression, parse_template
from goalkeeper.domain.operation import Operation
from goalkeeper.domain.plan import OnFailure, WhileWaiting
from goalkeeper.domain.problems import Problems, did_you_mean
from goalkeeper.domain.shapes import Path, Schema, listed, shape
from goalkeeper.domain.taskinputs import check_use, find_templates

Operations = Mapping[str, Operation]
_BLANK = TaskSpec(id="blank", uses=GATE)
_OWN_CALLS = ("credentials", "retry", "timeout", "schedule_to_close_timeout")
_GATES_ALONE = ("covers", "show")
_REFUSED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    GATE: ("an approval", ("with_", *_OWN_CALLS, "for_each", "width", "on_failure")),
    WAIT: ("a wait", (*_OWN_CALLS, *_GATES_ALONE)),
    CHILD: ("a child goal", (*_OWN_CALLS, *_GATES_ALONE)),
}
_OTHERS = ("a task that is not an approval", _GATES_ALONE)


@dataclass
class Draft:
    """A task on its way into the plan."""

    number: int
    """Its place among all tasks, those of `finally` last."""
    base: Path
    """Where it stands in the contract."""
    spec: TaskSpec
    always: bool
    """Whether it stands in `finally`."""
    operation: Operation | None = None
    """None for an approval."""
    templates: dict[Path, Template] = field(default_factory=dict)
    """The expressions in `with`, by their path below it."""
    items: dict[Path, Template] = field(default_factory=dict)
    """Those in `for_each`; at () if it is an expression itself."""
    when: Template | None = None
    lock: Template | None = None
    needs: set[int] = field(default_factory=set)

    def at(self, *path: str | int) -> Path:
        """A path of the contract."""
        return (*self.base, *path)

    @property
    def outputs(self) -> Schema | None:
        """What the task answers; None for an approval."""
        if self.operation is None:
            return None
        return _outputs(self.operation.outputs, self.spec.for_each is not None)

    @property
    def called(self) -> str:
        """What it does, for messages about its outputs."""
        uses = self.spec.uses
        return uses if self.spec.for_each is None else f"{uses}, for each item"

    def expressions(self) -> Iterator[tuple[Path, Template]]:
        """Every expression that says what the task does, with its place in the contract."""
        for path, template in self.templates.items():
            yield self.at("with", *path), template
        for path, template in self.items.items():
            yield self.at("for_each", *path), template


def read_tasks(contract: Contract, operations: Operations, problems: Problems) -> list[Draft]:
    """Drafts of all tasks in order, those of `finally` last."""
    placed = [
        *((("tasks", i), spec) for i, spec in enumerate(contract.tasks)),
        *((("finally", i), spec) for i, spec in enumerate(contract.finally_)),
    ]
    return [
        _read(Draft(n, base, spec, base[0] == "finally"), operations, problems)
        for n, (base, spec) in enumerate(placed)
    ]


def _read(draft: Draft, operations: Operations, problems: Problems) -> Draft:
    spec = draft.spec
    what, refused = _REFUSED.get(spec.uses, _OTHERS)
    for name in refused:
        if getattr(spec, name) != getattr(_BLANK, name):
            word = name.rstrip("_")
            problems.add(draft.at(word), f"{what} takes no `{word}:`; remove it", key=True)
    draft.operation = _operation(draft, operations, problems)
    if draft.operation is not None:
        draft.templates = find_templates(spec.with_, draft.at("with"), problems)
        check_use(draft.operation, draft.templates, problems, draft.at("with"))
        _check_credentials(draft, draft.operation, problems)
    _read_when(draft, problems)
    _read_items(draft, problems)
    _read_lock(draft, problems)
    _check_words(draft, problems)
    return draft


def _operation(draft: Draft, operations: Operations, problems: Problems) -> Operation | None:
    uses = draft.spec.uses
    if uses == WAIT:
        return _wait(draft, problems)
    if uses == CHILD:
        return CHILD_GOAL
    if uses == GATE:
        if not draft.spec.covers:
            problems.add(draft.base, "an approval names in `covers:` the tasks that wait for it")
        if draft.always:
            problems.add(
                draft.at("uses"),
                "`finally` has no approvals: policy asks about each of its tasks by itself",
            )
        return None
    if uses not in operations and not problems.full:
        known = [*operations, GATE, WAIT, CHILD]
        hint = did_you_mean(uses, known, known_as="operations")
        problems.add(draft.at("uses"), f"there is no operation '{uses}'{hint}")
    return operations.get(uses)


def _wait(draft: Draft, problems: Problems) -> Operation | None:
    given = draft.spec.with_
    known = (*WAITS, "timeout")
    for key in given:
        if key not in known:
            hint = did_you_mean(key, known, known_as="known keys")
            problems.add(draft.at("with", key), f"unknown key '{key}'{hint}", key=True)
    chosen = [word for word in WAITS if word in given]
    if len(chosen) != 1:
        problems.add(draft.at("with"), "a wait takes exactly one of `for`, `until` and `signal`")
        return None
    if "timeout" in given and chosen[0] != "signal":
        problems.add(
            draft.at("with", "timeout"), "`timeout` belongs to a wait for a `signal`", key=True
        )
        return None
    return WAITS[chosen[0]]


def _check_credentials(draft: Draft, operation: Operation, problems: Problems) -> None:
    given, slots = draft.spec.credentials, operation.credentials
    for slot in given:
        if slot not in slots and draft.spec.uses not in _REFUSED:
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


def _read_when(draft: Draft, problems: Problems) -> None:
    written = draft.spec.when
    if isinstance(written, str):
        draft.when = _only_expression(written, draft.at("when"), "`when`", problems)


def _only_expression(text: str, at: Path, what: str, problems: Problems) -> Template | None:
    """The template of a text that is one expression and nothing else."""
    if not has_expression(text):
        problems.add(at, f"{what} is an expression; write `${{{{ {text[:60] or '…'} }}}}`")
        return None
    try:
        template = parse_template(text)
    except InvalidContract as error:
        problems.add(at, error.message)
        return None
    if template.is_text:
        problems.add(at, f"{what} is one expression: put all of it between `${{{{` and `}}}}`")
        return None
    return template


def _read_items(draft: Draft, problems: Problems) -> None:
    written = draft.spec.for_each
    if isinstance(written, str):
        template = _only_expression(
            written, draft.at("for_each"), "`for_each` is a list, or", problems
        )
        draft.items = {} if template is None else {(): template}
    elif written is not None:
        draft.items = find_templates(list(written), draft.at("for_each"), problems)
    elif draft.spec.width != _BLANK.width and draft.spec.uses != GATE:
        problems.add(draft.at("width"), "`width` says how many items of a `for_each` run at a time")


def _read_lock(draft: Draft, problems: Problems) -> None:
    lock = draft.spec.lock
    if lock is None:
        return
    draft.lock = find_templates(lock.name, draft.at("lock", "name"), problems).get(())
    if lock.hold_for is not None and lock.while_waiting is not WhileWaiting.HOLD:
        problems.add(
            draft.at("lock", "hold_for"),
            "`hold_for` goes with `while_waiting: hold`: a lock that is released is not held",
            key=True,
        )


def _check_words(draft: Draft, problems: Problems) -> None:
    """What can be judged without looking anywhere else."""
    if draft.always and draft.spec.on_failure is OnFailure.ROLL_BACK:
        problems.add(
            draft.at("on_failure"),
            "when `finally` runs, what is undone has been undone; write stop or continue",
        )
    for i, code in enumerate(draft.spec.retry.non_retryable):
        if code not in _codes():
            hint = did_you_mean(code, _codes(), known_as="errors")
            problems.add(draft.at("retry", "non_retryable", i), f"there is no error '{code}'{hint}")


@lru_cache(maxsize=1)
def _codes() -> Sequence[str]:
    return sorted(all_errors())


@lru_cache(maxsize=1024)
def _outputs(model: type[Model], each: bool) -> Schema:
    schema = shape(model, "serialization")
    return listed(schema) if each else schema
