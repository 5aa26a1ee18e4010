"""What must hold of every goal that lived through a kill, whatever was killed.

It only looks.
"""

from dataclasses import dataclass

import docker

from connectors.git import KEY_TRAILER
from deploy.demo.hosting import DemoHost
from deploy.demo.repository import MAIN
from goalkeeper.audit import AuditLog
from goalkeeper.client import Goal
from goalkeeper.domain.audit import AuditKind
from goalkeeper.domain.goal import GoalResult
from goalkeeper.domain.plan import GoalState
from goalkeeper.ledger import Ledger
from goalkeeper.settings import Settings
from sandbox.spec import LABEL_GOAL
from tests.chaos.victims import Victims
from tests.chaos.witnesses import Receiver, Starts
from tests.support.live import ended, recorded


@dataclass(frozen=True)
class Chaos:
    """A stack to kill, its surroundings, and the witnesses."""

    settings: Settings
    host: DemoHost
    victims: Victims
    receiver: Receiver
    starts: Starts
    engine: docker.APIClient

    async def sound(self, goal: Goal) -> GoalResult:
        """The goal succeeded, merged and told once, and left nothing open."""
        result = await ended(goal)
        assert result.state is GoalState.SUCCEEDED, result.failure
        assert self.merges(goal.id) == 1
        assert len(self.receiver.of(goal.id)) == 1
        assert self.containers(goal.id) == [], "a sandbox was left behind"
        assert AuditLog.open(self.settings.audit_file, readonly=True).verify().size > 0
        assert await self.leases(goal.id) == []
        return result

    async def leases(self, goal_id: str) -> list[str]:
        """Tasks of a goal that still have a credential, as far as the ledger knows."""
        ledger = Ledger.open(self.settings.ledger_file)
        try:
            return [lease.task_id for lease in await ledger.open_leases(goal_id=goal_id)]
        finally:
            await ledger.aclose()

    def merges(self, goal_id: str) -> int:
        """Commits on main that a goal made, counted in the repository itself."""
        return int(
            self.host.repository.git(
                *("rev-list", "--count", "--first-parent", "--fixed-strings"),
                *(f"--grep={KEY_TRAILER}: {goal_id}", MAIN),
            )
        )

    def containers(self, goal_id: str) -> list[str]:
        """Ids of a goal's sandboxes, running or kept."""
        label = f"{LABEL_GOAL}={goal_id}"
        return [c["Id"] for c in self.engine.containers(all=True, filters={"label": label})]

    def decided_once(self, goal_id: str, actions: int) -> None:
        """One decision is on record, and each approved action has used its grant once."""
        assert len(recorded(self.settings, goal_id, AuditKind.APPROVAL_DECIDED)) == 1
        assert len(recorded(self.settings, goal_id, AuditKind.GRANT_SPENT)) == actions
        assert recorded(self.settings, goal_id, AuditKind.APPROVAL_REFUSED) == []
