"""What a workflow of somebody's own cannot have written or cleared away."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from goalkeeper.domain.audit import AuditEvent, AuditKind
from tests.security.intruder import Intruder

GOAL = "forgery"


def entry(**changes: Any) -> AuditEvent:
    """An entry as the workflow of `GOAL` could write it, but for its run."""
    fields: dict[str, Any] = {
        "id": "some-run/ended",
        "time": datetime.now(UTC),
        "kind": AuditKind.GOAL_ENDED,
        "actor": "workflow",
        "goal_id": GOAL,
    }
    return AuditEvent.model_validate({**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"actor": "gateway"}, "actor"),
        ({"actor": "person:olive", "kind": AuditKind.CONTROL}, "actor"),
        ({"kind": AuditKind.APPROVAL_DECIDED}, "approval.decided"),
        ({"kind": AuditKind.GRANT_SPENT}, "grant.spent"),
        ({"kind": AuditKind.TASK_OUTCOME}, "task.outcome"),
        ({"goal_id": "another-goal"}, "another-goal"),
        ({}, "another run"),
    ],
)
async def test_an_entry_that_is_not_the_workflows_own_is_not_appended(
    intruder: Intruder, changes: dict[str, Any], why: str
) -> None:
    """Not as the gateway or a person, not what only workers know, not for another goal or run."""
    answer = await intruder.record(entry(**changes), workflow_id=GOAL)
    assert answer.startswith("GrantMismatch")
    assert why in answer
    audit = intruder.engine.parts.audit
    assert [e for g in (GOAL, "another-goal") for e in audit.entries(goal_id=g)] == []


async def test_the_leases_of_another_goal_are_not_cleared_away(intruder: Intruder) -> None:
    """They end with their own goal's attempts."""
    ledger = intruder.engine.parts.ledger
    await ledger.lease_opened(
        "accessor",
        role="git-writer",
        goal_id="victim",
        task_id="merge",
        holder="victim.merge.0",
        expires_at=datetime.now(UTC) + timedelta(hours=1),
    )
    answer = await intruder.clean_up("victim", workflow_id=GOAL)
    assert str(answer).startswith("GrantMismatch")
    assert len(await ledger.open_leases(goal_id="victim")) == 1
