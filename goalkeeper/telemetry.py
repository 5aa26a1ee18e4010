"""Telemetry: JSON logs, Prometheus metrics and OpenTelemetry traces.

Composition roots call `configure_logging` and `tracing` once; nothing else configures anything.
"""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog
from prometheus_client import Counter, Gauge, Histogram
from structlog.contextvars import bound_contextvars
from structlog.typing import EventDict

from goalkeeper.settings import Settings

_FAST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)

TASKS = Counter("goalkeeper_task_attempts_total", "Attempts at tasks.", ["operation", "outcome"])
TASK_SECONDS = Histogram(
    "goalkeeper_task_attempt_seconds", "Duration of one attempt.", ["operation"], buckets=_FAST
)
LEASES = Gauge(
    # Where one worker is several processes: the sum over those that live.
    "goalkeeper_leases_open",
    "Credentials alive in this worker.",
    multiprocess_mode="livesum",
)
REFUSALS = Counter("goalkeeper_refusals_total", "Actions that were refused.", ["code"])
DECISIONS = Counter(
    "goalkeeper_decisions_total", "Decisions made at the gateway.", ["answer", "channel"]
)


def task_context(*, workflow_id: str, task_id: str = "") -> Any:
    """A context manager that puts both ids on every log line inside it."""
    return bound_contextvars(workflow_id=workflow_id, task_id=task_id)


def configure_logging(process: str, *, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send every log line, ours and the libraries', as one JSON object a line to `stream`."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _shape(process),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=str),
        ],
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Both log whole requests at INFO, tokens in URLs included.
    for noisy in ("httpx", "httpcore", "urllib3", "hvac"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _shape(process: str) -> Any:
    def shape(_: Any, __: str, event: MutableMapping[str, Any]) -> EventDict:
        temporal: Mapping[str, Any] = event.pop("temporal_workflow", None) or event.pop(
            "temporal_activity", {}
        )
        event["message"] = event.pop("event", "")
        event["process"] = process
        event.setdefault("workflow_id", temporal.get("workflow_id", ""))
        event.setdefault("task_id", "")
        for key in ("__temporal_task_identity", "temporal_activity", "temporal_workflow"):
            event.pop(key, None)
        first = ("timestamp", "level", "message", "workflow_id", "task_id")
        return {
            **{k: event[k] for k in first if k in event},
            **{k: v for k, v in event.items() if k not in first},
        }

    return shape


def tracing(settings: Settings, process: str) -> list[Any]:
    """Temporal's tracing interceptor when an OTLP endpoint is set; otherwise none.

    Register it on the client only: workers take it from there.
    """
    if settings.otlp_endpoint is None:
        return []
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from temporalio.contrib.opentelemetry import TracingInterceptor

    provider = TracerProvider(resource=Resource.create({"service.name": f"goalkeeper-{process}"}))
    endpoint = settings.otlp_endpoint.rstrip("/") + "/v1/traces"
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return [TracingInterceptor(provider.get_tracer("goalkeeper"))]
