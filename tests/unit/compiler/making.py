"""Contracts in few words."""

from collections.abc import Mapping, Sequence
from typing import Any

from goalkeeper.domain.base import Json
from goalkeeper.domain.compiler import compile_contract
from goalkeeper.domain.contract import Contract
from goalkeeper.domain.plan import Plan, PlanTask
from goalkeeper.yamlfile import read
from tests.unit.compiler.operations import OPERATIONS


def note(name: str, *needs: str, **inputs: Any) -> dict[str, Any]:
    """A task that takes a note."""
    return {"id": name, "uses": "note.take", "needs": list(needs), "with": inputs}


def gate(name: str, *covers: str, **more: Any) -> dict[str, Any]:
    """An approval."""
    return {"id": name, "uses": "approval", "covers": list(covers), **more}


def made(
    *tasks: Mapping[str, Any],
    at_last: Sequence[Mapping[str, Any]] = (),
    goal: Mapping[str, Json] | None = None,
    **more: Any,
) -> Plan:
    """The plan of these tasks, those of `finally` after the others."""
    written = {"name": "demo", "tasks": list(tasks), "finally": list(at_last), **more}
    return compile_contract(Contract.model_validate(written), goal or {}, OPERATIONS)


def made_from(text: str, **goal: Json) -> Plan:
    """The plan of a contract file."""
    located = read(text, "demo.yaml")
    return compile_contract(located.validate(Contract), goal, OPERATIONS, located=located)


def task(plan: Plan, name: str) -> PlanTask:
    """One task of a plan."""
    return next(t for t in plan.tasks if t.id == name)
