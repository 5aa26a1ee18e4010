"""Links: what each draft needs, found by name and by expression, and what a gate may cover.

It joins drafts into a graph; it reads no inputs' values and makes no plan.
"""

from collections.abc import Mapping, Sequence

from goalkeeper.domain.contract import CHILD, WAIT, Contract
from goalkeeper.domain.drafts import Draft
from goalkeeper.domain.expressions import Reference, Root, Template
from goalkeeper.domain.graph import ancestors, find_circle, topological_order
from goalkeeper.domain.problems import Problems, did_you_mean
from goalkeeper.domain.shapes import Path, Schema, alternatives_at
from goalkeeper.domain.taskinputs import check_reference, check_type, types_given, words_of

_TEXT: Schema = {"type": "string"}
_FAILURE: Schema = {
    "anyOf": [
        {"type": "object", "properties": {"code": _TEXT, "message": _TEXT}}
        | {"additionalProperties": False},
        {"type": "null"},
    ]
}
_KNOWN: Mapping[tuple[Root, str], Schema] = {
    (Root.EACH, "index"): {"type": "integer"},
    (Root.GOAL, "id"): _TEXT,
    (Root.GOAL, "state"): _TEXT,
    (Root.GOAL, "failure"): _FAILURE,
}
_UNCOVERED: Mapping[str, str] = {
    CHILD: "is a goal of its own and asks for itself, so it cannot be covered",
    WAIT: "is a wait, which needs no approval",
}


class Links:
    """The drafts of one contract, and the graph that they make.

    Args:
        contract: where they come from.
        drafts: all of them, in order.
        problems: takes what is wrong.
    """

    def __init__(self, contract: Contract, drafts: Sequence[Draft], problems: Problems) -> None:
        self._contract = contract
        self._drafts = drafts
        self._problems = problems
        self._index = self._indexed()

    def order(self) -> list[int]:
        """Link everything: the drafts' numbers, needs first, those of `finally` last.

        What is wrong goes to the problems; then the order is of no use.
        """
        for draft in self._drafts:
            if self._problems.full:
                break
            self._link(draft)
        self._cover()
        if self._problems:
            return []
        needs = [sorted(d.needs) for d in self._drafts]
        order = topological_order(needs)
        if len(order) < len(needs):
            self._tell_circle(find_circle(needs, order))
        else:
            self._check_gates(needs, order)
        # Ties go by number, so as long as an ordinary task is left, one of those comes next.
        return order

    def check_input_names(self, template: Template, at: Path) -> None:
        """Refuse inputs that the contract does not declare."""
        for name in template.inputs:
            if name not in self._contract.inputs:
                hint = did_you_mean(name, self._contract.inputs, known_as="inputs")
                self._problems.add(at, f"the contract declares no input '{name}'{hint}")

    def check_inputs_alone(self, template: Template | None, at: Path, what: str) -> None:
        """Refuse anything but inputs where the plan itself depends on the value."""
        if template is None:
            return
        self.check_input_names(template, at)
        for reference in template.references[:1]:
            self._problems.add(
                at, f"{what} is part of the plan, so it may use inputs and not '{reference}'"
            )

    def _indexed(self) -> dict[str, int]:
        index: dict[str, int] = {}
        for draft in self._drafts:
            name = draft.spec.id
            if index.setdefault(name, draft.number) != draft.number:
                self._problems.add(draft.at("id"), f"the task id '{name}' is taken; choose another")
        return index

    def _link(self, draft: Draft) -> None:
        for word in ("needs", "show"):
            for k, other in enumerate(getattr(draft.spec, word)):
                source = self._source(other, draft, draft.at(word, k))
                if source is not None:
                    self._need(draft, source, draft.at(word, k), word)
        if draft.when is not None:
            at = draft.at("when")
            self._read(draft, draft.when, at)
            self._refuse_each(draft.when, at, "whether a task runs is decided once, for all items")
        self._link_items(draft)
        self.check_inputs_alone(draft.lock, draft.at("lock", "name"), "the name of a lock")
        for path, template in draft.templates.items():
            at = draft.at("with", *path)
            if draft.spec.uses == CHILD and path == ("contract",):
                self.check_inputs_alone(template, at, "the contract of a child goal")
                continue
            given = self._read(draft, template, at)
            if draft.operation is not None:
                check_type(given, draft.operation, self._problems, at, path)

    def _link_items(self, draft: Draft) -> None:
        for path, template in draft.items.items():
            at = draft.at("for_each", *path)
            if path:
                self.check_inputs_alone(template, at, "a list that is written out")
                continue
            given = self._read(draft, template, at)
            self._refuse_each(template, at, "an item is known only once the list is")
            if given is not None and "array" not in given:
                self._problems.add(at, f"`for_each` takes a list, and this is {words_of(given)}")

    def _refuse_each(self, template: Template, at: Path, why: str) -> None:
        if any(r.root is Root.EACH for r in template.references):
            self._problems.add(
                at, f"{why}; to leave items out, filter the list: ${{{{ tasks.ID.LIST[?FIELD] }}}}"
            )

    def _read(self, draft: Draft, template: Template, at: Path) -> frozenset[str] | None:
        """Check what an expression names, make needs of it, and say which types it may yield."""
        self.check_input_names(template, at)
        schema: Schema | None = None
        for reference in template.references:
            schema = self._schema(draft, reference, at)
            if schema is not None:
                source = self._index.get(reference.task or "")
                called = str(reference.root) if source is None else self._drafts[source].called
                check_reference(reference, schema, called, self._problems, at)
        whole = template.whole
        if whole is not None and schema is not None and not alternatives_at(schema, whole.path):
            return None
        return types_given(template, schema)

    def _schema(self, draft: Draft, reference: Reference, at: Path) -> Schema | None:
        """What stands at a reference's root and name; None for anything, or if it is wrong."""
        if reference.task is not None:
            source = self._source(reference.task, draft, at)
            if source is None:
                return None
            self._need(draft, source, at, "expression")
            if reference.root is Root.STATES:
                return _TEXT
            if source.spec.is_gate:
                self._problems.add(at, f"'{reference.task}' is an approval and has no outputs")
            return source.outputs
        if reference.root is Root.EACH and draft.spec.for_each is None:
            self._problems.add(at, f"'{reference}' stands for an item of `for_each:`; add that")
        if reference.root is Root.GOAL and not draft.always:
            self._problems.add(
                at, f"'{reference}' is known once all is over, so in tasks of `finally:` alone"
            )
        return _KNOWN.get((reference.root, reference.name))

    def _source(self, task: str, draft: Draft, at: Path) -> Draft | None:
        if task not in self._index:
            if not self._problems.full:
                hint = did_you_mean(task, self._index, known_as="tasks")
                self._problems.add(at, f"there is no task '{task}'{hint}")
            return None
        source = self._drafts[self._index[task]]
        if source.always and not draft.always:
            self._problems.add(
                at,
                f"'{task}' runs in `finally:`, once '{draft.spec.id}' is over; nothing before "
                "it can wait for it",
            )
            return None
        return source

    def _need(self, draft: Draft, source: Draft, at: Path, how: str) -> None:
        if source.always == draft.always:
            draft.needs.add(source.number)
        elif how == "needs":
            self._problems.add(
                at,
                f"'{source.spec.id}' is over before any task of `finally:` runs; remove it, or "
                f"ask for its state: `when: ${{{{ states.{source.spec.id} == 'Failed' }}}}`",
            )

    def _cover(self) -> None:
        """Make what a gate covers wait for it."""
        covered: dict[str, str] = {}
        for gate in self._drafts:
            for k, other in enumerate(gate.spec.covers):
                at = gate.at("covers", k)
                target = self._source(other, gate, at)
                if target is None:
                    continue
                if target.spec.is_gate:
                    self._problems.add(at, f"'{other}' is an approval itself and cannot be covered")
                elif target.spec.uses in _UNCOVERED:
                    self._problems.add(at, f"'{other}' {_UNCOVERED[target.spec.uses]}")
                elif other in covered:
                    self._problems.add(at, f"'{other}' is covered by '{covered[other]}' already")
                else:
                    covered[other] = gate.spec.id
                    target.needs.add(gate.number)

    def _tell_circle(self, circle: Sequence[int]) -> None:
        names = [self._drafts[i].spec.id for i in circle]
        shown = names if len(names) <= 12 else [*names[:6], "…", *names[-5:]]
        gates = [self._drafts[i].spec.id for i in circle if self._drafts[i].spec.is_gate]
        why = f" (what '{gates[0]}' covers waits for it)" if gates else ""
        self._problems.add(
            self._drafts[circle[0]].at("id"),
            f"tasks wait for each other in a circle: {' → '.join([*shown, names[0]])}{why}",
        )

    def _check_gates(self, needs: Sequence[Sequence[int]], order: Sequence[int]) -> None:
        """What people approve must be known when they are asked."""
        gates = [d for d in self._drafts if d.spec.is_gate]
        before = ancestors(needs, order) if gates else []
        for gate in gates:
            for target in (self._drafts[self._index[c]] for c in gate.spec.covers):
                self._check_known(gate, target, before[gate.number])

    def _check_known(self, gate: Draft, target: Draft, before: int) -> None:
        name, asks = target.spec.id, gate.spec.id
        for at, template in target.expressions():
            for reference in template.references:
                task = reference.task
                if task is None or before >> self._index[task] & 1:
                    continue
                what = "list" if at[len(target.base)] == "for_each" else "inputs"
                self._problems.add(
                    at,
                    f"'{name}' is approved at '{asks}', so its {what} must be known then, and "
                    f"'{task}' need not have run; let '{asks}' need '{task}', or refer to a task "
                    "that runs before it",
                )
