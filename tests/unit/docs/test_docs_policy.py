"""The example of docs/policy.md judges as the page says."""

import re
from pathlib import Path

import pytest

from goalkeeper.domain.approval import Requester
from goalkeeper.domain.base import Json
from goalkeeper.domain.operation import Risk
from goalkeeper.domain.policy import Effect
from goalkeeper.policy import PolicyEngine, Question

PAGE = (Path(__file__).parents[3] / "docs" / "policy.md").read_text()
POLICY = PolicyEngine("\n".join(re.findall(r"^```cedar\n(.*?)^```$", PAGE, re.M | re.S)))


def question(environment: str, *, app: str = "shop", proven: bool = True) -> Question:
    """Somebody wants to deploy an app."""
    inputs: dict[str, Json] = {"app": app}
    return Question(
        requester=Requester(id="ada", proven=proven),
        groups=(),
        operation="apps.deploy",
        risk=Risk.WRITE,
        environment=environment,
        inputs=inputs,
    )


@pytest.mark.parametrize(
    ("asked", "effect"),
    [
        (question("playground"), Effect.ALLOW),
        (question("staging"), Effect.DENY),
        (question("production"), Effect.ASK),
        (question("production", proven=False), Effect.DENY),
    ],
    ids=["playground", "staging", "production", "unproven"],
)
def test_the_example_answers_as_the_page_says(asked: Question, effect: Effect) -> None:
    """Everybody in the playground, nobody in staging, people in production."""
    assert POLICY.judge(asked).effect is effect


def test_a_database_in_production_needs_two_people_and_a_reason() -> None:
    """The strictest of the two rules that ask."""
    wanted = POLICY.judge(question("production", app="shop-db")).requirement
    assert wanted is not None
    assert (wanted.approvals, wanted.groups, wanted.reason_required) == (
        2,
        ("dba", "operators"),
        True,
    )
