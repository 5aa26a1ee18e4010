"""Replaying: what past goals would have been answered under a policy, and where that differs.

It judges what it is given; where that comes from, and how whole it is, is for others to say.
"""

from collections import Counter
from collections.abc import Iterable

from goalkeeper.domain.approval import Requester
from goalkeeper.domain.base import Instant, Json, Model
from goalkeeper.domain.operation import Risk
from goalkeeper.domain.policy import Effect, Requirement, Verdict
from goalkeeper.policy.cases import answer_text
from goalkeeper.policy.engine import PolicyEngine, Question
from goalkeeper.policy.explaining import judged
from goalkeeper.policy.parts import NearRule, RuleParts


class PastAction(Model):
    """What one task did, or would have done, and what policy said to it then."""

    task: str
    operation: str
    risk: Risk
    environment: str
    roles: tuple[str, ...] = ()
    inputs: dict[str, Json] = {}
    unknown: tuple[str, ...] | None = ()
    """Inputs whose values are not at hand; None: none of them is."""
    compensating: bool = False
    was: Effect
    asked: Requirement | None = None
    """Who was asked, where that is known."""


class PastGoal(Model):
    """One goal, as much of it as is known."""

    goal_id: str
    at: Instant
    contract: str
    requester: Requester
    groups: tuple[str, ...] = ()
    """As the identities file has them now."""
    refused: bool = False
    """Policy refused it when it was planned, so that nothing of it ran."""
    actions: tuple[PastAction, ...] = ()


class Change(Model):
    """One action that would be answered otherwise, or might be."""

    goal_id: str
    at: Instant
    task: str
    operation: str
    environment: str
    was: str
    now: str
    reasons: tuple[str, ...] = ()
    depends: tuple[NearRule, ...] = ()
    """Rules that may change this answer, by inputs that are not on record."""


class Replayed(Model):
    """The whole comparison."""

    goals: int
    actions: int
    changes: tuple[Change, ...] = ()
    uncertain: tuple[Change, ...] = ()
    """Those that are answered alike by all that is known, and yet depend on what is not."""
    counts: dict[str, int] = {}
    """``ask -> deny``: how many actions."""
    goals_now: dict[str, int] = {}
    """How many whole goals would go, be asked about and be refused, by the strictest answer."""
    untold: tuple[str, ...] = ()
    """Goals of which no action is on record."""


def replay(goals: Iterable[PastGoal], policy: PolicyEngine) -> Replayed:
    """Judge past goals anew."""
    every = list(goals)
    parts = RuleParts(policy.rules)
    answers = {g.goal_id: [_answer(g, a, policy, parts) for a in g.actions] for g in every}
    compared = [one for answered in answers.values() for one in answered]
    changes = [c for differs, c, _ in compared if differs]
    return Replayed(
        goals=len(every),
        actions=len(compared),
        changes=tuple(changes),
        uncertain=tuple(c for differs, c, _ in compared if c.depends and not differs),
        counts=dict(Counter(f"{_effect(c.was)} -> {_effect(c.now)}" for c in changes)),
        goals_now=dict(Counter(_strictest(v for _, _, v in a) for a in answers.values() if a)),
        untold=tuple(g.goal_id for g in every if not g.actions),
    )


def _answer(
    goal: PastGoal, action: PastAction, policy: PolicyEngine, parts: RuleParts
) -> tuple[bool, Change, Effect]:
    """Whether it differs, how, and the new answer."""
    question = Question(
        requester=goal.requester,
        groups=goal.groups,
        operation=action.operation,
        risk=action.risk,
        environment=action.environment,
        contract=goal.contract,
        roles=action.roles,
        inputs=action.inputs,
        compensating=action.compensating,
    )
    verdict, decided = judged(policy, question)
    change = Change(
        goal_id=goal.goal_id,
        at=goal.at,
        task=action.task,
        operation=action.operation,
        environment=action.environment,
        was=answer_text(Verdict(effect=action.was, requirement=action.asked)),
        now=answer_text(verdict),
        reasons=verdict.reasons,
        depends=_deciding(parts.open(question, action.unknown), verdict.effect, decided),
    )
    return _differs(action, verdict), change, verdict.effect


def _deciding(
    hanging: tuple[NearRule, ...], effect: Effect, decided: tuple[str, ...]
) -> tuple[NearRule, ...]:
    """Of the rules that hang on something, those that could change this answer."""
    if set(decided) <= {r.rule for r in hanging}:
        return hanging
    if effect is Effect.DENY:
        return ()
    return tuple(r for r in hanging if r.effect is not Effect.ALLOW)


def _differs(action: PastAction, verdict: Verdict) -> bool:
    if verdict.effect is not action.was:
        return True
    then, now = action.asked, verdict.requirement
    return (
        then is not None
        and now is not None
        and (then.approvals, then.groups) != (now.approvals, now.groups)
    )


def _effect(answer: str) -> str:
    return answer.partition(" ")[0]


def _strictest(effects: Iterable[Effect]) -> str:
    order = (Effect.ALLOW, Effect.ASK, Effect.DENY)
    return max(effects, key=order.index).value
