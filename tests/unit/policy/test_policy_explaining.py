"""Explaining: which rules decided, which came near, and what is not known yet, in words."""

import json
from typing import Any

import cedarpy
import pytest

from goalkeeper.domain.approval import Requester
from goalkeeper.domain.operation import Risk
from goalkeeper.domain.plan import APPROVAL, Plan, PlanTask
from goalkeeper.domain.policy import Effect
from goalkeeper.policy import PolicyEngine, Question
from goalkeeper.policy.explaining import Explained, explain_plan
from goalkeeper.policy.parts import RuleParts
from goalkeeper.policy.words import words

POLICY = PolicyEngine(
    """
    @id("any") permit (principal, action, resource) unless { context.inputs has app };
    @id("playground") permit (principal, action, resource == Environment::"playground");
    @id("databases") @approvals("2 of dba")
    permit (principal, action in Action::"apps", resource == Environment::"production")
    when { context.inputs has app && context.inputs.app like "*-db" };
    @id("night") forbid (principal, action, resource)
    when { context.contract == "nightly" }
    unless { principal in Group::"night" || principal.proven };
    """
)


def question(**changes: Any) -> Question:
    """Somebody deploys a shop in production."""
    fields: dict[str, Any] = {
        "requester": Requester(id="ann"),
        "groups": (),
        "operation": "apps.deploy",
        "risk": Risk.WRITE,
        "environment": "production",
        "inputs": {"app": "shop"},
    }
    return Question(**{**fields, **changes})


def near(asked: Question) -> dict[str, str]:
    """Rule → where it holds, of those that came near."""
    return {n.rule: n.only for n in RuleParts(POLICY.rules).near(asked)}


def test_a_rule_that_one_condition_kept_from_holding_came_near() -> None:
    """And the condition is told in words."""
    assert near(question()) == {
        "any": "only where there is no input 'app'",
        "playground": "only where the environment is 'playground'",
        "databases": "only where the input 'app' looks like '*-db'",
        "night": "only where the contract is 'nightly'",
    }


def test_a_rule_that_holds_or_lacks_more_did_not_come_near() -> None:
    """Neither is news."""
    assert "playground" not in near(question(environment="playground"))
    assert "databases" not in near(question(environment="staging"))
    proven = question(requester=Requester(id="ann", proven=True), contract="nightly")
    assert near(proven)["night"] == "only where whoever asks has not signed in"
    grouped = question(
        requester=Requester(id="ann", proven=True), groups=("night",), contract="nightly"
    )
    assert "night" not in near(grouped)


def test_what_the_operation_is_by_itself_brings_no_rule_near() -> None:
    """Every reading rule would be near to every write."""
    shipped = RuleParts(PolicyEngine.load().rules)
    assert shipped.near(question(operation="git.merge_branch", roles=("git-writer",))) == ()
    (only,) = shipped.near(question())
    assert only.rule == "write-in-development"


def test_a_rule_hangs_on_inputs_that_are_not_known() -> None:
    """If all that is known of it holds."""
    parts = RuleParts(POLICY.rules)
    (any_, databases) = parts.open(question(inputs={}), {"app"})
    assert (any_.rule, any_.only) == ("any", "depending on 'app'")
    assert (databases.rule, databases.effect) == ("databases", Effect.ASK)
    assert [o.rule for o in parts.open(question(inputs={}, environment="moon"))] == ["any"]
    assert parts.open(question()) == ()
    assert parts.open(question(inputs={}), {"other"}) == ()


def explained(policy: PolicyEngine = POLICY) -> dict[str, Explained]:
    """A plan with a task whose app is known and one whose app is not."""
    tasks = (
        PlanTask(id="say", operation="core.noop", risk=Risk.WRITE),
        PlanTask(id="ask", operation=APPROVAL, covers=("shop", "later")),
        PlanTask(id="shop", operation="apps.deploy", risk=Risk.WRITE, inputs={"app": "shop-db"}),
        PlanTask(
            id="later",
            operation="apps.deploy",
            risk=Risk.WRITE,
            inputs={"app": "a-db"},
            bindings={"/app": "tasks.say.app"},
            needs=("say",),
        ),
    )
    plan = Plan(
        contract="c", contract_digest="sha256:" + "0" * 64, environment="production", tasks=tasks
    )
    return {e.task: e for e in explain_plan(plan, policy, Requester(id="ann", proven=True), ())}


def test_a_plan_is_explained_task_by_task() -> None:
    """A gate has the strictest of what it covers, and the rules that ask."""
    said = explained()
    assert said["say"].rules == ("any",)
    assert said["shop"].verdict.effect is Effect.ASK
    assert said["shop"].rules == ("databases",)
    assert said["ask"].verdict.requirement == said["shop"].verdict.requirement
    assert (said["ask"].rules, said["ask"].covers) == (("databases",), ("shop", "later"))
    assert said["later"].rules == ("any",)
    assert [o.rule for o in said["later"].open] == ["any", "databases"]
    assert "databases" not in [n.rule for n in said["later"].near]


def test_a_rule_that_hangs_on_something_is_not_told_twice() -> None:
    """It is either not known yet, or nearly held."""
    policy = PolicyEngine(
        'permit (principal, action, resource); @id("named") '
        "forbid (principal, action, resource) when { context.inputs has app };"
    )
    said = explained(policy)
    assert [o.rule for o in said["later"].open] == ["named"]
    assert said["later"].near == ()
    assert [n.rule for n in said["say"].near] == ["named"]


def test_rules_that_would_change_nothing_are_not_told() -> None:
    """One more that lets go what goes."""
    assert "playground" not in {n.rule for n in explained()["say"].near}
    assert "playground" in {n.rule for n in explained()["shop"].near}


def test_an_input_that_names_another_environment_is_refused_as_the_worker_would() -> None:
    """Whatever the file says."""
    task = PlanTask(
        id="t", operation="apps.deploy", risk=Risk.WRITE, inputs={"environment": "moon"}
    )
    plan = Plan(
        contract="c", contract_digest="sha256:" + "0" * 64, environment="playground", tasks=(task,)
    )
    (said,) = explain_plan(plan, POLICY, Requester(id="ann"), ())
    assert said.verdict.effect is Effect.DENY
    assert "would act on 'moon'" in said.verdict.reasons[0]


@pytest.mark.parametrize("kind", ["when", "unless"])
def test_a_rule_of_hundreds_of_terms_is_explained_as_well(kind: str) -> None:
    """Cedar's own reader of JSON gives up at sixty."""
    many = " || ".join(f'context.contract == "c{n}"' for n in range(450))
    rules = PolicyEngine(f"permit (principal, action, resource) {kind} {{ {many} }};").rules
    parts = RuleParts(rules)
    found = {c: [n.only for n in parts.near(question(contract=c))] for c in ("c449", "other")}
    if kind == "unless":
        assert found == {"c449": ["only where the contract is not 'c449'"], "other": []}
    else:
        assert found["c449"] == []
        assert found["other"][0].endswith("the contract is 'c448' or the contract is 'c449'")


@pytest.mark.parametrize(
    ("condition", "yes", "no"),
    [
        ('context.risk == "read"', "the risk is 'read'", "the risk is not 'read'"),
        ("principal.proven", "whoever asks has signed in", "whoever asks has not signed in"),
        ("!principal.proven", "whoever asks has not signed in", "whoever asks has signed in"),
        (
            'principal in Group::"dev"',
            "whoever asks is in the group 'dev'",
            "whoever asks is not in the group 'dev'",
        ),
        (
            'context.risk == "a" && (principal.proven || context.compensating)',
            "the risk is 'a' and (whoever asks has signed in or it undoes what was done)",
            "the risk is not 'a' or (whoever asks has not signed in and it does not undo what was"
            " done)",
        ),
        ("context.inputs.n > 3", "the input 'n' is more than 3", "the input 'n' is at most 3"),
        (
            'context.roles.contains("w")',
            "the credential roles have 'w'",
            "the credential roles have no 'w'",
        ),
        (
            '["a", "b"].contains(context.risk)',
            "the risk is one of 'a', 'b'",
            "the risk is none of 'a', 'b'",
        ),
        (
            'action in [Action::"git", Action::"apps"]',
            "the operation is in 'git', 'apps'",
            "the operation is not in 'git', 'apps'",
        ),
        ("principal is Person", "principal is Person", None),
        ('decimal("1.0").lessThan(decimal("2.0"))', None, None),
        (
            "context.inputs.n + 1 == 2",
            "((context.inputs).n) + 1 is 2",
            "((context.inputs).n) + 1 is not 2",
        ),
        ("if true then true else false", "if true then true else false", None),
    ],
)
def test_conditions_in_words(condition: str, yes: str | None, no: str | None) -> None:
    """And their opposite; what has no words stays Cedar."""
    text = f"permit (principal, action, resource) when {{ {condition} }};"
    parsed = json.loads(cedarpy.policies_to_json_str(text))
    body = parsed["staticPolicies"]["policy0"]["conditions"][0]["body"]
    said = words(body) if yes is None else yes
    assert words(body) == said
    assert words(body, no=True) == (f"not ({said})" if no is None else no)
