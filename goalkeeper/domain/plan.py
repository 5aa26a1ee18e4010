"""The plan: the compiled, canonical DAG of tasks that one goal will carry out.

It holds values and references to earlier outputs; it resolves nothing by itself but its own form.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from goalkeeper.domain.base import (
    Digest,
    Duration,
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


class RetryPolicy(Model):
    """How often and how fast a failed attempt is repeated; the words are Temporal's."""

    maximum_attempts: Annotated[int, Field(ge=1, le=100)] = 10
    """Attempts lost with their worker count too; permanent errors end the task at once."""
    initial_interval: Duration = Field(default="PT1S", validate_default=True)
    backoff_coefficient: Annotated[float, Field(ge=1, le=10)] = 2.0
    maximum_interval: Duration = Field(default="PT1M", validate_default=True)


class PlanTask(Model):
    """One node of the DAG."""

    id: TaskId
    operation: OperationName
    summary: str = ""
    """The contract's own sentence about the task."""
    inputs: dict[str, Json] = {}
    """Literal values; where `bindings` names a place, the value here is null."""
    bindings: dict[str, str] = {}
    """JSON Pointer into `inputs` → JMESPath over ``{"tasks": {id: outputs}}``."""
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
    compensation: OperationName | None = None
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
