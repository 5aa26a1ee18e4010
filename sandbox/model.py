"""The inputs and outputs of `sandbox.run`: what may be asked for, and within which bounds.

It starts nothing; `spec` turns an input into a container's configuration.
"""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from goalkeeper.domain.base import Model

_Argument = Annotated[str, Field(max_length=32_768, pattern=r"^[^\x00]*$")]
_Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]


class Source(Model):
    """A commit whose files are put into the workspace."""

    repository: Annotated[str, Field(min_length=1, max_length=2048)]
    """The URL to fetch from."""
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]
    """The full commit id: a branch would not say what runs."""
    path: Annotated[str, Field(max_length=1024)] = ""
    """A folder inside the repository; empty takes all of it."""


class SandboxInputs(Model):
    """One command and its limits."""

    image: Annotated[str, Field(max_length=512)] = ""
    """A local image with `sh`, `tar` and `timeout`; empty takes the installation's default."""
    command: Annotated[
        tuple[_Argument, ...],
        Field(min_length=1, max_length=1000, json_schema_extra={"expressions": False}),
    ]
    """Program and arguments, as they are: no shell reads them, and no expression may stand here."""
    source: Source | None = None
    environment: dict[_Variable, _Argument] = Field(default={}, max_length=100)
    """Variables; never secrets, since they stand in the plan and in the engine's records."""
    timeout: Annotated[timedelta, Field(ge=timedelta(seconds=1), le=timedelta(hours=24))] = Field(
        default="PT5M", validate_default=True
    )
    """For the command, from its start; keep it below the task's own time-out."""
    memory_mb: Annotated[int, Field(ge=16, le=65_536)] = 512
    """For processes; the files in the workspace do not take from it."""
    workspace_mb: Annotated[int, Field(ge=1, le=16_384)] = 256
    """For the files in `/workspace`, which live in memory and end with the container."""
    cpus: Annotated[float, Field(ge=0.05, le=64)] = 1.0
    pids: Annotated[int, Field(ge=8, le=32_768)] = 256
    """Processes and threads."""
    output_limit: Annotated[int, Field(ge=1024, le=16_777_216)] = 1_048_576
    """Bytes of output to keep; the command goes on beyond them, and its last lines are kept."""
    expect_exit: Annotated[int, Field(ge=0, le=255)] = 0
    """The exit code that counts as success."""


class SandboxOutputs(Model):
    """How the command ended."""

    exit_code: int
    seconds: float
    oom_killed: bool
    """The kernel killed some process for its memory, even where the command itself went on."""
    output_tail: str
    """About the last two thousand bytes that it printed."""
    truncated: bool
    """It printed more than `output_limit`."""
