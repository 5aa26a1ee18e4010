"""Planning: from a goal's input to a frozen, judged plan.

What policy refuses is refused here, before anything has run or anyone was asked.
"""

from datetime import UTC, datetime

from activities.governor import Governor
from activities.parts import Parts
from goalkeeper.contracts.activities import Asker, PlanInput
from goalkeeper.contracts.connector import Pinning
from goalkeeper.contracts.goal import GoalInput, PlannedGoal
from goalkeeper.domain.approval import Action, Requester
from goalkeeper.domain.audit import AuditEvent, AuditKind
from goalkeeper.domain.base import Json
from goalkeeper.domain.compiler import compile_contract
from goalkeeper.domain.dsse import Envelope
from goalkeeper.domain.errors import InvalidGoal, PolicyDenied
from goalkeeper.domain.plan import APPROVAL, Plan, PlanTask
from goalkeeper.domain.policy import Effect, Verdict
from goalkeeper.policy import combine

_LARGEST_PLAN = 1400 * 1024
"""Bytes of a plan as JSON: with its verdicts it must stay below Temporal's 2 MB a payload."""


class Planner:
    """Makes plans and has policy judge them."""

    def __init__(self, parts: Parts, governor: Governor) -> None:
        self._parts = parts
        self._governor = governor

    async def plan(self, given: PlanInput, *, origin: str) -> PlannedGoal:
        """Compile, pin, judge, and put it on record.

        Raises:
            InvalidGoal: unknown contract or wrong inputs.
            InvalidContract: the contract does not compile.
            PolicyDenied: policy refuses at least one task.
            GrantMismatch: the attestation is not the gateway's, or for something else.
        """
        goal = given.goal
        requester = await self._requester(given)
        plan = await self._pinned(self._compile(goal))
        asker = Asker(
            requester=requester,
            attestation=goal.attestation,
            contract=plan.contract,
            run=origin,
        )
        _check_size(plan)
        verdicts = await self._verdicts(plan, given.goal_id, asker)
        await self._record(given.goal_id, origin, plan, requester, verdicts)
        self._refuse(plan, verdicts)
        return PlannedGoal(
            plan=plan,
            requester=requester,
            attestation=goal.attestation if requester.proven else None,
            verdicts=verdicts,
            policy_version=self._parts.policy.version,
            decision_keys=dict(await self._governor.keys()),
            window=self._parts.window,
        )

    def _compile(self, goal: GoalInput) -> Plan:
        operations = self._parts.registry.operations
        if goal.definition is not None:
            return compile_contract(goal.definition, goal.inputs, operations)
        found = self._parts.catalogue.find(goal.contract or "")
        return compile_contract(found.contract, goal.inputs, operations, located=found.located)

    async def _requester(self, given: PlanInput) -> Requester:
        attestation: Envelope | None = given.goal.attestation
        claimed = given.goal.requester or "unknown"
        if attestation is None:
            return Requester(id=claimed)
        submission = await self._governor.submission(attestation)
        if submission.goal_id != given.goal_id or submission.input_digest != given.goal.digest:
            raise InvalidGoal(
                "the attestation is for another goal or other inputs: submit through "
                "`goalkeeper submit` or the Python client, which have the gateway make one"
            )
        return Requester(id=submission.person, proven=True)

    async def _pinned(self, plan: Plan) -> Plan:
        """Replace references that may move by what they mean now."""
        tasks = [await self._pin(t) for t in plan.tasks]
        return plan.model_copy(update={"tasks": tuple(tasks)})

    async def _pin(self, task: PlanTask) -> PlanTask:
        operation = self._parts.registry.operations.get(task.operation)
        if operation is None or not operation.pins:
            return task
        connector = self._parts.registry.connector_for(task.operation)
        if not isinstance(connector, Pinning):
            return task
        pinned = {
            name: await connector.pin(kind, task.inputs.get(name))
            for name, kind in operation.pins.items()
            if f"/{name}" not in task.bindings
        }
        return task.model_copy(update={"inputs": {**task.inputs, **pinned}})

    async def _verdicts(self, plan: Plan, goal_id: str, asker: Asker) -> dict[str, Verdict]:
        """One for each task; a gate's is that of what it covers, taken together."""
        operations = [t for t in plan.tasks if t.operation != APPROVAL]
        judged = {t.id: await self._judge(plan, t, goal_id, asker) for t in operations}
        return {
            t.id: judged[t.id] if t.id in judged else combine([judged[c] for c in t.covers])
            for t in plan.tasks
        }

    async def _judge(self, plan: Plan, task: PlanTask, goal_id: str, asker: Asker) -> Verdict:
        bound = {pointer.split("/")[1] for pointer in task.bindings}
        action = Action(
            goal_id=goal_id,
            task_id=task.id,
            plan_digest=plan.contract_digest,
            operation=task.operation,
            # What is bound is judged again once it is known.
            inputs={k: v for k, v in task.inputs.items() if k not in bound},
            environment=plan.environment,
            risk=task.risk,
            credentials=task.credentials,
            policy_version=self._parts.policy.version,
        )
        return await self._governor.judge(action, asker)

    def _refuse(self, plan: Plan, verdicts: dict[str, Verdict]) -> None:
        refused = [t for t in plan.tasks if verdicts[t.id].effect is Effect.DENY]
        if refused:
            why = "; ".join(
                f"task '{t.id}' ({t.operation}): {', '.join(verdicts[t.id].reasons)}"
                for t in refused[:10]
            )
            raise PolicyDenied(f"policy refuses this goal, so nothing of it has run: {why}")

    async def _record(
        self,
        goal_id: str,
        origin: str,
        plan: Plan,
        requester: Requester,
        verdicts: dict[str, Verdict],
    ) -> None:
        denied = any(v.effect is Effect.DENY for v in verdicts.values())
        detail: dict[str, Json] = {
            "contract": plan.contract,
            "contract_digest": plan.contract_digest,
            "plan_digest": plan.digest,
            "environment": plan.environment,
            "requester": requester.model_dump(mode="json"),
            "policy_version": self._parts.policy.version,
            "asks": [t for t, v in verdicts.items() if v.effect is Effect.ASK],
        }
        await self._parts.audit.append(
            AuditEvent(
                id=f"{origin}/planned",
                time=datetime.now(UTC),
                kind=AuditKind.GOAL_REFUSED if denied else AuditKind.GOAL_PLANNED,
                actor=("person:" if requester.proven else "claimed:") + requester.id[:150],
                goal_id=goal_id,
                detail=detail,
            )
        )


def _check_size(plan: Plan) -> None:
    """Temporal refuses payloads over 2 MB, and would say so in words of its own."""
    size = len(plan.model_dump_json())
    if size > _LARGEST_PLAN:
        raise InvalidGoal(
            f"the plan is too large: {len(plan.tasks)} tasks make {size // 1024} KiB, and at most "
            f"{_LARGEST_PLAN // 1024} KiB fit into Temporal's history. Split it into several goals."
        )
