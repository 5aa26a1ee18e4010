"""An action, a request and a decision about it, all of fixed content."""

from datetime import UTC, datetime, timedelta
from typing import Any

from goalkeeper.domain.approval import (
    DECISION_TYPE,
    Action,
    Answer,
    ApprovalRequest,
    Decision,
    Requester,
)
from goalkeeper.domain.dsse import Envelope, seal
from goalkeeper.domain.operation import Risk
from goalkeeper.domain.policy import Requirement
from tests.support.fakes import LocalSigner

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
GATEWAY = LocalSigner()


def an_action(**changes: Any) -> Action:
    """A merge."""
    fields: dict[str, Any] = {
        "goal_id": "ship-1",
        "task_id": "merge",
        "plan_digest": "sha256:" + "a" * 64,
        "operation": "git.merge_branch",
        "inputs": {"branch": "feature/größe", "commit": "c" * 40, "n": 1},
        "environment": "production",
        "risk": Risk.WRITE,
        "credentials": {"token": "git-writer"},
        "compensation": "git.revert_merge",
        "policy_version": "sha256:" + "b" * 64,
    }
    return Action.model_validate({**fields, **changes})


def approval(**changes: Any) -> ApprovalRequest:
    """One operator is asked by Dana, who is proven."""
    fields: dict[str, Any] = {
        "id": "ship-1/ok.0",
        "goal_id": "ship-1",
        "task_id": "ok",
        "contract": "deploy-branch",
        "environment": "production",
        "requester": Requester(id="dana", proven=True),
        "actions": (an_action(),),
        "requirement": Requirement(groups=("operators",)),
        "created_at": NOW,
        "expires_at": NOW + timedelta(hours=4),
    }
    return ApprovalRequest.model_validate({**fields, **changes})


async def decided(
    request: ApprovalRequest,
    *,
    signer: LocalSigner = GATEWAY,
    payload_type: str = DECISION_TYPE,
    **changes: Any,
) -> Envelope:
    """Olive says yes, a minute after she was asked."""
    fields: dict[str, Any] = {
        "id": "decision-1",
        "request_id": request.id,
        "request_digest": request.digest,
        "goal_id": request.goal_id,
        "answer": Answer.APPROVE,
        "person": "olive",
        "groups": ("operators",),
        "channel": "cli",
        "decided_at": NOW + timedelta(minutes=1),
    }
    return await seal(Decision.model_validate({**fields, **changes}), payload_type, signer)
