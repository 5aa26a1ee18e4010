"""What a simulated workflow finds around it: activities, and workflows that nobody simulates.

It is an interface and the rules of Temporal's retries; what the answers are is not known here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from temporalio.api.common.v1 import Payload
from temporalio.api.common.v1 import RetryPolicy as WireRetryPolicy
from temporalio.exceptions import ApplicationError

from goalkeeper.simulation.conversion import AnyError, value_of

T = TypeVar("T")


@dataclass(frozen=True)
class ActivityCall:
    """One attempt at an activity that a workflow has scheduled."""

    workflow_id: str
    activity_type: str
    activity_id: str
    arguments: Sequence[Payload]
    attempt: int
    local: bool

    def argument(self, kind: type[T]) -> T:
        """Its one argument."""
        value: T = value_of(self.arguments[0], kind)
        return value


@dataclass(frozen=True)
class Attempt:
    """How an attempt goes: how long it takes, and what it does at its end."""

    takes: timedelta
    finish: Callable[[], Any]
    """Returns the result, or raises what the attempt fails with."""


class World(Protocol):
    """Whatever is outside of the workflows."""

    def attempt(self, call: ActivityCall, now: datetime) -> Attempt:
        """An attempt begins."""
        ...

    def cancelling(self, call: ActivityCall) -> timedelta:
        """How long a running attempt takes to notice that it is to stop."""
        ...

    def signalled(self, workflow_id: str, name: str, arguments: Sequence[Payload]) -> bool:
        """A signal to a workflow that is not simulated; False: there is no such workflow."""
        ...


def next_attempt(policy: WireRetryPolicy, attempt: int, error: AnyError) -> timedelta | None:
    """How long Temporal waits before the next attempt; None: there is none."""
    if isinstance(error, ApplicationError):
        if error.non_retryable or error.type in policy.non_retryable_error_types:
            return None
    if 0 < policy.maximum_attempts <= attempt:
        return None
    if isinstance(error, ApplicationError) and error.next_retry_delay is not None:
        return error.next_retry_delay
    initial = policy.initial_interval.ToTimedelta() or timedelta(seconds=1)
    longest = policy.maximum_interval.ToTimedelta() or 100 * initial
    factor = (policy.backoff_coefficient or 2.0) ** min(attempt - 1, 60)
    return min(timedelta(seconds=min(initial.total_seconds() * factor, 1e8)), longest)
