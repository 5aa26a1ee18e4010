"""A plan that Temporal could not carry is refused in words of ours."""

import pytest

from activities.planning import _check_size
from goalkeeper.domain.errors import InvalidGoal
from goalkeeper.domain.plan import Plan, PlanTask


def plan(tasks: int) -> Plan:
    """So many tasks that do nothing."""
    return Plan(
        contract="wide",
        contract_digest="sha256:" + "0" * 64,
        environment="development",
        tasks=tuple(PlanTask(id=f"t{i}", operation="core.noop") for i in range(tasks)),
    )


def test_a_plan_that_is_too_large_is_refused_with_its_size() -> None:
    """Temporal's own complaint would come in the middle, and name a payload."""
    with pytest.raises(InvalidGoal, match=r"10000 tasks make \d+ KiB"):
        _check_size(plan(10_000))


def test_a_thousand_tasks_fit() -> None:
    """As the benchmark's fan-out has."""
    _check_size(plan(1_000))
