"""Changing a pending task, and saying what became of a lost attempt: whose word counts."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from goalkeeper.contracts import activities as names
from goalkeeper.contracts.activities import ExecuteResult, ReplanInput, ResolveInput
from goalkeeper.contracts.goal import ChangedTask, GoalInput, PlannedGoal
from goalkeeper.domain.approval import (
    DECISION_TYPE,
    Action,
    Answer,
    ApprovalRequest,
    Decision,
    Grant,
    Question,
)
from goalkeeper.domain.audit import AuditKind
from goalkeeper.domain.dsse import seal
from goalkeeper.domain.evidence import Evidence
from goalkeeper.domain.plan import PlanTask
from goalkeeper.domain.policy import Requirement
from goalkeeper.ledger import EffectState
from tests.integration.activities.standing_in import Desk, StandIn, action_of, asker_of
from tests.support.engine import plan_of
from tests.support.fakes import LocalSigner

KEPT = Evidence(digest="sha256:" + "e" * 64, size=3, media_type="text/plain", name="output.log")


def goal(environment: str = "development") -> GoalInput:
    """A read, a write that takes what it read, and a wait."""
    return GoalInput(
        definition=plan_of(
            {"id": "read", "uses": "fake.read"},
            {"id": "act", "uses": "fake.write", "with": {"value": "${{ tasks.read.value }}"}},
            {"id": "pause", "uses": "wait", "with": {"for": "PT1S"}},
            environment=environment,
        )
    )


def changing(task_id: str, inputs: dict[str, Any], **changes: Any) -> Any:
    """Plan, then have one task changed."""

    async def script(self: StandIn, goal: GoalInput) -> Any:
        planned = await self.plan(goal)
        task = next(t for t in planned.plan.tasks if t.id == task_id)
        fields: dict[str, Any] = {
            "asker": asker_of(planned),
            "goal_id": action_of(planned, task).goal_id,
            "environment": planned.plan.environment,
            "task": task,
            "inputs": inputs,
        }
        given = ReplanInput.model_validate({**fields, **changes})
        return (await self.act(names.REPLAN, given, ChangedTask)).model_dump(mode="json")

    return script


async def test_other_inputs_take_the_place_of_expressions(desk: Desk) -> None:
    """They are judged like planned ones: what was let go may now be asked about."""
    changed = await desk.run(goal(), desk.new(), changing("act", {"value": 7}))
    assert changed["task"]["inputs"]["value"] == 7
    assert changed["task"]["bindings"] == {}
    assert changed["verdict"]["effect"] == "allow"
    changed = await desk.run(goal("production"), desk.new(), changing("act", {"value": 7}))
    assert changed["verdict"]["effect"] == "ask"


@pytest.mark.parametrize(
    ("task", "inputs", "why"),
    [
        ("act", {"valeu": 1}, "InvalidGoal: task 'act' (fake.write) has no input 'valeu'"),
        ("act", {"do": "dance"}, "InvalidGoal: task 'act' (fake.write): do"),
        ("act", {"environment": "production"}, "PolicyDenied: policy refuses task 'act'"),
        ("pause", {"for": "PT2S"}, "InvalidGoal: task 'pause' is carried out by the workflow"),
    ],
    ids=["name", "value", "environment", "wait"],
)
async def test_what_cannot_be_is_refused(
    desk: Desk, task: str, inputs: dict[str, Any], why: str
) -> None:
    """The task stays as it was."""
    assert (await desk.run(goal(), desk.new(), changing(task, inputs))).startswith(why)


@pytest.mark.parametrize("other", ["goal", "run"])
async def test_another_goal_s_task_is_not_changed(desk: Desk, other: str) -> None:
    """A workflow asks for itself."""

    async def script(self: StandIn, goal: GoalInput) -> Any:
        planned = await self.plan(goal)
        asker = asker_of(planned)
        task = planned.plan.tasks[0]
        given = ReplanInput(
            asker=asker.model_copy(update={"run": "another"}) if other == "run" else asker,
            goal_id="another" if other == "goal" else action_of(planned, task).goal_id,
            environment="development",
            task=task,
            inputs={"value": 1},
        )
        return await self.act(names.REPLAN, given, ChangedTask)

    assert (await desk.run(goal(), desk.new(), script)).startswith("GrantMismatch: ")


class Lost:
    """A goal whose attempt at an operation that is not idempotent was lost."""

    def __init__(self, desk: Desk, environment: str = "development") -> None:
        self.desk = desk
        self.id = desk.new()
        self.goal = GoalInput(
            definition=plan_of(
                {"id": "act", "uses": "fake.once", "with": {"value": self.id}},
                environment=environment,
            )
        )
        self.signer = desk.vault.signer
        self.request: dict[str, Any] = {}
        self.decision: dict[str, Any] = {}
        self.action: dict[str, Any] = {}
        self.run = ""

    async def answered(self, answer: Answer) -> Any:
        """What the activity says when people answer so."""

        async def script(self_: StandIn, goal: GoalInput) -> Any:
            planned = await self_.plan(goal)
            task = planned.plan.tasks[0]
            # As an attempt that is never heard of again.
            action = action_of(planned, task)
            given = ResolveInput(
                action=action.model_copy(update=self.action),
                asker=asker_of(planned).model_copy(update={"run": self.run} if self.run else {}),
                grant=await self.grant(planned, task, action, answer),
            )
            self.key = f"{self.id}.{asker_of(planned).run[-12:]}.act.0"
            return (await self_.act(names.RESOLVE, given, ExecuteResult)).model_dump(mode="json")

        return await self.desk.run(self.goal, self.id, script)

    async def grant(
        self, planned: PlannedGoal, task: PlanTask, action: Action, answer: Answer
    ) -> Grant:
        """The request, as the workflow makes it, and Olive's answer."""
        now = datetime.now(UTC)
        fields: dict[str, Any] = {
            "id": f"{self.id}/act.0.outcome",
            "question": Question.OUTCOME,
            "goal_id": self.id,
            "task_id": "act",
            "contract": "test",
            "environment": planned.plan.environment,
            "requester": planned.requester,
            "actions": (action,),
            "requirement": Requirement(groups=("operators",), reason_required=True),
            "evidence": (KEPT,),
            "created_at": now,
            "expires_at": now + timedelta(hours=1),
        }
        request = ApprovalRequest.model_validate({**fields, **self.request})
        envelopes = []
        for person in ("olive", "oscar"):
            said: dict[str, Any] = {
                "id": f"decision-{uuid.uuid4().hex}",
                "request_id": request.id,
                "request_digest": request.digest,
                "goal_id": self.id,
                "answer": answer,
                "person": person,
                "groups": ("operators",),
                "reason": "I looked",
                "channel": "cli",
                "decided_at": now,
                **self.decision,
            }
            decision = Decision.model_validate(said)
            envelopes.append(await seal(decision, DECISION_TYPE, self.signer))
        return Grant(request=request, decisions=tuple(envelopes))

    @property
    def kinds(self) -> list[str]:
        """What is on record."""
        return [e.event.kind.value for e in self.desk.parts.audit.entries(goal_id=self.id)]


async def test_what_happened_is_done_and_cannot_be_undone(desk: Desk) -> None:
    """Without outputs, with the evidence that people saw, on record with their answer."""
    lost = Lost(desk)
    result = await lost.answered(Answer.HAPPENED)
    assert result["outputs"] is None
    assert not result["compensable"]
    assert result["evidence"] == [KEPT.model_dump(mode="json")]
    (effect,) = await desk.parts.ledger.effects(lost.id)
    assert (effect.state, effect.compensation) == (EffectState.DONE, None)
    (entry,) = desk.parts.audit.entries(goal_id=lost.id, kind=AuditKind.TASK_RESOLVED)
    assert entry.event.detail["answer"] == "happened"


async def test_what_did_not_happen_is_forgotten(desk: Desk) -> None:
    """So that it may run as a new action."""
    lost = Lost(desk)
    assert (await lost.answered(Answer.DID_NOT_HAPPEN))["outputs"] is None
    assert await desk.parts.ledger.effects(lost.id) == []
    assert lost.kinds[-1] == "task.resolved"


@pytest.mark.parametrize(
    "wrong",
    ["forged", "an approval", "another action", "another run", "too few", "weaker"],
)
async def test_nobody_else_says_what_became_of_it(desk: Desk, wrong: str) -> None:
    """Only people whom policy would ask, about this very action, signed by the gateway."""
    lost, answer = Lost(desk, "production" if wrong == "weaker" else "development"), Answer.HAPPENED
    if wrong == "forged":
        lost.signer = LocalSigner()
    elif wrong == "an approval":
        lost.request, answer = {"question": Question.RUN}, Answer.APPROVE
    elif wrong == "another action":
        lost.action = {"inputs": {"value": 2}}
    elif wrong == "another run":
        lost.run = "another"
    elif wrong == "too few":
        lost.decision = {"person": "olive"}
    else:
        lost.request = {"requirement": Requirement()}
    refused = await lost.answered(answer)
    assert refused.startswith("GrantMismatch: ")
    assert await desk.parts.ledger.effects(lost.id) == []
    assert lost.kinds[-1] == "task.refused"
