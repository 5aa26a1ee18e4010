"""Planning: from a goal's input to a frozen, judged plan.

What policy refuses is refused here, before anything has run or anyone was asked.
"""

import re
from collections.abc import Collection
from datetime import UTC, datetime

from activities.caller import Callers
from activities.governor import Governor
from activities.parts import Parts
from activities.replanning import changed, check_changeable
from activities.rerun import earlier
from activities.rerun import reused as reused_of
from activities.undoing import plan_rollback
from goalkeeper.contracts.activities import Asker, GoalOnRecord, PlanInput, ReplanInput
from goalkeeper.contracts.connector import Pinning
from goalkeeper.contracts.goal import ChangedTask, GoalInput, PlannedGoal
from goalkeeper.domain.approval import Action, Requester
from goalkeeper.domain.audit import AuditEvent, AuditKind
from goalkeeper.domain.base import Json
from goalkeeper.domain.compiler import compile_contract
from goalkeeper.domain.dsse import Envelope
from goalkeeper.domain.errors import (
    GrantMismatch,
    InvalidContract,
    InvalidGoal,
    NotFound,
    PolicyDenied,
)
from goalkeeper.domain.goal import TaskStatus
from goalkeeper.domain.plan import APPROVAL, BUILT_IN, GOAL, Plan, PlanTask
from goalkeeper.domain.policy import Effect, Verdict
from goalkeeper.policy import combine

_LARGEST_PLAN = 32 * 1024 * 1024
"""Bytes of a plan as JSON. It lies outside of Temporal's history, and yet each worker that takes
the goal up reads it whole: beyond this, that takes longer than a workflow task may."""


_CHILD_ID = re.compile(r"--[a-z][a-z0-9_]{0,62}(\.[0-9]{1,5})?\.[0-9]+(\.undo)?$")
_ORIGINS = {"parent", "rerun", "rollback"}
_NO_PLAN = "sha256:" + "0" * 64
_BY_ITSELF = Verdict(effect=Effect.ALLOW, reasons=("the workflow does it itself",))
_REUSED = Verdict(effect=Effect.ALLOW, reasons=("an earlier goal's result is reused",))


class Planner:
    """Makes plans and has policy judge them."""

    def __init__(self, parts: Parts, governor: Governor, callers: Callers) -> None:
        self._parts = parts
        self._governor = governor
        self._callers = callers

    async def plan(self, given: PlanInput, *, origin: str) -> PlannedGoal:
        """Compile, pin, judge, and put it on record.

        Raises:
            InvalidGoal: unknown contract, wrong inputs, or nothing to roll back.
            InvalidContract: the contract does not compile.
            PolicyDenied: policy refuses at least one task.
            GrantMismatch: the attestation is not the gateway's, or for something else.
            Conflict: the goal to run again or to roll back still runs, or has changed.
            AuditBroken: a result to be reused is not the one on record.
        """
        goal = given.goal
        _check_kind(goal)
        await self._check_parent(given)
        requester = await self._requester(given)
        plan, reused = await self._made(goal)
        plan = await self._pinned(plan, {s.id for s in reused})
        asker = Asker(
            requester=requester,
            attestation=goal.attestation,
            contract=plan.contract,
            run=origin,
        )
        _check_size(plan)
        verdicts = await self._verdicts(plan, given.goal_id, asker, {s.id for s in reused})
        await self._record(given, origin, plan, requester, verdicts)
        self._refuse(plan, verdicts)
        digest = plan.digest
        await self._parts.ledger.planned(
            given.goal_id,
            GoalOnRecord(
                asker=asker,
                plan_digest=digest,
                environment=plan.environment,
                policy_version=self._parts.policy.version,
            ),
        )
        return PlannedGoal(
            plan=plan,
            requester=requester,
            attestation=goal.attestation if requester.proven else None,
            verdicts=verdicts,
            policy_version=self._parts.policy.version,
            decision_keys=dict(await self._governor.keys()),
            plan_digest=digest,
            window=self._parts.window,
            pools=self._parts.pools,
            reused=reused,
        )

    async def replan(self, given: ReplanInput) -> ChangedTask:
        """A pending task with other inputs.

        Raises:
            InvalidGoal: the operation does not take them, or they cannot be changed.
            PolicyDenied: policy refuses the task with them.
        """
        check_changeable(given.task, given.inputs)
        operation = self._parts.operation(given.task.operation)
        task = await self._pin(changed(given.task, given.inputs, operation))
        verdict = await self._judge(task, given.environment, given.goal_id, given.asker)
        if verdict.effect is Effect.DENY:
            raise PolicyDenied(
                f"policy refuses task '{task.id}' ({task.operation}) with these inputs, so it "
                f"stays as it was: {'; '.join(verdict.reasons)}"
            )
        return ChangedTask(task=task, verdict=verdict)

    async def _made(self, goal: GoalInput) -> tuple[Plan, tuple[TaskStatus, ...]]:
        """The plan, and the results of an earlier goal that it begins with."""
        if goal.rollback is not None:
            return await plan_rollback(self._parts, goal.rollback), ()
        if goal.rerun is not None:
            was = await earlier(goal.rerun.goal_id)
            plan = self._compile(was.input)
            return await reused_of(self._parts, plan, was, goal.rerun.from_task)
        return self._compile(goal), ()

    def _compile(self, goal: GoalInput) -> Plan:
        operations = self._parts.registry.operations
        if goal.definition is not None:
            plan = compile_contract(goal.definition, goal.inputs, operations)
        else:
            found = self._parts.catalogue.find(goal.contract or "")
            plan = compile_contract(found.contract, goal.inputs, operations, located=found.located)
        for task in plan.tasks:
            self._check_child(task)
        return plan

    def _check_child(self, task: PlanTask) -> None:
        """A child goal's contract must be there before anything of its parent has run."""
        if task.operation != GOAL or "/contract" in task.bindings:
            return
        try:
            self._parts.catalogue.find(str(task.inputs.get("contract")))
        except NotFound as error:
            raise InvalidContract(f"task '{task.id}': {error.message}") from None

    async def _check_parent(self, given: PlanInput) -> None:
        """A goal is the child that it says it is; Temporal knows whose it is.

        Raises:
            GrantMismatch: it is another's child, or nobody's.
            InvalidGoal: its id is that of a child, and it is none.
        """
        parent = given.goal.parent
        if parent is None:
            if _CHILD_ID.search(given.goal_id):
                raise InvalidGoal(
                    f"'{given.goal_id}' ends like the id of a child goal, which only a goal's own "
                    "task may start: choose another id"
                )
            return
        family = await self._callers.family()
        # A goal undoes a child by another child, whose id says so.
        own = given.goal_id
        if given.goal.rollback is not None and own == f"{given.goal.rollback}.undo":
            own = given.goal.rollback
        # The root is told to share locks; an ancestor's id begins every id below it.
        below = parent.goal_id == parent.root or parent.goal_id.startswith(f"{parent.root}--")
        mine = re.fullmatch(re.escape(f"{parent.goal_id}--{parent.task_id}.") + "[0-9]+", own)
        told = (parent.goal_id, parent.root)
        if told != (family.parent, family.root) or not mine or not below:
            raise GrantMismatch(
                f"'{given.goal_id}' is said to be a child of '{parent.goal_id}', which Temporal "
                "does not confirm"
            )

    async def _requester(self, given: PlanInput) -> Requester:
        attestation: Envelope | None = given.goal.attestation
        claimed = given.goal.requester or "unknown"
        if attestation is None:
            return Requester(id=claimed)
        submission = await self._governor.submission(attestation)
        requester = Requester(id=submission.person, proven=True)
        if given.goal.parent is not None:
            # The person submitted the goal at the top, whose plan says what its children are.
            asker = Asker(requester=requester, attestation=attestation, contract="", run="")
            return await self._governor.believed(asker, given.goal_id)
        if submission.goal_id != given.goal_id or submission.input_digest != given.goal.digest:
            raise InvalidGoal(
                "the attestation is for another goal or other inputs: submit through "
                "`goalkeeper submit` or the Python client, which have the gateway make one"
            )
        return requester

    async def _pinned(self, plan: Plan, reused: Collection[str]) -> Plan:
        """Replace references that may move by what they mean now."""
        tasks = [t if t.id in reused else await self._pin(t) for t in plan.tasks]
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

    async def _verdicts(
        self, plan: Plan, goal_id: str, asker: Asker, reused: Collection[str]
    ) -> dict[str, Verdict]:
        """One for each task; a gate's is that of what it covers, taken together."""
        verdicts: dict[str, Verdict] = {}
        for task in plan.tasks:
            if task.id in reused:
                verdicts[task.id] = _REUSED
            elif task.operation in BUILT_IN:
                verdicts[task.id] = _BY_ITSELF
            else:
                verdicts[task.id] = await self._judge(task, plan.environment, goal_id, asker)
        for task in plan.tasks:
            if task.operation == APPROVAL and task.id not in reused:
                verdicts[task.id] = combine([verdicts[c] for c in task.covers])
        return verdicts

    async def _judge(self, task: PlanTask, environment: str, goal_id: str, asker: Asker) -> Verdict:
        bound = {pointer.split("/")[1] for pointer in task.bindings}
        action = Action(
            goal_id=goal_id,
            task_id=task.id,
            # Policy does not look at it, and the plan is not whole yet.
            plan_digest=_NO_PLAN,
            operation=task.operation,
            # What is bound is judged again once it is known.
            inputs={k: v for k, v in task.inputs.items() if k not in bound},
            environment=environment,
            risk=task.risk,
            credentials=task.credentials,
            undoes=task.undoes,
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
        given: PlanInput,
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
            **given.goal.model_dump(mode="json", include=_ORIGINS, exclude_none=True),
        }
        await self._parts.audit.append(
            AuditEvent(
                id=f"{origin}/planned",
                time=datetime.now(UTC),
                kind=AuditKind.GOAL_REFUSED if denied else AuditKind.GOAL_PLANNED,
                actor=("person:" if requester.proven else "claimed:") + requester.id[:150],
                goal_id=given.goal_id,
                detail=detail,
            )
        )


def _check_kind(goal: GoalInput) -> None:
    asked = (goal.contract, goal.definition, goal.rerun, goal.rollback)
    if sum(a is not None for a in asked) != 1:
        raise InvalidGoal(
            "a goal names exactly one of 'contract', 'definition', 'rerun' and 'rollback'"
        )
    if goal.contract is None and goal.definition is None and goal.inputs:
        raise InvalidGoal("a rerun or rollback takes no inputs: they are those of the first time")


def _check_size(plan: Plan) -> None:
    """Beyond the bound the workflow would not get on, and nobody would say why."""
    size = len(plan.model_dump_json())
    if size > _LARGEST_PLAN:
        raise InvalidGoal(
            f"the plan is too large: {len(plan.tasks)} tasks make {size // 2**20} MiB, and at most "
            f"{_LARGEST_PLAN // 2**20} MiB can be worked with. Split it into several goals."
        )
