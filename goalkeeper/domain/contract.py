"""The contract: a YAML file's shape, before it is compiled into a plan.

It says what may be written; `goalkeeper.domain.compiler` says what it means.
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from goalkeeper.domain.base import Duration, Json, Model, Name, TaskId
from goalkeeper.domain.inputs import InputSpec
from goalkeeper.domain.plan import OnFailure, RetryPolicy, RunRule, WhileWaiting

GATE = "approval"
"""What a task says it uses when it is an approval gate."""
CHILD = "goal"
"""What a task says it uses when it is a goal of its own."""
WAIT = "wait"
"""What a task says it uses when it waits for a time or an event."""

InputName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class LockSpec(Model):
    """A named lock; ``lock: NAME`` is short for ``lock: {name: NAME}``."""

    name: str
    """A name, or an expression over `inputs` alone."""
    while_waiting: WhileWaiting = WhileWaiting.RELEASE
    hold_for: Duration | None = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class TaskSpec(Model):
    """One task of a contract."""

    # Written and read as `with`, also on its way through Temporal.
    model_config = ConfigDict(serialize_by_alias=True)

    id: TaskId
    uses: str
    """An operation (``git.merge_branch``), or ``approval``, ``goal`` or ``wait``."""
    summary: Annotated[str, Field(max_length=500)] = ""
    """One sentence for people."""
    with_: Annotated[dict[str, Json], Field(alias="with")] = {}
    """The operation's inputs; ``${{ … }}`` holds JMESPath over `inputs`, `tasks` and
    what else `goalkeeper.domain.expressions` names."""
    needs: tuple[TaskId, ...] = ()
    """Further tasks to wait for; those that an expression names are waited for anyway."""
    credentials: dict[str, Name] = {}
    """Credential slot → role."""
    retry: RetryPolicy = RetryPolicy()
    """How often and how fast a failed attempt is repeated."""
    timeout: Duration = Field(default="PT10M", validate_default=True)
    """Temporal's start-to-close time-out of one attempt."""
    schedule_to_close_timeout: Duration | None = None
    """Temporal's schedule-to-close time-out: all attempts and the pauses between them."""
    priority: Annotated[int, Field(ge=1, le=5)] = 3
    """1 runs before 5 when both are ready."""
    run: RunRule = RunRule.ALL_SUCCEEDED
    """How the tasks in `needs` must have ended."""
    when: str | bool | None = None
    """An expression; the task is skipped when it is not met."""
    for_each: str | tuple[Json, ...] | None = None
    """A list, or an expression that yields one: the task runs once for each item, which
    expressions see as ``each.item`` and ``each.index``; its output is the list of outputs."""
    width: Annotated[int, Field(ge=1, le=200)] = 10
    """How many items of `for_each` run at a time."""
    on_failure: OnFailure | None = None
    """Instead of the contract's."""
    lock: LockSpec | None = None
    """The goal has this lock from the first task that names it to the end of the last."""
    covers: tuple[TaskId, ...] = ()
    """Of an approval: the later tasks whose actions are put to people in one request."""
    show: tuple[TaskId, ...] = ()
    """Of an approval: the earlier tasks whose outputs stand on the card."""

    @property
    def is_gate(self) -> bool:
        """Whether it asks people instead of running something."""
        return self.uses == GATE


class Contract(Model):
    """A declared kind of goal."""

    # Written and read as `finally`, also on its way through Temporal.
    model_config = ConfigDict(serialize_by_alias=True)

    version: Literal["1"] = "1"
    name: Name
    description: str = ""
    environment: str = "development"
    """A name, or an expression over `inputs` alone."""
    inputs: dict[InputName, InputSpec] = {}
    on_failure: OnFailure = OnFailure.ROLL_BACK
    tasks: Annotated[tuple[TaskSpec, ...], Field(min_length=1, max_length=20_000)]
    finally_: Annotated[tuple[TaskSpec, ...], Field(alias="finally", max_length=1000)] = ()
    """Tasks that always run once everything else is over, compensation included."""
