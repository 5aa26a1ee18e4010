"""Temporal: one connection, one plugin for clients, workers and replayers alike.

It knows how Goalkeeper's values and errors cross Temporal's boundary, and no workflow or activity
in particular.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import structlog
from pydantic import ValidationError
from temporalio import activity
from temporalio.client import Client
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    SerializationContext,
    StorageDriverStoreContext,
)
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.plugin import SimplePlugin
from temporalio.service import RPCError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
    WorkflowInstance,
    WorkflowInstanceDetails,
    WorkflowRunner,
)
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions
from temporalio.workflow import Info

from goalkeeper.domain.errors import GoalkeeperError, RateLimited, ServiceUnavailable
from goalkeeper.payloads import (
    Codec,
    PayloadKeys,
    UnreadablePayloadConverter,
    client_keys,
    external_storage,
)
from goalkeeper.settings import Settings
from goalkeeper.telemetry import task_context

log = structlog.get_logger(__name__)

PASSED_THROUGH = (
    # Pure modules: importing them anew for each workflow costs 0.8 ms a step and buys nothing.
    "goalkeeper.domain",
    "goalkeeper.contracts",
    "workflows",
    "pydantic",
    "pydantic_core",
    "annotated_types",
    "rfc8785",
    "jmespath",
    "cryptography",
)
_CONNECT_SECONDS = 10
_BROKEN_ATTEMPTS = 10
_CONVERTERS = CompositePayloadConverter(
    UnreadablePayloadConverter(), *PydanticPayloadConverter().converters.values()
).converters


class SharedConverter(CompositePayloadConverter):
    """Pydantic's, sharing one cache: the SDK makes a new converter at each activation."""

    def __init__(self) -> None:
        self.converters = _CONVERTERS


class ErrorInterceptor(Interceptor):
    """Turns our errors into `ApplicationError`s at the edge of every activity."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Wrap one activity."""
        return _ErrorInbound(next)


class _ErrorInbound(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        with task_context(workflow_id=info.workflow_id or ""):
            try:
                return await super().execute_activity(input)
            except (asyncio.CancelledError, CancelledError, ApplicationError):
                raise
            except GoalkeeperError as error:
                log.warning(
                    "activity failed",
                    activity=info.activity_type,
                    code=error.code,
                    why=error.message,
                )
                failure = to_application_error(error)
            except Exception as error:
                # Its text may quote a secret, so it stays out of history.
                log.exception("activity broke", activity=info.activity_type)
                failure = ApplicationError(
                    f"an unexpected {type(error).__name__} in '{info.activity_type}'; "
                    "the worker's log has the details",
                    type="InternalError",
                    # Perhaps it passes; a defect that stays must not be retried for days.
                    non_retryable=info.attempt >= _BROKEN_ATTEMPTS,
                )
        # Outside of the except block: a chained exception would reach history with its text.
        raise failure from None


def to_application_error(error: GoalkeeperError) -> ApplicationError:
    """The one form in which our errors enter a workflow's history."""
    delay = error.retry_after if isinstance(error, RateLimited) else None
    return ApplicationError(
        error.message,
        *([error.details] if error.details else []),
        type=error.code,
        non_retryable=not error.retryable,
        next_retry_delay=delay,
    )


class _ContextFree(WorkflowInstance):
    """A sandboxed workflow that the SDK does not ask for the context of every single payload.

    Nothing here encodes or stores differently by context: the codec binds to the namespace, and
    the claim check goes by content. Each question compiles and enters the sandbox anew, several
    times a task: more than half of the worker's time in a fan-out.
    """

    def __init__(self, sandboxed: WorkflowInstance) -> None:
        self._sandboxed = sandboxed

    def activate(self, act: Any) -> Any:
        return self._sandboxed.activate(act)

    def get_serialization_context(self, command_info: Any) -> None:
        return None

    def get_external_store_context(self, command_info: Any) -> StorageDriverStoreContext:
        return StorageDriverStoreContext(target=None)

    def get_info(self) -> Info:
        return self._sandboxed.get_info()

    def get_thread_id(self) -> int | None:
        return self._sandboxed.get_thread_id()


class _Sandbox(SandboxedWorkflowRunner):
    """Temporal's workflow sandbox."""

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        return _ContextFree(super().create_instance(det))


def workflow_runner() -> WorkflowRunner:
    """Temporal's workflow sandbox, with our pure modules passed through."""
    restrictions = SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH)
    return _Sandbox(restrictions=restrictions)


@dataclass(frozen=True)
class _ContextFreeConverter(DataConverter):
    """One converter for every context: the SDK would make five new ones for each task."""

    def with_context(self, context: SerializationContext) -> Self:
        return self

    def _with_store_context(self, store_ctx: StorageDriverStoreContext) -> Self:
        return self


PLAIN: DataConverter = _ContextFreeConverter(payload_converter_class=SharedConverter)
"""Values as JSON: for histories that were recorded so, and as the ground for what is sealed."""


def sealed(settings: Settings, keys: PayloadKeys | None = None) -> DataConverter:
    """Values as JSON, sealed, the large ones outside of history, and failures like values.

    Args:
        settings: of this installation.
        keys: of this process; None gets them by the clients' login when one is needed.
    """
    encrypt = settings.payload_encryption
    return replace(
        PLAIN,
        payload_codec=Codec(
            keys or client_keys(settings), settings.temporal_namespace, encrypt=encrypt
        ),
        # Without keys, messages stay where Temporal's own tools look for them.
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes
        if encrypt
        else DefaultFailureConverter,
        external_storage=external_storage(settings),
    )


def plugin(interceptors: Sequence[Any] = (), converter: DataConverter = PLAIN) -> SimplePlugin:
    """Converter, interceptors, workflow runner and failure types, for every role."""
    return SimplePlugin(
        "goalkeeper",
        data_converter=converter,
        interceptors=[ErrorInterceptor(), *interceptors],
        workflow_runner=workflow_runner(),
        workflow_failure_exception_types=[ValidationError],
    )


async def connect(
    settings: Settings, *, interceptors: Sequence[Any] = (), keys: PayloadKeys | None = None
) -> Client:
    """Connect to the installation's Temporal.

    The keys are read when the first payload needs one: what needs none works without Vault.

    Args:
        settings: of this installation.
        interceptors: besides our own.
        keys: as for `sealed`.

    Raises:
        ServiceUnavailable: nothing answers at the configured address.
    """
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            return await Client.connect(
                settings.temporal_address,
                namespace=settings.temporal_namespace,
                plugins=[plugin(interceptors, sealed(settings, keys))],
            )
    except (RuntimeError, RPCError, TimeoutError):
        raise unreachable(settings) from None


async def first_run(workflow_id: str, run_id: str) -> str:
    """The first run of the chain that a run belongs to, asked of Temporal by an activity.

    Raises:
        ServiceUnavailable: Temporal does not answer; the attempt is worth repeating.
    """
    handle = activity.client().get_workflow_handle(workflow_id, run_id=run_id)
    try:
        described = await handle.describe()
    except RPCError as error:
        raise ServiceUnavailable(
            f"Temporal does not say which run of '{workflow_id}' is its first ({error.status.name})"
        ) from None
    return described.raw_description.workflow_execution_info.first_run_id


def unreachable(settings: Settings) -> ServiceUnavailable:
    """What to say when Temporal does not answer."""
    return ServiceUnavailable(
        f"Temporal does not answer at {settings.temporal_address}. "
        "Start the embedded stack with `goalkeeper up`, or set GOALKEEPER_TEMPORAL_ADDRESS."
    )
