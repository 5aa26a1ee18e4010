"""`deploy-branch` on the whole stack: each way in which it may end, seen from outside."""

from connectors.git import KEY_TRAILER
from deploy.demo.repository import MAIN
from goalkeeper.client import Client
from goalkeeper.domain.approval import Answer
from goalkeeper.domain.audit import AuditKind
from goalkeeper.domain.goal import GoalResult
from goalkeeper.domain.plan import GoalState, TaskState
from goalkeeper.settings import Settings
from tests.e2e.conftest import Deploying
from tests.support.apps import DeployedApp
from tests.support.live import asked, decide, ended, recorded


def _states(result: GoalResult) -> dict[str, TaskState]:
    return {t.id: t.state for t in result.tasks}


async def test_an_approved_branch_is_merged_deployed_and_answers(
    deploying: Deploying, app: DeployedApp, operator: Client, stack: Settings
) -> None:
    """The new greeting is what users get, and main holds the merge under the goal's own key."""
    repository = deploying.host.repository
    branch = repository.feature("feature/e2e-good", "Good evening, e2e!")
    before, tip = repository.head(MAIN), repository.head(branch)
    goal = await deploying(app, branch)
    request = await asked(goal)
    assert app.containers() == [], "something was deployed before anybody said yes"
    assert repository.head(MAIN) == before, "something was merged before anybody said yes"
    await decide(operator, request)
    result = await ended(goal)
    assert result.state is GoalState.SUCCEEDED, result.failure
    assert await app.greetings() == {"Good evening, e2e!"}
    parents = repository.git("log", "--max-count=1", "--format=%P", MAIN).split()
    assert parents == [before, tip]
    assert f"{KEY_TRAILER}: {goal.id}" in repository.git("log", "--max-count=1", MAIN)
    assert len(recorded(stack, goal.id, AuditKind.GRANT_SPENT)) == 2


async def test_a_failing_test_ends_the_goal_before_anyone_is_asked(
    deploying: Deploying, app: DeployedApp, stack: Settings
) -> None:
    """Nobody was asked, nothing was merged, nothing deployed; the output says which test."""
    repository = deploying.host.repository
    branch = repository.failing_test("feature/e2e-impolite")
    before = repository.head(MAIN)
    goal = await deploying(app, branch)
    result = await ended(goal)
    assert result.state is GoalState.FAILED
    assert result.failure is not None
    assert result.failure.code == "CheckFailed"
    assert "test" in result.failure.message
    assert _states(result)["approve"] is TaskState.SKIPPED
    assert await goal.approvals() == ()
    assert recorded(stack, goal.id, AuditKind.APPROVAL_REQUESTED) == []
    assert repository.head(MAIN) == before
    assert app.containers() == []
    lines = [line.text async for line in goal.logs("test", follow=False)]
    assert any("test_the_front_page_greets" in line for line in lines)


async def test_a_denial_ends_the_goal_with_nothing_changed(
    deploying: Deploying, app: DeployedApp, operator: Client
) -> None:
    """The goal ends as denied, in the words of whoever denied it."""
    repository = deploying.host.repository
    branch = repository.feature("feature/e2e-unwanted", "Unwanted!")
    before = repository.head(MAIN)
    goal = await deploying(app, branch)
    await decide(operator, await asked(goal), Answer.DENY, "not on a Friday")
    result = await ended(goal)
    assert result.state is GoalState.DENIED
    assert result.failure is not None
    assert "'operator' denied" in result.failure.message
    assert "not on a Friday" in result.failure.message
    states = _states(result)
    assert {states[t] for t in ("merge", "deploy", "notify")} == {TaskState.SKIPPED}
    assert repository.head(MAIN) == before
    assert app.containers() == []


async def test_a_branch_that_moved_after_the_request_is_not_merged(
    deploying: Deploying, app: DeployedApp, operator: Client
) -> None:
    """What was approved is one commit: another one on the branch is a conflict, not a merge."""
    repository = deploying.host.repository
    branch = repository.feature("feature/e2e-moving", "Seen and approved!")
    before = repository.head(MAIN)
    goal = await deploying(app, branch)
    request = await asked(goal)
    repository.change(branch, {"later.txt": "nobody has seen this"}, "Slip something in")
    await decide(operator, request)
    result = await ended(goal)
    assert result.state is GoalState.FAILED
    assert result.failure is not None
    assert result.failure.code == "Conflict"
    states = _states(result)
    assert states["merge"] is TaskState.FAILED
    assert states["deploy"] is TaskState.SKIPPED
    assert repository.head(MAIN) == before
    assert app.containers() == []


async def test_an_unhealthy_deployment_is_rolled_back_with_its_merge(
    deploying: Deploying, app: DeployedApp, operator: Client
) -> None:
    """The release before answers again, and main has the files that it had, by a revert."""
    repository = deploying.host.repository
    first = await deploying(app, repository.feature("feature/e2e-first", "The first release!"))
    await decide(operator, await asked(first))
    assert (await ended(first)).state is GoalState.SUCCEEDED
    before, files = repository.head(MAIN), repository.git("rev-parse", f"{MAIN}^{{tree}}")

    branch = repository.unhealthy("feature/e2e-tired", seconds=5)
    tired = repository.read("greeter.py", branch).replace("The first release!", "The tired one!")
    repository.change(branch, {"greeter.py": tired}, "Greet differently too")
    goal = await deploying(app, branch, monitor_seconds=60)
    await decide(operator, await asked(goal))
    result = await ended(goal)

    assert result.state is GoalState.ROLLED_BACK, result.failure
    assert result.failure is not None
    assert result.failure.code == "CheckFailed"
    assert "task 'monitor'" in result.failure.message
    states = _states(result)
    assert states["merge"] is TaskState.COMPENSATED
    assert states["deploy"] is TaskState.COMPENSATED
    assert states["notify"] is TaskState.SKIPPED
    assert await app.greetings() == {"The first release!"}
    assert len(app.containers()) == 1, "the unhealthy release is still there"
    assert repository.git("rev-parse", f"{MAIN}^{{tree}}") == files
    added = repository.git("rev-list", "--count", "--first-parent", f"{before}..{MAIN}")
    assert added == "2", "one merge and one revert"
