"""`kill -9` of worker, Temporal and OpenBao: the goal goes on and does nothing twice."""

from goalkeeper.client import Client, Goal
from goalkeeper.domain.plan import TaskState
from tests.chaos.contracts import GO, HELD, HELD_MERGE
from tests.chaos.soundness import Chaos
from tests.support.apps import DeployedApp
from tests.support.live import asked, decide, until


async def _held(chaos: Chaos, goal: Goal) -> str:
    """The goal's one running sandbox, once its command has begun to wait."""

    async def look() -> str | None:
        lines = [line.text async for line in goal.logs("hold", follow=False)]
        return next(iter(chaos.containers(goal.id)), None) if HELD in "".join(lines) else None

    return await until(look, "the command in the sandbox")


def _let_go(chaos: Chaos, container: str) -> None:
    started = chaos.engine.exec_create(container, ["touch", GO])
    assert chaos.engine.exec_start(started["Id"]) == b""


async def _succeeded(goal: Goal, task_id: str) -> None:
    async def look() -> bool:
        tasks = {t.id: t for t in (await goal.progress()).tasks}
        assert tasks[task_id].failure is None, tasks[task_id].failure
        return tasks[task_id].state is TaskState.SUCCEEDED

    await until(look, f"the end of task {task_id}")


async def test_a_worker_killed_in_mid_sandbox_leaves_a_command_that_runs_once(
    chaos: Chaos, developer: Client
) -> None:
    """The next worker adopts the container that still runs, and collects its output."""
    branch = chaos.host.repository.feature("feature/worker", "The worker died!")
    goal = await developer.submit(HELD_MERGE, repository=chaos.host.url, branch=branch)
    container = await _held(chaos, goal)
    before = await chaos.victims.kill("worker")
    assert await chaos.leases(goal.id) == ["hold"], "there is nothing to revoke after the death"
    await chaos.victims.back(before)
    assert chaos.containers(goal.id) == [container], "the command died with its worker"
    _let_go(chaos, container)
    result = await chaos.sound(goal)
    assert chaos.starts.sandboxes(goal.id) == ["hold"]
    outputs = result.outputs("hold")
    assert isinstance(outputs, dict)
    assert f"{outputs['output_tail']}".split("\n")[:2] == [HELD, "ended"]


async def test_openbao_killed_between_tasks_delays_the_next_one_only(
    chaos: Chaos, developer: Client
) -> None:
    """The goal is paused between two tasks, so that the second begins while Vault is gone."""
    branch = chaos.host.repository.feature("feature/vault", "Vault died!")
    goal = await developer.submit(HELD_MERGE, repository=chaos.host.url, branch=branch)
    container = await _held(chaos, goal)
    await goal.pause("to kill Vault between two tasks")
    _let_go(chaos, container)
    await _succeeded(goal, "hold")
    before = await chaos.victims.kill("vault")
    await goal.resume("Vault is gone")
    await chaos.victims.back(before)
    await chaos.sound(goal)
    assert chaos.starts.sandboxes(goal.id) == ["hold"]


async def test_temporal_killed_while_awaiting_approval_forgets_nothing(
    chaos: Chaos, developer: Client, operator: Client, app: DeployedApp
) -> None:
    """The request is the same afterwards, and its approval merges and deploys once."""
    branch = chaos.host.repository.feature("feature/temporal", "Temporal died!")
    goal = await developer.submit(
        "deploy-branch",
        repository=chaos.host.url,
        branch=branch,
        app=app.name,
        replicas=1,
        monitor_seconds=1,
    )
    request = await asked(goal)
    before = await chaos.victims.kill("temporal")
    await chaos.victims.back(before)
    assert await asked(goal) == request
    await decide(operator, request)
    await chaos.sound(goal)
    chaos.decided_once(goal.id, actions=2)
    assert chaos.starts.sandboxes(goal.id) == ["lint", "test"]
    assert chaos.starts.services(app.name) == 1
    assert await app.greetings() == {"Temporal died!"}
