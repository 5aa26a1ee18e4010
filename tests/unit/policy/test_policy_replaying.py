"""Replaying: what past actions would be answered under another policy."""

from datetime import UTC, datetime
from typing import Any

import pytest

from goalkeeper.domain.approval import Requester
from goalkeeper.domain.operation import Risk
from goalkeeper.domain.policy import Effect, Requirement
from goalkeeper.policy import PolicyEngine
from goalkeeper.policy.replaying import PastAction, PastGoal, replay

POLICY = PolicyEngine(
    """
    @id("moon") permit (principal, action, resource == Environment::"moon");
    @id("two") @approvals("2 of operators")
    permit (principal, action, resource == Environment::"production");
    @id("databases") @because("not at night")
    forbid (principal, action, resource)
    when { context.inputs has app && context.inputs.app like "*-db" };
    """
)


def action(environment: str, was: Effect, **changes: Any) -> PastAction:
    """A deployment."""
    fields: dict[str, Any] = {
        "task": "deploy",
        "operation": "apps.deploy",
        "risk": Risk.WRITE,
        "inputs": {"app": "shop"},
    }
    return PastAction(environment=environment, was=was, **{**fields, **changes})


def goal(*actions: PastAction, goal_id: str = "g") -> PastGoal:
    """By somebody known."""
    return PastGoal(
        goal_id=goal_id,
        at=datetime(2026, 1, 1, tzinfo=UTC),
        contract="c",
        requester=Requester(id="ann", proven=True),
        actions=actions,
    )


@pytest.mark.parametrize(
    ("past", "count"),
    [
        (action("moon", Effect.ALLOW), None),
        (action("moon", Effect.ASK), "ask -> allow"),
        (action("production", Effect.ALLOW), "allow -> ask"),
        (action("production", Effect.DENY), "deny -> ask"),
        (action("staging", Effect.ASK), "ask -> deny"),
        (action("production", Effect.ASK), None),
        (
            action("production", Effect.ASK, asked=Requirement(approvals=2, groups=("operators",))),
            None,
        ),
        (
            action("production", Effect.ASK, asked=Requirement(approvals=1, groups=("operators",))),
            "ask -> ask",
        ),
        (
            action("production", Effect.ASK, asked=Requirement(approvals=2, groups=("oncall",))),
            "ask -> ask",
        ),
    ],
)
def test_an_answer_differs_in_effect_or_in_who_is_asked(
    past: PastAction, count: str | None
) -> None:
    """Where it is not known who was asked, asking again is no difference."""
    found = replay([goal(past)], POLICY)
    assert found.counts == ({count: 1} if count else {})
    assert len(found.changes) == (1 if count else 0)
    assert found.uncertain == ()


def test_a_change_says_what_was_and_what_would_be_and_why() -> None:
    """In the words of a cases file."""
    asked = Requirement(approvals=1, groups=("oncall", "operators"))
    found = replay([goal(action("production", Effect.ASK, asked=asked))], POLICY)
    (change,) = found.changes
    assert (change.was, change.now) == ("ask 1 of oncall, operators", "ask 2 of operators")
    assert change.reasons == ("two",)


def test_an_answer_that_hangs_on_inputs_that_nobody_kept_is_said_to_do_so() -> None:
    """Whether or not it differs by what is known."""
    unknown: dict[str, Any] = {"inputs": {}, "unknown": None}
    same = replay([goal(action("moon", Effect.ALLOW, **unknown))], POLICY)
    assert same.changes == ()
    (perhaps,) = same.uncertain
    assert [(d.rule, d.only) for d in perhaps.depends] == [("databases", "depending on 'app'")]
    other = replay([goal(action("moon", Effect.ASK, **unknown))], POLICY)
    assert [d.rule for d in other.changes[0].depends] == ["databases"]
    assert other.uncertain == ()
    only: dict[str, Any] = {"inputs": {"app": "x"}, "unknown": ("image",)}
    assert replay([goal(action("moon", Effect.ALLOW, **only))], POLICY).uncertain == ()


def test_a_refusal_hangs_on_nothing_where_a_rule_forbids_in_any_case() -> None:
    """One more rule that forbids would change nothing."""
    forbidding = PolicyEngine(
        '@id("no") forbid (principal, action, resource);'
        '@id("never") forbid (principal, action, resource) when { context.inputs has app };'
        '@id("perhaps") permit (principal, action, resource) when { context.inputs has app };'
    )
    found = replay([goal(action("moon", Effect.DENY, inputs={}, unknown=None))], forbidding)
    assert (found.changes, found.uncertain) == ((), ())


@pytest.mark.parametrize(
    "text",
    [
        "permit (principal, action, resource) when { context.inputs has app };",
        "permit (principal, action, resource) unless { context.inputs has app };",
        'permit (principal, action, resource) when { context.inputs.app == "x" };',
        "permit (principal, action, resource);"
        "forbid (principal, action, resource) unless { context.inputs has app };",
    ],
)
def test_an_answer_whose_only_rules_hang_on_inputs_hangs_on_them(text: str) -> None:
    """Also where reading what is not on record is the error that refuses."""
    past = action("moon", Effect.ASK, inputs={}, unknown=None)
    (change,) = replay([goal(past)], PolicyEngine(text)).changes
    assert [d.only for d in change.depends] == ["depending on 'app'"]


def test_goals_are_counted_whole_by_their_strictest_answer() -> None:
    """And those of which nothing is known are named."""
    found = replay(
        [
            goal(action("moon", Effect.ALLOW), action("production", Effect.ASK), goal_id="a"),
            goal(action("moon", Effect.ALLOW), goal_id="b"),
            goal(action("staging", Effect.ASK), action("moon", Effect.ALLOW), goal_id="c"),
            goal(goal_id="d"),
        ],
        POLICY,
    )
    assert found.goals_now == {"allow": 1, "ask": 1, "deny": 1}
    assert (found.goals, found.actions, found.untold) == (4, 5, ("d",))


def test_undoing_and_groups_are_judged_as_a_worker_would() -> None:
    """As far as they are known now."""
    policy = PolicyEngine(
        "permit (principal, action, resource) when { context.compensating };"
        'permit (principal in Group::"ops", action, resource);'
    )
    undo = action("moon", Effect.ALLOW, compensating=True)
    assert replay([goal(undo)], policy).changes == ()
    plain = goal(action("moon", Effect.ALLOW))
    assert len(replay([plain], policy).changes) == 1
    assert replay([plain.model_copy(update={"groups": ("ops",)})], policy).changes == ()
