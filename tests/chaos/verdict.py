"""What must hold once the storm is over, told as a list of complaints.

It only looks.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing

import docker

from goalkeeper.audit import AuditLog
from goalkeeper.client import Client
from goalkeeper.contracts import locks
from goalkeeper.contracts.goal import WORKFLOW
from goalkeeper.domain.errors import GoalkeeperError
from goalkeeper.domain.goal import GoalResult
from goalkeeper.domain.plan import TaskState
from goalkeeper.ledger import Ledger
from goalkeeper.settings import Settings
from sandbox.runner import installation
from sandbox.spec import LABEL_INSTALLATION
from tests.chaos.shapes import LOCK
from tests.chaos.witness import Book, Line

_LEFT = 90.0
"""Seconds that clean-ups have after the last goal: a lock looks after its holder every minute."""
_EFFECTS = ("witness.write", "witness.strike", "blind.strike")


async def complaints(
    settings: Settings, results: Mapping[str, GoalResult], book: Book, *, engine: bool
) -> list[str]:
    """Everything that is wrong, in words."""
    found = counted(results, book.lines())
    try:
        AuditLog.open(settings.audit_file, readonly=True).verify()
    except GoalkeeperError as error:
        found.append(f"the audit log does not verify: {error.message}")
    async with Client.connect(settings) as client:
        for _ in range(int(_LEFT)):
            left = await _left_over(settings, client, engine=engine)
            if not left:
                break
            await asyncio.sleep(1)
    return [*found, *left]


def counted(results: Mapping[str, GoalResult], lines: Sequence[Line]) -> list[str]:
    """Whether each effect happened as often as its task's state says."""
    done = Counter((n.goal_id, n.task_id) for n in lines if not n.undone)
    # A compensation runs under the id of the task that it undoes.
    undone = Counter((n.goal_id, n.task_id) for n in lines if n.undone)
    found: list[str] = []
    for goal_id, result in results.items():
        of_items = {task.id.partition(".")[0] for task in result.tasks if "." in task.id}
        for task in result.tasks:
            # A task that runs for each item of a list does nothing itself.
            if task.operation in _EFFECTS and task.id not in of_items:
                key = goal_id, task.id
                found += _wrong(key, task.state, done.pop(key, 0), undone.pop(key, 0))
    found += [f"{goal}: '{task}' left {n} lines and is no task" for (goal, task), n in done.items()]
    return found


def _wrong(key: tuple[str, str], state: TaskState, done: int, undone: int) -> list[str]:
    allowed: Mapping[TaskState, tuple[set[int], set[int]]] = {
        TaskState.SUCCEEDED: ({1}, {0}),
        TaskState.COMPENSATED: ({1}, {1}),
        TaskState.UNKNOWN: ({0, 1}, {0}),
    }
    times, undoings = allowed.get(state, ({0}, {0}))
    if done in times and undone in undoings:
        return []
    return [f"{key[0]}: task '{key[1]}' is {state}, happened {done} and was undone {undone} times"]


async def _left_over(settings: Settings, client: Client, *, engine: bool) -> list[str]:
    return [
        *await _leases(settings),
        *(await asyncio.to_thread(_containers, settings) if engine else []),
        *await _workflows(client),
        *await _locks(client),
    ]


async def _leases(settings: Settings) -> list[str]:
    ledger = Ledger.open(settings.ledger_file)
    try:
        open_ = await ledger.open_leases()
    finally:
        await ledger.aclose()
    return [f"{lease.goal_id}: task '{lease.task_id}' still has a credential" for lease in open_]


def _containers(settings: Settings) -> list[str]:
    with closing(docker.APIClient(base_url=settings.docker_host, version="auto")) as api:
        label = f"{LABEL_INSTALLATION}={installation(settings)}"
        found = api.containers(all=True, filters={"label": label})
    return [f"container {c['Names'][0]} is left over ({c['Status']})" for c in found]


async def _workflows(client: Client) -> list[str]:
    temporal = await client.temporal()
    query = f'WorkflowType = "{WORKFLOW}" AND ExecutionStatus = "Running"'
    return [f"{w.id} still runs" async for w in temporal.list_workflows(query)]


async def _locks(client: Client) -> list[str]:
    temporal = await client.temporal()
    query = 'WorkflowType = "LockWorkflow" AND ExecutionStatus = "Running"'
    names = [w.id async for w in temporal.list_workflows(query)]
    if locks.workflow_id(LOCK) not in names:
        return []
    handle = temporal.get_workflow_handle(locks.workflow_id(LOCK))
    view: locks.LockView = await handle.query(locks.QUERY_VIEW, result_type=locks.LockView)
    held = [*view.holders, *view.queue]
    return [f"lock '{LOCK}' is still held or wanted by {claim.goal_id}" for claim in held]
