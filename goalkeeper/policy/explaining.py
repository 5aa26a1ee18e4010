"""What policy says to a plan, task by task, and why: who is asked, by which rules, what came near.

It judges a plan as planning does; it makes none and runs none.
"""

from goalkeeper.domain.approval import Requester
from goalkeeper.domain.base import Model
from goalkeeper.domain.operation import Risk
from goalkeeper.domain.plan import APPROVAL, BUILT_IN, Plan, PlanTask
from goalkeeper.domain.policy import Effect, Verdict
from goalkeeper.policy.combining import combine
from goalkeeper.policy.engine import PolicyEngine, Question
from goalkeeper.policy.parts import NearRule, RuleParts


class Explained(Model):
    """Policy's answer to one task, with its reasons."""

    task: str
    operation: str
    risk: Risk
    verdict: Verdict
    rules: tuple[str, ...] = ()
    """The ids of those that decided."""
    near: tuple[NearRule, ...] = ()
    """Those that one condition alone kept from holding."""
    open: tuple[NearRule, ...] = ()
    """Those that hang on what an earlier task will answer; policy is asked again then."""
    covers: tuple[str, ...] = ()
    """Of an approval task: what it asks about."""


def explain_plan(
    plan: Plan, policy: PolicyEngine, requester: Requester, groups: tuple[str, ...]
) -> tuple[Explained, ...]:
    """Every task that policy has a say in, in the plan's order."""
    parts = RuleParts(policy.rules)
    judged = {
        task.id: _explained(task, question_of(plan, task, requester, groups), policy, parts)
        for task in plan.tasks
        if task.operation not in BUILT_IN
    }
    for task in plan.tasks:
        if task.operation == APPROVAL:
            covered = [judged[c] for c in task.covers if c in judged]
            judged[task.id] = Explained(
                task=task.id,
                operation=task.operation,
                risk=task.risk,
                verdict=combine(e.verdict for e in covered),
                rules=tuple(dict.fromkeys(r for e in covered for r in _deciding(e))),
                covers=task.covers,
            )
    return tuple(judged[t.id] for t in plan.tasks if t.id in judged)


def question_of(
    plan: Plan, task: PlanTask, requester: Requester, groups: tuple[str, ...]
) -> Question:
    """What planning asks about a task: with the inputs that are known by then."""
    bound = _bound(task)
    return Question(
        requester=requester,
        groups=groups,
        operation=task.operation,
        risk=task.risk,
        environment=plan.environment,
        contract=plan.contract,
        roles=tuple(sorted(task.credentials.values())),
        inputs={k: v for k, v in task.inputs.items() if k not in bound},
    )


def judged(policy: PolicyEngine, question: Question) -> tuple[Verdict, tuple[str, ...]]:
    """Policy's verdict, or the worker's own refusal, with the ids of the rules that decided."""
    named = question.inputs.get("environment")
    if isinstance(named, str) and named != question.environment:
        why = f"it would act on '{named}', and the goal is for '{question.environment}'"
        return Verdict(effect=Effect.DENY, reasons=(why,)), ()
    verdict, rules = policy.explain(question)
    return verdict, tuple(r.id for r in rules)


def _explained(
    task: PlanTask, question: Question, policy: PolicyEngine, parts: RuleParts
) -> Explained:
    verdict, rules = judged(policy, question)
    hanging = parts.open(question, _bound(task))
    unsettled = {h.rule for h in hanging}
    return Explained(
        task=task.id,
        operation=task.operation,
        risk=task.risk,
        verdict=verdict,
        rules=rules,
        near=tuple(
            n
            for n in parts.near(question)
            # One more rule that lets it go would change nothing.
            if n.rule not in unsettled and {n.effect, verdict.effect} != {Effect.ALLOW}
        ),
        open=hanging,
    )


def _deciding(explained: Explained) -> tuple[str, ...]:
    return explained.rules if explained.verdict.effect is not Effect.ALLOW else ()


def _bound(task: PlanTask) -> set[str]:
    return {pointer.split("/")[1] for pointer in task.bindings}
