"""Undoing needs no new approval, so it must be bound to what was really done."""

from dataclasses import replace
from typing import Any

import pytest

from goalkeeper.contracts.connector import work_key
from tests.security.intruder import Case, Intruder


async def done(intruder: Intruder) -> tuple[Case, str]:
    """An approved write that has run, and the id of the run that did it."""
    case = await intruder.case("fake.write")
    assert (await intruder.execute(case))["compensable"]
    entries = intruder.engine.parts.audit.entries(goal_id=case.action.goal_id)
    return case, next(e.event.id.split("/")[0] for e in entries)


def undone(intruder: Intruder, case: Case) -> bool:
    """Whether anything was undone, or begun to be."""
    ids = [e.event.id for e in intruder.engine.parts.audit.entries(goal_id=case.action.goal_id)]
    return any(".undo." in i and i.endswith("/intent") for i in ids)


async def test_what_was_never_done_cannot_be_undone(intruder: Intruder) -> None:
    """The inputs of what undoes it are in the ledger, and there are none."""
    case = await intruder.case("fake.write")
    before = len(intruder.engine.fake.done)
    assert (await intruder.compensate(case))["outputs"] is None
    assert len(intruder.engine.fake.done) == before
    assert not undone(intruder, case)


async def test_a_workflow_of_one_s_own_cannot_undo_what_another_run_did(
    intruder: Intruder,
) -> None:
    """A goal that succeeded stays as it is, whoever knows its id and its first run."""
    case, run = await done(intruder)
    claimed = replace(case, asker=case.asker.model_copy(update={"run": run}))
    answer = await intruder.compensate(claimed)
    assert answer.startswith("GrantMismatch: ")
    assert intruder.engine.kinds(case.action.goal_id)[-1] == "task.refused"
    assert not undone(intruder, case)


@pytest.mark.parametrize(
    "changes",
    [
        {"credentials": {"token": "root"}},
        {"inputs": {"value": 666}},
        {"environment": "development"},
        {"operation": "fake.destroy"},
    ],
    ids=lambda c: next(iter(c)),
)
async def test_an_undo_of_something_else_than_was_done_is_refused_and_on_record(
    intruder: Intruder, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even the goal's own run may lend other credentials to it."""
    case, run = await done(intruder)
    parts = intruder.engine.parts
    effect = await parts.ledger.effect(work_key(case.action.goal_id, run, "act", 0))
    assert effect is not None

    async def found(_: str) -> Any:
        return effect

    # As the run that did it would find it: what is under test is the check after that.
    monkeypatch.setattr(parts.ledger, "effect", found)
    forged = replace(case, action=case.action.model_copy(update=changes))
    answer = await intruder.compensate(forged)
    assert answer.startswith("GrantMismatch: ")
    assert "is not what is to be undone" in answer
    assert intruder.engine.kinds(case.action.goal_id)[-1] == "task.refused"
    assert not undone(intruder, case)
