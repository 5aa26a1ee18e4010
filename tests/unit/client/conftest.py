"""Progress and requests for the client's unit tests."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from goalkeeper.contracts.goal import OpenRequest, Progress
from goalkeeper.domain.approval import Action, ApprovalRequest, Requester
from goalkeeper.domain.goal import TaskStatus
from goalkeeper.domain.operation import Risk
from goalkeeper.domain.plan import GoalState, TaskState
from goalkeeper.domain.policy import Requirement

_DIGEST = "sha256:" + "0" * 64
_NOW = datetime(2030, 1, 1, tzinfo=UTC)


class Samples:
    """Small models that differ in what a test is about."""

    def progress(self, state: GoalState = GoalState.RUNNING, **changes: Any) -> Progress:
        """A goal's progress; tasks by ``tasks={"a": TaskState.RUNNING}``."""
        tasks = changes.pop("tasks", {})
        return Progress(
            goal_id="g",
            contract="c",
            state=state,
            version=1,
            requester=Requester(id="developer", proven=True),
            tasks=tuple(
                s if isinstance(s, TaskStatus) else TaskStatus(id=t, operation="core.noop", state=s)
                for t, s in tasks.items()
            ),
            **changes,
        )

    def request(self, **changes: Any) -> OpenRequest:
        """An approval request for one merge."""
        action = Action(
            goal_id="g",
            task_id="merge",
            plan_digest=_DIGEST,
            operation="git.merge_branch",
            inputs={"branch": "feature"},
            environment="production",
            risk=Risk.WRITE,
            policy_version=_DIGEST,
        )
        request = ApprovalRequest(
            id="g/approve.0",
            goal_id="g",
            task_id="approve",
            contract="c",
            environment="production",
            requester=Requester(id="developer", proven=True),
            actions=(action,),
            requirement=Requirement(approvals=2, groups=("operators",)),
            created_at=_NOW,
            expires_at=_NOW + timedelta(hours=4),
        )
        return OpenRequest(request=request, digest=request.digest, needed=2, **changes)

    def task(self, name: str, state: TaskState, **changes: Any) -> TaskStatus:
        """One task's status."""
        return TaskStatus(id=name, operation="core.noop", state=state, **changes)


@pytest.fixture
def samples() -> Samples:
    """Makes the models."""
    return Samples()
