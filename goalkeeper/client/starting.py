"""Starting goals: their ids, the proof of who asks, and the same goal when asked for again.

It starts workflows and reads what is known of them; what they do is for the worker.
"""

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog
from pydantic import TypeAdapter, ValidationError
from temporalio.client import WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from goalkeeper.client.failures import mapped
from goalkeeper.contracts.goal import WORKFLOW, GoalInput
from goalkeeper.domain.base import GoalId
from goalkeeper.domain.errors import Conflict, InvalidGoal, NotFound

if TYPE_CHECKING:
    from goalkeeper.client.client import Client

_log = structlog.get_logger(__name__)
AT_ONCE = 8
"""Starts that one client has under way: more would not be done sooner, and would keep the server
from taking people's answers meanwhile."""
_MEMO = "goalkeeper.input_digest"
_GOING = (WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.CONTINUED_AS_NEW)


def new_id(contract: str) -> str:
    """An id that nobody has: the contract's name, the time and a random end."""
    now = datetime.now(UTC)
    return f"{contract}-{now:%Y%m%d}-{now:%H%M%S}-{secrets.token_hex(3)}"


def valid_id(goal_id: str) -> str:
    """The id, if it may be one.

    Raises:
        InvalidGoal: it may not.
    """
    try:
        return TypeAdapter(GoalId).validate_python(goal_id)
    except ValidationError:
        raise InvalidGoal(
            f"'{goal_id[:140]}' cannot be a goal id: use letters, digits, '.', '_' and '-', "
            "128 at most, a letter or digit first"
        ) from None


async def start(client: "Client", goal: GoalInput, goal_id: str) -> None:
    """Start a goal in the client's name; the same goal under the same id is started once.

    Raises:
        Conflict: the id is in use for something else.
        ServiceUnavailable: Temporal, or the gateway that would attest, does not answer.
    """
    try:
        async with client.starting:
            await _start(client, goal, goal_id)
    except WorkflowAlreadyStartedError:
        digest, _ = await _known(client, goal_id)
        if digest != goal.digest:
            raise Conflict(
                f"goal id '{goal_id}' is already in use for a goal with another contract or other "
                "inputs. Choose another id, or leave it out."
            ) from None


async def _start(client: "Client", goal: GoalInput, goal_id: str) -> None:
    attested = await _attested(client, goal, goal_id)
    temporal = await client.temporal()
    with mapped(client.settings):
        await temporal.start_workflow(
            WORKFLOW,
            attested,
            id=goal_id,
            task_queue=client.settings.task_queue,
            memo={_MEMO: goal.digest},
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        )


async def start_after(
    client: "Client", goal: GoalInput, earlier: str, what: str, *, once: bool
) -> str:
    """Start a goal that follows on another, as ``EARLIER--WHAT-N`` with the first free N.

    Repeating the call finds the goal that it has started: sending a command twice does nothing
    twice.

    Args:
        client: in whose name.
        goal: what to start.
        earlier: the goal that it follows on.
        what: ``rerun`` or ``rollback``: a hyphen and a number behind it keep the id apart from
            those of child goals, which end in a dot and a number.
        once: whether one that has succeeded is enough for ever, and not only while it runs.

    Raises:
        InvalidGoal: the id would be too long.
        ServiceUnavailable: Temporal, or the gateway that would attest, does not answer.
    """
    enough = (*_GOING, WorkflowExecutionStatus.COMPLETED) if once else _GOING
    number = 0
    while True:
        number += 1
        chosen = valid_id(f"{earlier}--{what}-{number}")
        try:
            digest, status = await _known(client, chosen)
        except NotFound:
            await start(client, goal, chosen)
            return chosen
        if digest == goal.digest and status in enough:
            return chosen


async def _known(
    client: "Client", goal_id: str
) -> tuple[str | None, WorkflowExecutionStatus | None]:
    """What a goal was started with, and how its workflow stands."""
    temporal = await client.temporal()
    with mapped(client.settings, goal_id):
        known = await temporal.get_workflow_handle(goal_id).describe()
        return (await known.memo()).get(_MEMO), known.status


async def _attested(client: "Client", goal: GoalInput, goal_id: str) -> GoalInput:
    who = await client.who()
    if not client.has_person:
        _log.debug("requester unproven", goal_id=goal_id, requester=who)
        return goal.model_copy(update={"requester": who})
    envelope = await client.gateway().attest(goal_id, goal.digest)
    return goal.model_copy(update={"requester": who, "attestation": envelope})
