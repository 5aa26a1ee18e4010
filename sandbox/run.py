"""The life of one sandboxed container: found or started, followed to its end, read.

It knows containers and nothing of operations; what an end means is for `runner`.

The name is the idempotency key, and the engine lets only one container have it: whoever comes
second adopts. A finished container is kept (stopped it costs a little disk) until its goal ends or
the reaper comes: a worker that dies after the end and before the workflow heard of it would else
run the command a second time.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import docker
import structlog

from goalkeeper.domain.errors import (
    Conflict,
    EngineUnavailable,
    InvalidGoal,
    NotFound,
    OperationFailed,
)
from sandbox.engine import Engine
from sandbox.output import Output
from sandbox.spec import KILL_AFTER_SECONDS, LABEL_SPEC, SOURCE, wrapped
from sandbox.streams import Attached, Replayed, Stream

log = structlog.get_logger(__name__)

_TRIES = 100
_ADOPTABLE = {"running", "paused", "exited"}
_GRACE_SECONDS = 10
"""After the dead man's switch should have ended the command, before it is killed from here."""
_CLOCK_SLACK = 0.25
_ENDED_BY_SIGNAL = {137, 143}
_TIMED_OUT = 124


@dataclass(frozen=True)
class Ended:
    """How a container ended."""

    exit_code: int
    seconds: float
    oom_killed: bool
    timed_out: bool
    lost: bool
    """It was ended from outside (an engine restart, `docker kill`), which says nothing about it."""


class Run:
    """One attempt's hold on the container of one piece of work."""

    def __init__(
        self,
        engine: Engine,
        name: str,
        config: dict[str, Any],
        *,
        timeout: timedelta,
        source: Callable[[], Awaitable[bytes]] | None,
    ) -> None:
        self.name = name
        self._engine = engine
        self._config = config
        self._seconds = timeout.total_seconds()
        self._source = source
        self._files: bytes | None = None

    async def finish(self, output: Output) -> Ended:
        """Adopt the container or start it, and follow it to its end.

        Raises:
            EngineUnavailable: the engine went away, or the container did; a retry adopts it.
            InvalidGoal: the image or the limits do not allow the command to start.
        """
        container, stream, adopted = await self._acquire()
        log.info("sandbox.following", container=self.name, adopted=adopted)
        try:
            async with asyncio.timeout(self._seconds + KILL_AFTER_SECONDS + _GRACE_SECONDS):
                await self._engine.follow(stream, output.feed)
                state = await self._settled(container)
        except TimeoutError:
            # The switch inside was stopped or taken away by the command itself.
            await self._kill(container)
            state = await self._settled(container)
        output.finish()
        return self._ended(state, adopted)

    async def destroy(self) -> None:
        """Kill and remove whatever has the name."""
        await self._engine.remove(self.name)

    async def _acquire(self) -> tuple[str, Stream, bool]:
        """The container, its output, and whether somebody else started it."""
        for _ in range(_TRIES):
            found = await self._find()
            if found is None:
                started = await self._start()
                if started is not None:
                    return *started, False
            elif self._adoptable(found):
                return *await self._adopt(str(found["Id"])), True
            else:
                log.warning(
                    "sandbox.replacing", container=self.name, state=found["State"]["Status"]
                )
                await self._engine.remove(str(found["Id"]))
            await asyncio.sleep(0.1)
        raise EngineUnavailable(
            f"the container '{self.name}' was taken away {_TRIES} times while it was being started;"
            " another worker may be at the same task: retry later"
        )

    async def _adopt(self, container: str) -> tuple[str, Stream]:
        return container, await self._engine.call(lambda api: Replayed(api, container))

    async def _find(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = await self._engine.call(
                lambda api: api.inspect_container(self.name)
            )
        except NotFound:
            return None
        return found

    def _adoptable(self, found: dict[str, Any]) -> bool:
        """Whether it ran or runs what is asked for; one that never started is begun again."""
        same: bool = found["Config"]["Labels"].get(LABEL_SPEC) == self._config["labels"][LABEL_SPEC]
        return same and found["State"]["Status"] in _ADOPTABLE

    async def _start(self) -> tuple[str, Stream] | None:
        """Create, fill and start it; None where another attempt came between."""
        if self._source is not None and self._files is None:
            self._files = wrapped(await self._source())
        try:
            container = await self._create()
        except Conflict:
            return None
        try:
            return container, await self._engine.call(
                lambda api: self._begin(api, container, self._files)
            )
        except (NotFound, Conflict):
            # Gone, or going: another attempt found it before it ran.
            return None
        except OperationFailed as error:
            await self._engine.remove(container)
            raise InvalidGoal(
                f"the image '{self._config['image']}' cannot run the command; it must hold"
                f" `timeout`, and `sh` and `tar` where a source is given: {error.message}"
            ) from None

    async def _create(self) -> str:
        def create(api: docker.APIClient) -> str:
            host = api.create_host_config(**self._config["host_config"])
            return str(
                api.create_container(name=self.name, **{**self._config, "host_config": host})["Id"]
            )

        try:
            return await self._engine.call(create)
        except NotFound:
            raise InvalidGoal(
                f"the image '{self._config['image']}' is no longer on the engine;"
                " build or pull it again, then plan the goal anew"
            ) from None
        except OperationFailed as error:
            raise InvalidGoal(f"the sandbox's limits cannot be set: {error.message}") from None

    @staticmethod
    def _begin(api: docker.APIClient, container: str, source: bytes | None) -> Stream:
        """In one thread, since each further hop costs; attached before the first byte of output."""
        if source is not None:
            api.put_archive(container, SOURCE, source)
        stream = Attached(api, container)
        api.start(container)
        return stream

    async def _settled(self, container: str) -> dict[str, Any]:
        """The final state; its output may end some time before the container does."""
        pause = 0.005
        while True:
            try:
                found = await self._engine.call(lambda api: api.inspect_container(container))
            except NotFound:
                raise EngineUnavailable(
                    f"the container '{self.name}' was removed while it ran; a retry starts it anew"
                ) from None
            state: dict[str, Any] = found["State"]
            if not state["Running"]:
                return state
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.5)

    async def _kill(self, container: str) -> None:
        try:
            await self._engine.call(lambda api: api.kill(container))
        except (Conflict, NotFound):
            return  # it has ended meanwhile

    def _ended(self, state: dict[str, Any], adopted: bool) -> Ended:
        code, oom = int(state["ExitCode"]), bool(state["OOMKilled"])
        begun, ended = (datetime.fromisoformat(state[k]) for k in ("StartedAt", "FinishedAt"))
        seconds = (ended - begun).total_seconds()
        late = seconds >= self._seconds - _CLOCK_SLACK
        timed_out = late and code in {_TIMED_OUT, *_ENDED_BY_SIGNAL}
        killed = code in _ENDED_BY_SIGNAL and not timed_out and not oom
        # 255 is what the engine notes for containers that did not survive its own death.
        return Ended(
            exit_code=code,
            seconds=round(seconds, 3),
            oom_killed=oom,
            timed_out=timed_out,
            lost=killed or (adopted and code == 255),
        )
