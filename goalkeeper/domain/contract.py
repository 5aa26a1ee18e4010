"""The contract: a YAML file's shape, before it is compiled into a plan.

It says what may be written; `goalkeeper.domain.compiler` says what it means.
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from goalkeeper.domain.base import Duration, Json, Model, Name, TaskId
from goalkeeper.domain.inputs import InputSpec
from goalkeeper.domain.plan import RetryPolicy

GATE = "approval"
"""What a task says it uses when it is an approval gate."""

InputName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class TaskSpec(Model):
    """One task of a contract."""

    # Written and read as `with`, also on its way through Temporal.
    model_config = ConfigDict(serialize_by_alias=True)

    id: TaskId
    uses: str
    """An operation (``git.merge_branch``), or ``approval`` for a gate."""
    summary: Annotated[str, Field(max_length=500)] = ""
    """One sentence for people."""
    with_: Annotated[dict[str, Json], Field(alias="with")] = {}
    """The operation's inputs; ``${{ … }}`` holds a JMESPath over `inputs` and `tasks`."""
    needs: tuple[TaskId, ...] = ()
    """Further tasks to wait for; those that an expression names are waited for anyway."""
    credentials: dict[str, Name] = {}
    """Credential slot → role."""
    retry: RetryPolicy = RetryPolicy()
    timeout: Duration = Field(default="PT10M", validate_default=True)
    """Temporal's start-to-close time-out of one attempt."""
    priority: Annotated[int, Field(ge=1, le=5)] = 3
    """1 runs before 5 when both are ready."""
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

    version: Literal["1"] = "1"
    name: Name
    description: str = ""
    environment: str = "development"
    """A name, or an expression over `inputs` alone."""
    inputs: dict[InputName, InputSpec] = {}
    tasks: Annotated[tuple[TaskSpec, ...], Field(min_length=1, max_length=20_000)]
