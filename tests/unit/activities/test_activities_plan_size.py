"""A plan that Temporal could not carry is refused in words of ours."""

import pytest

from activities.planning import _check_size
from goalkeeper.domain.errors import InvalidGoal
from goalkeeper.domain.plan import Plan, PlanTask


def plan(tasks: int, text: str = "") -> Plan:
    """So many tasks that do nothing, with a text each."""
    return Plan(
        contract="wide",
        contract_digest="sha256:" + "0" * 64,
        environment="development",
        tasks=tuple(
            PlanTask(id=f"t{i}", operation="core.noop", inputs={"value": text})
            for i in range(tasks)
        ),
    )


def test_a_plan_that_is_too_large_is_refused_with_its_size() -> None:
    """Before anything has run, and with what to do about it."""
    with pytest.raises(InvalidGoal, match=r"10000 tasks make \d+ MiB, and at most 32 MiB"):
        _check_size(plan(10_000, "x" * 4000))


def test_ten_thousand_tasks_fit() -> None:
    """Two kilobytes of inputs each."""
    _check_size(plan(10_000, "x" * 2000))
