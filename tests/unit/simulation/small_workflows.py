"""Small workflows, and a world that does as it is told, to try the driver with."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.workflow import ActivityCancellationType, ParentClosePolicy

from goalkeeper.simulation.driver import Driver
from goalkeeper.simulation.world import ActivityCall, Attempt

START = datetime(2026, 1, 1, tzinfo=UTC)


@workflow.defn(name="Small")
class Small:
    """Does one of several things, by the word it is given."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @workflow.run
    async def run(self, what: str) -> Any:
        """Do it."""
        return await getattr(self, what)()

    async def wait(self) -> str:
        """Sleep for an hour."""
        await asyncio.sleep(3600)
        return workflow.now().isoformat()

    async def act(self, **options: Any) -> Any:
        """One activity."""
        options.setdefault("start_to_close_timeout", timedelta(minutes=1))
        return await workflow.execute_activity("work", "given", **options)

    async def act_thrice(self) -> Any:
        """One activity, at most three times."""
        policy = RetryPolicy(maximum_attempts=3, non_retryable_error_types=["Never"])
        return await self.act(retry_policy=policy)

    async def act_for_long(self) -> Any:
        """One activity, whose cancellation is waited for."""
        try:
            return await self.act(cancellation_type=_WAITED)
        except BaseException:
            self.seen.append("stopped")
            raise

    async def act_locally(self) -> list[str]:
        """A local activity and an ordinary one, side by side."""
        order: list[str] = []

        async def local() -> None:
            await workflow.execute_local_activity(
                "look", start_to_close_timeout=timedelta(seconds=10)
            )
            order.append(f"look {workflow.now():%M:%S}")

        async def ordinary() -> None:
            await self.act()
            order.append(f"work {workflow.now():%M:%S}")

        await asyncio.gather(ordinary(), local())
        return order

    async def parent(self) -> str:
        """A child that sleeps."""
        answer: str = await workflow.execute_child_workflow("Small", "wait", id="child")
        return f"the child said {answer}"

    async def leave(self) -> str:
        """A child that is left to itself."""
        await workflow.start_child_workflow(
            "Small", "wait", id="child", parent_close_policy=ParentClosePolicy.ABANDON
        )
        return "gone"

    async def listen(self) -> list[str]:
        """Two signals."""
        await workflow.wait_condition(lambda: len(self.seen) >= 2)
        return self.seen

    async def renew(self) -> None:
        """Go on as a workflow that waits, once that is suggested."""
        await workflow.wait_condition(workflow.info().is_continue_as_new_suggested)
        workflow.continue_as_new("listen")

    async def differ(self) -> None:
        """Do something else each time: what no workflow may do."""
        _TIMES.append(0)
        for _ in _TIMES:
            await asyncio.sleep(1)

    async def break_down(self) -> None:
        """A defect."""
        raise KeyError("a defect")

    @workflow.signal
    def say(self, word: str) -> None:
        """Take a signal."""
        self.seen.append(word)

    @workflow.update
    def shout(self, word: str) -> str:
        """Take an update."""
        self.seen.append(word)
        return word.upper()

    @shout.validator
    def _quiet(self, word: str) -> None:
        if word == "nonsense":
            raise ApplicationError("that is nonsense", type="Conflict")

    @workflow.query
    def heard(self) -> list[str]:
        """Tell what was said."""
        return self.seen


_WAITED = ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
_TIMES: list[int] = []


@dataclass
class ScriptedWorld:
    """Each attempt takes so long, and fails with the next of the errors as long as there are."""

    takes: timedelta = timedelta(seconds=10)
    errors: list[Exception] = field(default_factory=list)
    attempts: list[ActivityCall] = field(default_factory=list)
    finished: int = 0

    def attempt(self, call: ActivityCall, now: datetime) -> Attempt:
        """Begin."""
        self.attempts.append(call)
        error = self.errors.pop(0) if self.errors else None

        def finish() -> str:
            if error is not None:
                raise error
            self.finished += 1
            return f"done at attempt {call.attempt}"

        return Attempt(timedelta(seconds=2) if call.local else self.takes, finish)

    def cancelling(self, call: ActivityCall) -> timedelta:
        """Five seconds."""
        return timedelta(seconds=5)

    def signalled(self, workflow_id: str, name: str, arguments: Sequence[Payload]) -> bool:
        """Nobody else is there."""
        return False


def driving(world: ScriptedWorld | None = None, **options: Any) -> Driver:
    """A driver of the small workflows."""
    return Driver({"Small": Small}, world or ScriptedWorld(), start=START, **options)
