"""The plan: the compiled, canonical DAG of tasks that one goal will carry out.

It holds values and references to earlier outputs; it resolves nothing by itself but its own form.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from goalkeeper.domain.base import (
    Digest,
    Duration,
    Factor,
    Instant,
    Json,
    Model,
    Name,
    OperationName,
    TaskId,
    digest_of,
)
from goalkeeper.domain.operation import Risk

SCHEMA_VERSION = 1
APPROVAL = "goalkeeper.approval"
"""The operation name of an approval gate, which the interpreter itself carries out."""
GOAL = "goalkeeper.goal"
"""The operation name of a child goal; its inputs are ``{"contract": name, "inputs": {…}}``."""
WAIT = "goalkeeper.wait"
"""The operation name of a wait; its inputs are `WaitInputs`."""
BUILT_IN = frozenset({APPROVAL, GOAL, WAIT})
"""What the interpreter carries out itself, without a connector."""
MOST_ITEMS = 1000
"""Items of one `ForEach`."""


ErrorCode = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z]{0,62}$")]
"""A class name of `goalkeeper.domain.errors`."""


class TaskState(StrEnum):
    """Where a task stands."""

    PENDING = "Pending"
    AWAITING_APPROVAL = "AwaitingApproval"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SKIPPED = "Skipped"
    CANCELLED = "Cancelled"
    COMPENSATED = "Compensated"
    UNKNOWN = "Unknown"


class GoalState(StrEnum):
    """Where a goal stands; also the value of the search attribute ``GoalState``."""

    PLANNING = "Planning"
    RUNNING = "Running"
    AWAITING_APPROVAL = "AwaitingApproval"
    PAUSED = "Paused"
    COMPENSATING = "Compensating"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    DENIED = "Denied"
    CANCELLED = "Cancelled"
    ROLLED_BACK = "RolledBack"


class RunRule(StrEnum):
    """How a task's needs must have ended for it to run; the words are the contract's."""

    ALL_SUCCEEDED = "all_succeeded"
    """Each succeeded, or was skipped by its own condition or by a person."""
    ALL_DONE = "all_done"
    """Each has ended, however."""
    ANY_FAILED = "any_failed"
    """Each has ended, and at least one failed, was cancelled or is unknown."""


class OnFailure(StrEnum):
    """What a task's failure means for its goal."""

    ROLL_BACK = "roll_back"
    """Nothing further starts, and what succeeded is undone, the last first."""
    STOP = "stop"
    """Nothing further starts, and what succeeded stays."""
    CONTINUE = "continue"
    """The goal goes on and may still succeed; only what needs this task is skipped."""


class WhileWaiting(StrEnum):
    """What becomes of a lock while people are asked."""

    RELEASE = "release"
    """Others may have it; when it comes back and somebody had it, what was read is read again."""
    HOLD = "hold"
    """It is kept."""


class LockUse(Model):
    """A named lock, which at most one goal has at a time."""

    name: Name
    while_waiting: WhileWaiting = WhileWaiting.RELEASE
    hold_for: Duration | None = None
    """With `hold`: for so long, and then as with `release`; None: until people have decided."""


class ForEach(Model):
    """A list, and how many of its items run at a time. Exactly one of the first two is set."""

    items: tuple[Json, ...] | None = None
    expression: str | None = None
    """JMESPath that yields the list once the tasks that it names have run."""
    width: Annotated[int, Field(ge=1, le=200)] = 10


class WaitInputs(Model):
    """What a wait waits for: exactly one of the first three."""

    duration: Duration | None = None
    """Written `for` in contracts."""
    until: Instant | None = None
    signal: Name | None = None
    """An event of this name, which `goalkeeper signal` or a service sends; its payload is the
    task's output `payload`. It proves nobody: an event is no approval."""
    timeout: Duration | None = None
    """With `signal`: the task fails when nothing came within it; None waits for ever."""


class RetryPolicy(Model):
    """How often and how fast a failed attempt is repeated; the words are Temporal's."""

    maximum_attempts: Annotated[int, Field(ge=1, le=100)] = 10
    """Attempts lost with their worker count too; permanent errors end the task at once."""
    initial_interval: Duration = Field(default="PT1S", validate_default=True)
    backoff_coefficient: Annotated[Factor, Field(ge=1, le=10)] = 2.0
    maximum_interval: Duration = Field(default="PT1M", validate_default=True)
    non_retryable: tuple[ErrorCode, ...] = ()
    """Codes of errors that end the task at once although repeating might help."""


class PlanTask(Model):
    """One node of the DAG."""

    id: TaskId
    operation: OperationName
    summary: str = ""
    """The contract's own sentence about the task."""
    inputs: dict[str, Json] = {}
    """Literal values; where `bindings` names a place, the value here is null."""
    bindings: dict[str, str] = {}
    """JSON Pointer into `inputs` → JMESPath over the scope: ``tasks`` (id → outputs), ``states``
    (id → state), ``each`` (``item``, ``index``; with `for_each`) and ``goal`` (``id``, ``state``,
    ``failure``; in tasks that always run)."""
    nullable: tuple[str, ...] = ()
    """The pointers of `bindings` where null may stand."""
    needs: tuple[TaskId, ...] = ()
    risk: Risk = Risk.READ
    idempotent: bool = True
    quick: bool = False
    credentials: dict[str, Name] = {}
    """Credential slot → role."""
    retry: RetryPolicy = RetryPolicy()
    start_to_close_timeout: Duration = Field(default="PT10M", validate_default=True)
    priority: Annotated[int, Field(ge=1, le=5)] = 3
    """1 runs before 5 when both are ready."""
    schedule_to_close_timeout: Duration | None = None
    """Of all attempts and the pauses between them together; None: only attempts are counted."""
    run: RunRule = RunRule.ALL_SUCCEEDED
    when: str | None = None
    """JMESPath over the scope; the task is skipped when it yields false, null, "" or nothing."""
    for_each: ForEach | None = None
    on_failure: OnFailure = OnFailure.ROLL_BACK
    lock: LockUse | None = None
    always: bool = False
    """Runs after everything else, whatever became of it: the contract's `finally`."""
    compensation: OperationName | None = None
    undoes: str | None = None
    """The ledger's key of what this task undoes; only planning a rollback sets it."""
    covers: tuple[TaskId, ...] = ()
    """Of an approval gate: the tasks whose actions one request puts to people."""
    show: tuple[TaskId, ...] = ()
    """Of an approval gate: the tasks whose outputs stand on the card."""


class Plan(Model):
    """A compiled goal. `tasks` is in topological order, ties by the order of the contract."""

    schema_version: Literal[1] = 1
    contract: Name
    contract_digest: Digest
    environment: Name
    inputs: dict[str, Json] = {}
    tasks: Annotated[tuple[PlanTask, ...], Field(min_length=1, max_length=20_000)]

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical form."""
        return digest_of(self)
