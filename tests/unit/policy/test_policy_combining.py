"""Several verdicts or requirements taken together: the strictest counts."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from goalkeeper.domain.policy import Effect, Requirement, Verdict
from goalkeeper.policy import PolicyEngine, combine, strictest
from tests.unit.policy.test_policy_engine import question

_GROUPS = st.sets(st.sampled_from(["a", "b", "c"])).map(lambda s: tuple(sorted(s)))
_REQUIREMENTS = st.builds(
    Requirement,
    approvals=st.integers(1, 20),
    groups=_GROUPS,
    expires_in=st.integers(1, 99).map(lambda n: timedelta(minutes=n)),
    valid_for=st.integers(1, 99).map(lambda n: timedelta(minutes=n)),
    reason_required=st.booleans(),
)


@given(st.lists(_REQUIREMENTS, min_size=1, max_size=5))
def test_the_strictest_requirement_satisfies_every_one(every: list[Requirement]) -> None:
    """Whoever meets it meets each of them; None only where nobody could."""
    found = strictest(every)
    named = [set(r.groups) for r in every if r.groups]
    if named and not set.intersection(*named):
        assert found is None
        return
    assert found is not None
    for one in every:
        assert found.approvals >= one.approvals
        assert found.expires_in <= one.expires_in
        assert found.valid_for <= one.valid_for
        assert found.reason_required >= one.reason_required
        assert not one.groups or (found.groups and set(found.groups) <= set(one.groups))


def test_two_rules_that_ask_are_taken_together() -> None:
    """The most approvals, the shortest times, the groups common to all."""
    engine = PolicyEngine(
        '@approvals("1 of operators, security") @expires("1h") @reason("required")'
        " permit (principal, action, resource);"
        '@approvals("2 of operators") @valid_for("5m") permit (principal, action, resource);'
    )
    requirement = engine.judge(question()).requirement
    assert requirement == Requirement(
        approvals=2,
        groups=("operators",),
        expires_in=timedelta(hours=1),
        valid_for=timedelta(minutes=5),
        reason_required=True,
    )


def test_rules_whose_groups_have_nobody_in_common_refuse() -> None:
    """Nobody could approve it, so nobody is asked."""
    engine = PolicyEngine(
        '@approvals("1 of a") permit (principal, action, resource);'
        '@approvals("1 of b") permit (principal, action, resource);'
    )
    verdict = engine.judge(question())
    assert verdict.effect is Effect.DENY
    assert "nobody in common" in verdict.reasons[-1]


def ask(*groups: str, why: str = "asks") -> Verdict:
    """A verdict that asks one of these groups."""
    return Verdict(effect=Effect.ASK, reasons=(why,), requirement=Requirement(groups=tuple(groups)))


ALLOW = Verdict(effect=Effect.ALLOW, reasons=("fine",))
DENY = Verdict(effect=Effect.DENY, reasons=("never",))


def test_verdicts_of_actions_that_stand_or_fall_together() -> None:
    """Deny beats ask, ask beats allow; the reasons are those that decided."""
    assert combine([ALLOW, ALLOW]) == ALLOW
    assert combine([ALLOW, ask("a"), DENY]) == DENY
    asked = combine([ALLOW, ask("a", "b"), ask("b", "c", why="too")])
    assert asked.effect is Effect.ASK
    assert asked.requirement == Requirement(groups=("b",))
    assert asked.reasons == ("asks", "too")


def test_actions_that_nobody_may_approve_at_once_are_refused() -> None:
    """Each alone would only ask."""
    verdict = combine([ask("a"), ask("b")])
    assert verdict.effect is Effect.DENY
    assert "nobody may approve all of these at once" in verdict.reasons


def test_no_verdicts_ask_for_nothing() -> None:
    """A gate that covers nothing."""
    assert combine([]).effect is Effect.ALLOW
