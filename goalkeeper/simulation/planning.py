"""Planning for simulations: the real compiler and the real policy, without a store or a gateway.

It compiles and judges; it pins nothing and knows no earlier goals.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from goalkeeper.catalogue import Catalogue
from goalkeeper.contracts.activities import Asker, PlanInput
from goalkeeper.contracts.goal import GoalInput, PlannedGoal
from goalkeeper.domain.approval import Action, Requester
from goalkeeper.domain.compiler import compile_contract
from goalkeeper.domain.errors import InvalidGoal, PolicyDenied
from goalkeeper.domain.operation import Operation
from goalkeeper.domain.plan import APPROVAL, BUILT_IN, Plan, PlanTask
from goalkeeper.domain.policy import Effect, Verdict
from goalkeeper.policy import PolicyEngine, Question, combine
from goalkeeper.simulation.people import Gateway


@dataclass(frozen=True)
class RealPlanning:
    """Plans as this installation would make them for one person."""

    operations: Mapping[str, Operation]
    catalogue: Catalogue
    policy: PolicyEngine
    requester: Requester
    groups: tuple[str, ...] = ()
    window: int = 200

    def plan(self, given: PlanInput, gateway: Gateway) -> PlannedGoal:
        """Compile and judge.

        Raises:
            InvalidGoal, InvalidContract, NotFound: it does not compile.
            PolicyDenied: policy refuses a task.
        """
        plan = self.compile(given.goal)
        verdicts = self.verdicts(plan, given.goal_id)
        refused = [t for t, v in verdicts.items() if v.effect is Effect.DENY]
        if refused:
            why = "; ".join(f"task '{t}': {', '.join(verdicts[t].reasons)}" for t in refused[:10])
            raise PolicyDenied(f"policy refuses this goal, so nothing of it has run: {why}")
        return PlannedGoal(
            plan=plan,
            requester=self.requester,
            verdicts=verdicts,
            policy_version=self.policy.version,
            plan_digest=plan.digest,
            decision_keys=gateway.keys,
            window=self.window,
        )

    def compile(self, goal: GoalInput) -> Plan:
        """The plan of a goal.

        Raises:
            InvalidGoal, InvalidContract, NotFound: there is none.
        """
        if goal.definition is not None:
            return compile_contract(goal.definition, goal.inputs, self.operations)
        if goal.contract is None:
            raise InvalidGoal("a simulation has no earlier goals to run again or to undo")
        found = self.catalogue.find(goal.contract)
        return compile_contract(found.contract, goal.inputs, self.operations, located=found.located)

    def verdicts(self, plan: Plan, goal_id: str) -> dict[str, Verdict]:
        """One for each task; a gate's is that of what it covers, taken together."""
        judged = {
            t.id: self.judge(self._action(plan, t, goal_id), _asker(plan, self.requester))[0]
            for t in plan.tasks
            if t.operation not in BUILT_IN
        }
        gates = [t for t in plan.tasks if t.operation == APPROVAL]
        judged.update({g.id: combine(judged[c] for c in g.covers if c in judged) for g in gates})
        return {t.id: judged[t.id] for t in plan.tasks if t.id in judged}

    def judge(self, action: Action, asker: Asker) -> tuple[Verdict, str]:
        """Policy's verdict on an action, and policy's version."""
        named = action.inputs.get("environment")
        if isinstance(named, str) and named != action.environment:
            why = f"it would act on '{named}', and the goal is for '{action.environment}'"
            return Verdict(effect=Effect.DENY, reasons=(why,)), self.policy.version
        verdict = self.policy.judge(
            Question(
                requester=self.requester,
                groups=self.groups,
                operation=action.operation,
                risk=action.risk,
                environment=action.environment,
                contract=asker.contract,
                roles=tuple(sorted(action.credentials.values())),
                inputs=action.inputs,
            )
        )
        return verdict, self.policy.version

    def _action(self, plan: Plan, task: PlanTask, goal_id: str) -> Action:
        bound = {pointer.split("/")[1] for pointer in task.bindings}
        return Action(
            goal_id=goal_id,
            task_id=task.id,
            plan_digest=plan.contract_digest,
            operation=task.operation,
            # What is bound is judged again once it is known.
            inputs={k: v for k, v in task.inputs.items() if k not in bound},
            environment=plan.environment,
            risk=task.risk,
            credentials=task.credentials,
            policy_version=self.policy.version,
        )


def _asker(plan: Plan, requester: Requester) -> Asker:
    return Asker(requester=requester, contract=plan.contract, run="simulation")
