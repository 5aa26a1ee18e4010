import pytest

from goalkeeper.catalogue import Catalogue
from goalkeeper.domain.base import Json
from goalkeeper.domain.compiler import compile_contract, resolve
from goalkeeper.domain.errors import InvalidGoal
from goalkeeper.domain.plan import ForEach, LockUse, Plan
from tests.unit.compiler.making import task
from tests.unit.compiler.operations import OPERATIONS

REPOSITORY = "https://git.example/shop.git"


def shipped(name: str, **goal: Json) -> Plan:
    """The plan of a contract that comes with the package."""
    entry = Catalogue().find(name)
    return compile_contract(entry.contract, goal, OPERATIONS, located=entry.located)


def deploy(**more: Json) -> Plan:
    """The plan of a deployment."""
    return shipped("deploy-branch", repository=REPOSITORY, branch="feature/x", app="shop", **more)


def test_read_file_is_one_quick_read() -> None:
    """The smallest useful goal."""
    plan = shipped("read-file", repository=REPOSITORY, path="README.md")
    (read,) = plan.tasks
    assert read.inputs == {"repository": REPOSITORY, "ref": "main", "path": "README.md"}
    assert (read.quick, read.credentials) == (True, {"token": "git-reader"})


def test_a_deployment_asks_before_it_changes_anything() -> None:
    """What writes outside a sandbox stands behind the gate or after it."""
    plan = deploy()
    order = [t.id for t in plan.tasks]
    assert order == [
        "describe", "test", "lint", "preview", "approve", "merge", "deploy", "monitor", "notify",
    ]  # fmt: skip
    assert set(task(plan, "preview").needs) == {"describe", "test", "lint"}
    assert task(plan, "approve").covers == ("merge", "deploy")
    assert task(plan, "approve").show == ("describe", "preview")
    assert {"approve", "merge"} <= set(task(plan, "deploy").needs)
    assert plan.environment == "production"


def test_tests_and_linter_run_side_by_side_on_the_described_commit() -> None:
    """Neither waits for the other, and both run what will be merged."""
    plan = deploy()
    for name in ("test", "lint"):
        assert task(plan, name).needs == ("describe",)
        assert task(plan, name).bindings == {"/source/commit": "tasks.describe.commit"}
    assert task(plan, "merge").bindings == {"/expected_commit": "tasks.describe.commit"}


def test_both_changes_can_be_undone() -> None:
    """Merge and deployment name their compensation."""
    plan = deploy()
    assert task(plan, "merge").compensation == "git.revert_merge"
    assert task(plan, "deploy").compensation == "apps.restore"


def test_only_the_merge_may_write_to_the_repository() -> None:
    """Every other task gets the reader's role or none."""
    roles = {t.id: t.credentials.get("token") for t in deploy().tasks if t.credentials}
    assert roles.pop("merge") == "git-writer"
    assert set(roles.values()) == {"git-reader"}


def test_the_inputs_reach_the_tasks() -> None:
    """Replicas and time go where they belong, as numbers."""
    plan = deploy(replicas=3, monitor_seconds=60, environment="staging")
    assert task(plan, "preview").inputs["replicas"] == 3
    assert task(plan, "monitor").inputs["seconds"] == 60
    assert plan.environment == task(plan, "monitor").inputs["environment"] == "staging"
    assert task(plan, "merge").inputs["message"] == "Merge feature/x into main"


def test_the_notification_reads_well() -> None:
    """One line with what was deployed."""
    message = resolve(
        task(deploy(), "notify"),
        {
            "tasks": {
                "describe": {"summary": "Add greetings"},
                "deploy": {"replicas": 2, "release": "r7"},
            }
        },
    )["message"]
    assert message == ("Deployed shop to production: Add greetings. 2 replica(s) run release r7.")


def test_a_misspelt_input_is_told_with_an_example() -> None:
    """Newcomers learn the contract from the message."""
    with pytest.raises(InvalidGoal) as refused:
        shipped("deploy-branch", repositry=REPOSITORY, branch="x", app="shop")
    assert "did you mean 'repository'?" in refused.value.message
    assert '"app": "…"' in refused.value.message


def test_promote_branch_asks_once_for_every_app_that_it_previewed() -> None:
    """A child goal, a wait, lists, an approval, a lock and an end, put together."""
    plan = shipped("promote-branch", repository=REPOSITORY, branch="x", apps=["shop", "billing"])
    assert [t.id for t in plan.tasks] == ["first", "soak", "preview", "approve", "deploy", "tell"]
    assert [t.id for t in plan.tasks if t.always] == ["tell"]
    assert task(plan, "preview").for_each == ForEach(items=("shop", "billing"), width=2)
    assert task(plan, "preview").needs == ("first", "soak")
    assert task(plan, "deploy").for_each == ForEach(expression="tasks.preview", width=1)
    assert task(plan, "deploy").needs == ("preview", "approve")
    assert (
        task(plan, "deploy").lock == task(plan, "preview").lock == LockUse(name="deploy-production")
    )
    scope = {"goal": {"state": "Succeeded", "failure": None}}
    assert resolve(task(plan, "tell"), scope)["message"] == (
        "Promotion of x to production: Succeeded. Everything runs."
    )
