"""Apps as containers: say what a deployment would change, deploy, watch, take back.

It starts no container itself: that is the part of whoever implements `Containers`. The engine's
labels are its only memory, so that a worker that starts anew knows what runs and what ran before.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import httpx
import structlog
from pydantic import SecretStr

from connectors.apps_containers import (
    LABEL_APP,
    LABEL_DEPLOYED,
    LABEL_ENVIRONMENT,
    LABEL_PREVIOUS,
    LABEL_RELEASE,
    Container,
    Containers,
    current,
    deployed_of,
    endpoint,
    previous_of,
)
from connectors.apps_models import (
    Deploy,
    DeployDone,
    Deployed,
    Monitor,
    Monitored,
    Preview,
    Previewed,
    Restore,
    Restored,
    undo_deploy,
)
from connectors.apps_source import app_file
from connectors.base import (
    CANNOT_TELL,
    DID_NOT_HAPPEN,
    ServiceConnector,
    happened,
    operations,
)
from goalkeeper.contracts.connector import OperationCall, Reconciliation
from goalkeeper.domain.credential import Credentials
from goalkeeper.domain.errors import (
    CheckFailed,
    Conflict,
    GoalkeeperError,
    NotFound,
)
from goalkeeper.domain.operation import Compensation, Operation, Risk

log = structlog.get_logger(__name__)

MEMORY_MB = 256
_LOG_LINES = 50
_GIVEN_UP = {"exited", "dead", "restarting"}
_HTTP_TIMEOUT = httpx.Timeout(2)

Export = Callable[[str, str, str, SecretStr | None], Awaitable[bytes]]
"""Repository, commit, path and token → a tar of the source."""


class AppsConnector(ServiceConnector):
    """Small web apps as containers on one engine."""

    service = "apps"
    operations = operations(
        "apps",
        Operation(
            name="apps.preview",
            summary="Build an app's image and say what deploying it would change",
            inputs=Preview,
            outputs=Previewed,
            risk=Risk.READ,
            idempotent=True,
            credentials=("token",),
        ),
        Operation(
            name="apps.deploy",
            summary="Replace what runs of an app by a new image, once that is healthy",
            inputs=Deploy,
            outputs=DeployDone,
            risk=Risk.WRITE,
            idempotent=True,
            compensation=Compensation("apps.restore", undo_deploy),
        ),
        Operation(
            name="apps.restore",
            summary="Bring back what ran before a deployment",
            inputs=Restore,
            outputs=Restored,
            risk=Risk.WRITE,
            idempotent=True,
        ),
        Operation(
            name="apps.monitor",
            summary="Watch an app's health for a while",
            inputs=Monitor,
            outputs=Monitored,
            risk=Risk.READ,
            idempotent=True,
        ),
    )

    def __init__(
        self,
        containers: Containers,
        export: Export,
        *,
        base_image: str,
        patience: timedelta = timedelta(seconds=30),
        poll: timedelta = timedelta(milliseconds=200),
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._containers = containers
        self._export = export
        self._base_image = base_image
        self._patience = patience
        self._poll = poll.total_seconds()
        self._transport = transport
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}

    async def preview(self, call: OperationCall, credentials: Credentials) -> Previewed:
        """Build the image of a commit and compare it with what runs."""
        inputs: Preview = call.inputs
        source = await self._export(inputs.repository, inputs.commit, "", credentials.get("token"))
        file = await asyncio.to_thread(app_file, source)
        labels = {LABEL_APP: inputs.app, "goalkeeper.commit": inputs.commit}
        name = f"goalkeeper-app-{inputs.app}"
        image = await self._containers.build(
            name, self._base_image, source, list(file.command), labels
        )
        call.log(f"built {image} of commit {inputs.commit}\n")
        running = current(await self._all(inputs.app, inputs.environment))
        return Previewed(
            app=inputs.app,
            image=image,
            commit=inputs.commit,
            environment=inputs.environment,
            replicas=inputs.replicas,
            current=running,
            changes=changes(inputs, image, running),
            port=inputs.port or file.port,
            health_path=inputs.health_path or file.health_path,
        )

    async def deploy(self, call: OperationCall, _: Credentials) -> DeployDone:
        """Start the new replicas, wait for their health, then stop the old ones."""
        inputs: Deploy = call.inputs
        release = release_id(inputs.app, inputs.environment, call.key)
        target = Deployed(release=release, **inputs.model_dump(exclude={"app", "environment"}))
        async with self._lock(inputs.app, inputs.environment):
            there = await self._all(inputs.app, inputs.environment)
            ours = [c for c in there if c.labels[LABEL_RELEASE] == release]
            # An earlier attempt has noted what ran before it; by now that may be gone.
            before = previous_of(ours[0]) if ours else current(there)
            endpoints = await self._bring_up(call, inputs.app, target, before)
            await self._remove_others(call, inputs.app, inputs.environment, release)
        return DeployDone(
            release=release, endpoints=endpoints, replicas=inputs.replicas, previous=before
        )

    async def restore(self, call: OperationCall, _: Credentials) -> Restored:
        """Bring the previous release back, then take the other away."""
        inputs: Restore = call.inputs
        async with self._lock(inputs.app, inputs.environment):
            there = await self._all(inputs.app, inputs.environment)
            if inputs.previous is None:
                self._refuse_strangers(inputs, there, {inputs.release})
                await self._remove(call, there)
                return Restored(endpoints=())
            again = release_id(inputs.app, inputs.environment, inputs.release, "restored")
            known = {inputs.release, inputs.previous.release, again}
            self._refuse_strangers(inputs, there, known)
            target = inputs.previous.model_copy(update={"release": again})
            endpoints = await self._bring_up(call, inputs.app, target, None)
            await self._remove_others(call, inputs.app, inputs.environment, again)
        return Restored(endpoints=endpoints)

    async def look_for_deploy(self, call: OperationCall, _: Credentials) -> Reconciliation:
        """It happened when each replica of the release runs, and did not when none is there."""
        inputs: Deploy = call.inputs
        release = release_id(inputs.app, inputs.environment, call.key)
        ours = await self._release(inputs.app, inputs.environment, release)
        running = [endpoint(c) for c in ours if c.state == "running"]
        if ours and len(running) != inputs.replicas:
            return CANNOT_TELL
        if not ours:
            return DID_NOT_HAPPEN
        return happened(
            DeployDone(
                release=release,
                endpoints=tuple(running),
                replicas=inputs.replicas,
                previous=previous_of(ours[0]),
            )
        )

    async def look_for_restore(self, call: OperationCall, _: Credentials) -> Reconciliation:
        """It happened when what ran before runs alone, or nothing where nothing ran."""
        inputs: Restore = call.inputs
        there = await self._all(inputs.app, inputs.environment)
        if inputs.previous is None:
            return DID_NOT_HAPPEN if there else happened(Restored(endpoints=()))
        again = release_id(inputs.app, inputs.environment, inputs.release, "restored")
        ours = [c for c in there if c.labels[LABEL_RELEASE] == again]
        if not ours:
            return DID_NOT_HAPPEN
        running = [endpoint(c) for c in ours if c.state == "running"]
        if len(running) != inputs.previous.replicas or len(ours) != len(there):
            return CANNOT_TELL
        return happened(Restored(endpoints=tuple(running)))

    async def monitor(self, call: OperationCall, _: Credentials) -> Monitored:
        """Ask every replica for its health until the time is over.

        Raises:
            CheckFailed: more checks failed than may.
        """
        inputs: Monitor = call.inputs
        clock = asyncio.get_running_loop()
        until = clock.time() + inputs.seconds
        checks = failures = 0
        while True:
            for where, problem in await self._check(inputs):
                checks += 1
                failures += problem is not None
                call.log(f"{where}: {problem or 'healthy'}\n")
                if failures > inputs.max_failures:
                    await self._log_output(call, inputs.app, inputs.environment, inputs.release)
                    raise CheckFailed(
                        f"'{inputs.app}' in {inputs.environment} is not healthy: "
                        f"{failures} of {checks} checks failed, the last at {where}: {problem}"
                    )
            if clock.time() >= until:
                return Monitored(checks=checks, failures=failures, healthy=True)
            await asyncio.sleep(inputs.interval)

    async def _all(self, app: str, environment: str) -> Sequence[Container]:
        return await self._containers.list({LABEL_APP: app, LABEL_ENVIRONMENT: environment})

    def _lock(self, app: str, environment: str) -> asyncio.Lock:
        """Two goals of one worker do not change one app at the same time."""
        return self._locks.setdefault((app, environment), asyncio.Lock())

    async def _bring_up(
        self, call: OperationCall, app: str, target: Deployed, before: Deployed | None
    ) -> tuple[str, ...]:
        """Start a release and wait until each replica is healthy; else remove it again."""
        environment = call.inputs.environment
        if not await self._containers.image_exists(target.image):
            raise NotFound(
                f"image {target.image} is not on the engine any more; submit the goal again, "
                "which builds it"
            )
        labels = {
            LABEL_APP: app,
            LABEL_ENVIRONMENT: environment,
            LABEL_RELEASE: target.release,
            LABEL_DEPLOYED: target.model_dump_json(),
            LABEL_PREVIOUS: before.model_dump_json() if before else "",
        }
        try:
            for number in range(1, target.replicas + 1):
                started = await self._containers.run(
                    f"gk-{app}-{environment}-{target.release}-{number}",
                    target.image,
                    labels=labels,
                    environment={"PORT": str(target.port)},
                    container_port=target.port,
                    memory_mb=MEMORY_MB,
                )
                call.log(f"started {started.name}\n")
            return await self._await_health(call, app, environment, target)
        except asyncio.CancelledError:
            if not call.detaching():
                await self._give_up(call, app, environment, target.release)
            raise
        except GoalkeeperError:
            await self._give_up(call, app, environment, target.release)
            raise

    async def _await_health(
        self, call: OperationCall, app: str, environment: str, target: Deployed
    ) -> tuple[str, ...]:
        clock = asyncio.get_running_loop()
        until = clock.time() + self._patience.total_seconds()
        while True:
            replicas = await self._release(app, environment, target.release)
            answers = await self._ask(replicas, target.health_path)
            ill = [f"{c.name}: {why}" for c, why in zip(replicas, answers, strict=True) if why]
            if not ill and len(replicas) == target.replicas:
                urls = tuple(endpoint(c) for c in replicas)
                call.log(f"{len(urls)} replica(s) healthy: {', '.join(urls)}\n")
                return urls
            ended = any(c.state in _GIVEN_UP for c in replicas)
            if ended or clock.time() >= until:
                await self._log_output(call, app, environment, target.release)
                raise CheckFailed(
                    f"the new release of '{app}' did not become healthy within "
                    f"{self._patience.total_seconds():.0f} s: "
                    f"{'; '.join(ill) or 'a replica is missing'}. What ran before still runs."
                )
            await asyncio.sleep(self._poll)

    async def _check(self, inputs: Monitor) -> list[tuple[str, str | None]]:
        """One round: where was asked, and what was wrong."""
        replicas = await self._release(inputs.app, inputs.environment, inputs.release)
        if not replicas:
            return [(f"release {inputs.release}", "no container of it is there")]
        release = deployed_of(replicas[0])
        answers = await self._ask(replicas, release.health_path)
        seen = [(c.name, why) for c, why in zip(replicas, answers, strict=True)]
        missing = release.replicas - len(replicas)
        return seen + [(f"release {inputs.release}", "a replica is missing")] * missing

    async def _ask(self, replicas: Sequence[Container], path: str) -> list[str | None]:
        """Ask each replica once; answer what is wrong, or None."""
        # No proxies: these addresses are of this machine.
        async with httpx.AsyncClient(
            timeout=_HTTP_TIMEOUT, trust_env=False, transport=self._transport
        ) as client:
            return list(await asyncio.gather(*(_problem(client, c, path) for c in replicas)))

    async def _release(self, app: str, environment: str, release: str) -> list[Container]:
        labels = {LABEL_APP: app, LABEL_ENVIRONMENT: environment, LABEL_RELEASE: release}
        return sorted(await self._containers.list(labels), key=lambda c: c.name)

    async def _remove_others(
        self, call: OperationCall, app: str, environment: str, keep: str
    ) -> None:
        there = await self._all(app, environment)
        await self._remove(call, [c for c in there if c.labels[LABEL_RELEASE] != keep])

    async def _remove(self, call: OperationCall, gone: Sequence[Container]) -> None:
        for container in gone:
            await self._containers.stop_and_remove(container.name)
            call.log(f"removed {container.name}\n")

    async def _give_up(self, call: OperationCall, app: str, environment: str, release: str) -> None:
        """Remove what was started; the error that led here is the one to tell."""
        try:
            await self._remove(call, await self._release(app, environment, release))
        except GoalkeeperError as error:
            log.warning("apps.leftover", app=app, release=release, error=error.message)

    async def _log_output(
        self, call: OperationCall, app: str, environment: str, release: str
    ) -> None:
        for container in await self._release(app, environment, release):
            with contextlib.suppress(NotFound):
                output = await self._containers.logs(container.name, _LOG_LINES)
                call.log(f"--- {container.name}\n{output}\n")

    def _refuse_strangers(
        self, inputs: Restore, there: Sequence[Container], known: set[str]
    ) -> None:
        strangers = {c.labels[LABEL_RELEASE] for c in there} - known
        if strangers:
            raise Conflict(
                f"'{inputs.app}' in {inputs.environment} was deployed again since "
                f"(release {', '.join(sorted(strangers))}), so release {inputs.release} is not "
                "taken back; decide by hand what should run"
            )


def changes(inputs: Preview, image: str, running: Deployed | None) -> tuple[str, ...]:
    """What deploying would change, in sentences."""
    where = f"'{inputs.app}' in {inputs.environment}"
    if running is None:
        return (f"Starts {inputs.replicas} replica(s) of {where}, where nothing runs yet.",)
    said = []
    if running.commit != inputs.commit:
        said.append(f"Replaces commit {running.commit[:12]} of {where} by {inputs.commit[:12]}.")
    if running.image != image:
        said.append(f"Replaces image {running.image[7:19]} by {image[7:19]}.")
    if running.replicas != inputs.replicas:
        said.append(f"Changes the replicas from {running.replicas} to {inputs.replicas}.")
    return tuple(said) or (f"Restarts {where} as it is.",)


def release_id(*parts: str) -> str:
    """A release's name: the same for every attempt at the same work."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


async def _problem(client: httpx.AsyncClient, replica: Container, path: str) -> str | None:
    if replica.state != "running":
        return f"is {replica.state}"
    try:
        answer = await client.get(endpoint(replica) + path)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"no answer ({type(error).__name__})"
    return None if answer.is_success else f"answered {answer.status_code}"
