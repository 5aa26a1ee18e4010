"""Operations as the connectors declare them, in shape: nothing here runs."""

# ruff: noqa: D101 - the names say all there is

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from goalkeeper.domain.base import Duration, Model
from goalkeeper.domain.operation import Compensation, Operation, Risk


class In(Model):
    """Inputs."""


class Out(Model):
    """Outputs."""


class ReadFileIn(In):
    repository: Annotated[str, Field(min_length=1)]
    ref: str = "main"
    path: str


class ReadFileOut(Out):
    content: str
    commit: str
    size: int


class DescribeIn(In):
    repository: Annotated[str, Field(min_length=1)]
    branch: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")]
    base: str = "main"


class DescribeOut(Out):
    commit: str
    base_commit: str
    branch: str
    base: str
    ahead: int
    behind: int
    changed_files: tuple[str, ...]
    summary: str
    mergeable: bool


class Source(Model):
    repository: str
    commit: str
    path: str = ""


class RunIn(In):
    image: str = ""
    command: Annotated[
        tuple[str, ...], Field(min_length=1, json_schema_extra={"expressions": False})
    ]
    source: Source | None = None
    environment: dict[str, str] = {}
    timeout: Duration = Field(default="PT5M", validate_default=True)
    memory_mb: Annotated[int, Field(ge=16)] = 512
    cpus: float = 1.0
    pids: int = 256
    output_limit: int = 1_000_000
    expect_exit: tuple[int, ...] = (0,)


class RunOut(Out):
    exit_code: int
    seconds: float
    oom_killed: bool
    output_tail: str
    truncated: bool


class PreviewIn(In):
    app: str
    repository: str
    commit: str
    environment: str
    replicas: Annotated[int, Field(ge=1)]
    port: int = 8080
    health_path: str = "/healthz"


class Current(Model):
    image: str
    commit: str
    replicas: int


class PreviewOut(Out):
    app: str
    image: str
    commit: str
    replicas: int
    current: Current | None
    changes: tuple[str, ...]
    port: int
    health_path: str


class MergeIn(In):
    repository: str
    branch: str
    base: str
    expected_commit: str
    message: str


class MergeOut(Out):
    commit: str
    base_before: str
    merged: bool


class DeployIn(In):
    app: str
    environment: str
    image: str
    commit: str
    replicas: int
    port: int
    health_path: str


class DeployOut(Out):
    release: str
    endpoints: tuple[str, ...]
    replicas: int
    previous: Current | None


class MonitorIn(In):
    app: str
    environment: str
    release: str
    seconds: Annotated[float, Field(gt=0)]
    interval: float = 1.0
    max_failures: int = 2


class MonitorOut(Out):
    checks: int
    failures: int
    healthy: bool


class NotifyIn(In):
    message: str
    channel: str = "ops"


class NotifyOut(Out):
    delivered_to: tuple[str, ...]


class NoteIn(In):
    """Takes nearly anything."""

    text: str | None = None
    number: int = 0
    anything: Any = None
    wait: Duration | None = None

    @model_validator(mode="after")
    def _told_why(self) -> Self:
        if self.wait is not None and self.text is None:
            raise ValueError("a wait needs a text")
        return self


class NoteOut(Out):
    text: str
    number: int
    maybe: str | None = None
    many: tuple[Current, ...] = ()
    anything: Any = None


def _undo(_: Any, __: Any) -> dict[str, Any]:
    return {}


def operation(name: str, inputs: type[Model], outputs: type[Model], **more: Any) -> Operation:
    """An operation that reads, unless told otherwise."""
    settings: dict[str, Any] = {"risk": Risk.READ, "idempotent": True, **more}
    return Operation(name=name, summary=name, inputs=inputs, outputs=outputs, **settings)


_TOKEN = {"credentials": ("token",)}
_ALL = (
    operation("git.read_file", ReadFileIn, ReadFileOut, quick=True, **_TOKEN),
    operation("git.describe_branch", DescribeIn, DescribeOut, **_TOKEN),
    operation(
        "sandbox.run",
        RunIn,
        RunOut,
        risk=Risk.WRITE,
        pins={"image": "image"},
        optional_credentials=("token",),
        **_TOKEN,
    ),
    operation("apps.preview", PreviewIn, PreviewOut, **_TOKEN),
    operation(
        "git.merge_branch",
        MergeIn,
        MergeOut,
        risk=Risk.WRITE,
        compensation=Compensation("git.revert_merge", _undo),
        **_TOKEN,
    ),
    operation(
        "apps.deploy",
        DeployIn,
        DeployOut,
        risk=Risk.WRITE,
        compensation=Compensation("apps.restore", _undo),
    ),
    operation("apps.monitor", MonitorIn, MonitorOut),
    operation("notify.send", NotifyIn, NotifyOut, risk=Risk.WRITE, idempotent=False),
    operation("note.take", NoteIn, NoteOut),
)
OPERATIONS = {o.name: o for o in _ALL}
