"""`sandbox.run`: a command in a throw-away container, as an operation like any other.

It says what a container's end means; `run` is the container's life. Fetching the source is handed
in, since nothing here may know a connector.
"""

import asyncio
import hashlib
import shlex
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import ClassVar

import structlog
from pydantic import SecretStr

from goalkeeper.contracts.connector import OperationCall, OperationResult
from goalkeeper.domain.base import Json
from goalkeeper.domain.credential import Credentials
from goalkeeper.domain.errors import (
    CheckFailed,
    EngineUnavailable,
    InvalidGoal,
    NotFound,
    SandboxLimitExceeded,
)
from goalkeeper.domain.operation import Operation, Risk
from goalkeeper.settings import Settings
from sandbox import reaper
from sandbox.engine import Engine
from sandbox.model import SandboxInputs, SandboxOutputs
from sandbox.output import Output
from sandbox.run import Ended, Run
from sandbox.spec import container_name, labels, sandbox_config

log = structlog.get_logger(__name__)

Fetch = Callable[[str, str, str, SecretStr | None], Awaitable[bytes]]
"""Repository, commit, path and token → a tar of the files."""

_NEVER_BEGUN = "exec timeout failed"
"""What the engine's init says when the image lacks the program that ends commands in time."""
_TOLD_COMMAND = 300
_TOLD_OUTPUT = 1300

RUN = Operation(
    name="sandbox.run",
    summary="Run a command in a throw-away container without network.",
    inputs=SandboxInputs,
    outputs=SandboxOutputs,
    # Whatever the command does ends with its container: nothing outside can notice it.
    risk=Risk.READ,
    idempotent=True,
    credentials=("token",),
    # Only a source may need it.
    optional_credentials=("token",),
    pins={"image": "image"},
)


class SandboxConnector:
    """The connector of service ``sandbox``; also `Pinning`.

    Args:
        settings: the engine's address, the default image, how many containers run at a time.
        fetch: exports a commit; its token never enters the container.
        engine: a connection to share; its own when None.
    """

    service: ClassVar[str] = "sandbox"
    operations: ClassVar[Mapping[str, Operation]] = {RUN.name: RUN}

    def __init__(self, settings: Settings, fetch: Fetch, engine: Engine | None = None) -> None:
        self.engine = engine or Engine(settings.docker_host)
        self._fetch = fetch
        self._default_image = settings.sandbox_image
        self._slots = asyncio.Semaphore(settings.sandbox_concurrency)
        self.installation = installation(settings)
        """What this installation's containers are labelled with."""
        self._watching: Counter[str] = Counter()

    async def pin(self, kind: str, value: Json) -> Json:
        """The id of the image that a reference names now; empty means the default image.

        Raises:
            InvalidGoal: it is not text, or the engine does not hold it.
        """
        if kind != "image" or not isinstance(value, str | None):
            raise InvalidGoal(f"sandbox.run: 'image' must be an image's name, not {value!r}")
        try:
            return await self.engine.image_id(value or self._default_image)
        except NotFound as error:
            raise InvalidGoal(error.message) from None

    async def execute(self, call: OperationCall, credentials: Credentials) -> OperationResult:
        """Run the command once for `call.key`, however many attempts it takes.

        Raises:
            CheckFailed: it ended with another exit code than the expected one.
            SandboxLimitExceeded: it took more time, memory or space than it was given.
            InvalidGoal: its image, source or limits do not allow it to start.
            EngineUnavailable: the engine went away; a retry adopts the container.
        """
        inputs: SandboxInputs = call.inputs
        name = container_name(self.installation, call.key)
        output = Output(call.log, inputs.output_limit)
        self._watching[name] += 1
        try:
            async with self._slots:
                run = await self._run(call, name, credentials.get("token"))
                ended = await self._finish(run, call, output)
        finally:
            self._watching[name] -= 1
        return OperationResult(await self._judge(run, inputs, ended, output))

    async def release(self, goal_id: str) -> int:
        """Remove every container of a goal, running or kept; how many there were."""
        return await reaper.release(self.engine, self.installation, goal_id)

    async def reap(self) -> int:
        """End what is over its deadline and remove what nobody collects; how many were touched."""
        return await reaper.reap(self.engine, self.installation)

    def close(self) -> None:
        """Let go of the engine."""
        self.engine.close()

    async def _run(self, call: OperationCall, name: str, token: SecretStr | None) -> Run:
        inputs: SandboxInputs = call.inputs
        image = inputs.image or str(await self.pin("image", ""))
        marks = labels(
            call, inputs, installation=self.installation, image=image, now=datetime.now(UTC)
        )

        async def source() -> bytes:
            return await self._source(inputs, token)

        return Run(
            self.engine,
            name,
            sandbox_config(inputs, image, marks),
            timeout=inputs.timeout,
            source=source if inputs.source else None,
        )

    async def _finish(self, run: Run, call: OperationCall, output: Output) -> Ended:
        try:
            return await run.finish(output)
        except asyncio.CancelledError:
            # A second attempt in this process may have adopted it: then it is no longer ours.
            if call.detaching() or self._watching[run.name] > 1:
                log.info("sandbox.detached", container=run.name)
            else:
                await run.destroy()
                log.info("sandbox.killed", container=run.name)
            raise

    async def _source(self, inputs: SandboxInputs, token: SecretStr | None) -> bytes:
        if inputs.source is None:
            return b""
        wanted = inputs.source
        files = await self._fetch(wanted.repository, wanted.commit, wanted.path, token)
        if len(files) > inputs.workspace_mb * 1024 * 1024:
            raise SandboxLimitExceeded(
                f"the files of commit '{wanted.commit[:12]}' take {len(files) // 1_048_576 + 1} MB,"
                f" more than the workspace's {inputs.workspace_mb} MB; raise workspace_mb,"
                " or name a folder with source.path"
            )
        return files

    async def _judge(
        self, run: Run, inputs: SandboxInputs, ended: Ended, output: Output
    ) -> SandboxOutputs:
        """Success or the error that says why not."""
        if ended.exit_code == inputs.expect_exit and not ended.timed_out:
            return SandboxOutputs(
                exit_code=ended.exit_code,
                seconds=ended.seconds,
                oom_killed=ended.oom_killed,
                output_tail=output.tail,
                truncated=output.truncated,
            )
        if ended.lost:
            # Kept, every retry would collect the same nothing.
            await run.destroy()
            raise EngineUnavailable(
                f"the command was killed from outside (exit code {ended.exit_code}), by an engine"
                " restart or by hand; a retry runs it again"
            )
        if _NEVER_BEGUN in output.tail:
            raise InvalidGoal(
                f"the image '{inputs.image or self._default_image}' cannot run commands: it holds"
                " no `timeout`; use one with `timeout`, and `sh` and `tar` where a source is given"
            )
        command = shlex.join(inputs.command)
        told = command if len(command) <= _TOLD_COMMAND else command[: _TOLD_COMMAND - 1] + "…"
        end = output.tail[-_TOLD_OUTPUT:].strip() or "(nothing)"
        if ended.timed_out:
            limit = inputs.timeout.total_seconds()
            raise SandboxLimitExceeded(
                f"`{told}` was ended after its time limit of {limit:g} s; raise timeout if it"
                f" needs longer. Its output ends with:\n{end}"
            )
        if ended.oom_killed:
            raise SandboxLimitExceeded(
                f"`{told}` ran out of memory and ended with exit code {ended.exit_code}; raise"
                f" memory_mb (now {inputs.memory_mb}). Its output ends with:\n{end}"
            )
        raise CheckFailed(
            f"`{told}` ended with exit code {ended.exit_code} after {ended.seconds:.1f} s, where"
            f" {inputs.expect_exit} was expected. Its output ends with:\n{end}"
        )


def installation(settings: Settings) -> str:
    """Tells the containers of two installations on one engine apart.

    Goal ids are unique within one Temporal namespace of one installation only.
    """
    seed = f"{settings.state}\n{settings.temporal_namespace}"
    return hashlib.sha256(seed.encode()).hexdigest()[:8]
