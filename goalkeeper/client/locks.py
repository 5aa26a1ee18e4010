"""Named locks, seen from outside: who has one, who waits, and breaking one.

It asks the locks' own workflows and keeps nothing.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError
from temporalio.client import WorkflowHandle

from goalkeeper.client.failures import mapped
from goalkeeper.client.people import local_user
from goalkeeper.contracts.locks import (
    QUERY_VIEW,
    UPDATE_BREAK,
    WORKFLOW,
    ControlInput,
    LockView,
    workflow_id,
)
from goalkeeper.domain.base import Name
from goalkeeper.domain.errors import InvalidGoal, NotFound, OperationFailed, ServiceUnavailable

if TYPE_CHECKING:
    from goalkeeper.client.client import Client

_ANSWER = timedelta(seconds=10)
_AT_ONCE = 20


async def list_locks(client: "Client") -> tuple[LockView, ...]:
    """Every lock that a goal has ever asked for, held ones first, by name.

    Raises:
        ServiceUnavailable: Temporal or the worker does not answer; retrying helps.
    """
    slots = asyncio.Semaphore(_AT_ONCE)

    async def look(ident: str) -> LockView | None:
        async with slots:
            return await _look(client, ident)

    found = await asyncio.gather(*[look(i) async for i in _running(client)])
    views = [v for v in found if v is not None]
    return tuple(sorted(views, key=lambda v: (not v.holders, v.name)))


async def break_lock(client: "Client", name: str, reason: str) -> LockView:
    """Take a lock from the goal that has it, and give it to the next in the queue.

    The goal is not stopped, and goes on as if it still had the lock: pause or cancel it first.

    Args:
        client: of the installation, in the name of whoever breaks the lock.
        name: the lock's.
        reason: why; it goes on record.

    Returns:
        The lock as it is afterwards.

    Raises:
        InvalidGoal: no reason is given, or no lock can have this name.
        NotFound: no goal has ever asked for a lock of this name.
        Conflict: it is free already.
        ServiceUnavailable: Temporal or the worker does not answer.
    """
    reason = reason.strip()
    if not reason:
        raise InvalidGoal("say why the lock is broken: the reason goes on record")
    handle = await _handle(client, workflow_id(_valid(name)))
    control = ControlInput(reason=reason[:2000], actor=(await _actor(client))[:200])
    try:
        with mapped(client.settings, handle.id):
            view: LockView = await handle.execute_update(
                UPDATE_BREAK, control, result_type=LockView, rpc_timeout=_ANSWER
            )
    except (NotFound, OperationFailed):
        raise NotFound(
            f"there is no lock '{name}': it begins with the first goal that asks for it. "
            "`goalkeeper locks` lists them."
        ) from None
    return view


async def _running(client: "Client") -> AsyncIterator[str]:
    temporal = await client.temporal()
    query = (
        f'WorkflowType = "{WORKFLOW}" AND ExecutionStatus = "Running" '
        f'AND TaskQueue = "{client.settings.task_queue}"'
    )
    with mapped(client.settings):
        async for found in temporal.list_workflows(query):
            yield found.id


async def _look(client: "Client", ident: str) -> LockView | None:
    handle = await _handle(client, ident)
    try:
        with mapped(client.settings, ident):
            view: LockView = await handle.query(
                QUERY_VIEW, result_type=LockView, rpc_timeout=_ANSWER
            )
    except NotFound:
        # It ended in between.
        return None
    return view


async def _handle(client: "Client", ident: str) -> WorkflowHandle[object, object]:
    return (await client.temporal()).get_workflow_handle(ident)


async def _actor(client: "Client") -> str:
    """Who breaks it. A gateway that is away must not keep anyone from it."""
    try:
        return await client.who()
    except ServiceUnavailable:
        return local_user()


def _valid(name: str) -> str:
    try:
        return TypeAdapter(Name).validate_python(name)
    except ValidationError:
        raise InvalidGoal(
            f"'{name[:80]}' cannot be a lock's name: use small letters, digits and '-', "
            "63 at most, a letter first"
        ) from None
