"""A worker with real locks, a real audit log, and stand-ins for goals."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError
from temporalio.worker import Worker

from activities.locks import LockActivities
from goalkeeper.audit import AuditLog
from goalkeeper.contracts import activities as names
from goalkeeper.contracts.activities import RecordInput
from goalkeeper.contracts.locks import QUERY_VIEW, LockView, workflow_id
from goalkeeper.domain.errors import StoreUnavailable
from goalkeeper.settings import Settings, load_settings
from goalkeeper.temporal import plugin
from tests.support.holder import Holder, HolderInput, HolderView
from workflows.locks import LockWorkflow


class Recorder:
    """The activity ``audit.record`` on a disk that may be full."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        self.full = False

    @activity.defn(name=names.RECORD)
    async def record(self, given: RecordInput) -> None:
        """Append, unless the disk is full; whose entries these may be is tested elsewhere."""
        if self.full:
            raise StoreUnavailable("the disk is full")
        await self._audit.append(*given.events)


@dataclass
class Stand:
    """Locks and their goals on a task queue of their own."""

    client: Client
    settings: Settings
    audit: AuditLog
    recorder: Recorder
    pause: float = 0.02
    """Between two looks. A query of what is not in memory also replays it."""
    name: str = field(default_factory=lambda: f"lock-{uuid.uuid4().hex[:8]}")
    """A lock that no other test uses."""

    async def goal(self, *locks: str, owner: str = "", want: bool = True, **more: Any) -> "Goal":
        """Start a goal that wants locks; it has `name` unless told otherwise."""
        goal_id = f"holder-{uuid.uuid4().hex[:8]}"
        handle: WorkflowHandle[Any, Any] = await self.client.start_workflow(
            Holder.run,
            HolderInput(names=locks or (self.name,), owner=owner, **more),
            id=goal_id,
            task_queue=self.settings.task_queue,
        )
        if want:
            await handle.signal(Holder.want)
        return Goal(self, goal_id)

    async def holder(self, *locks: str, **more: Any) -> "Goal":
        """Start a goal and wait until it has its locks."""
        goal = await self.goal(*locks, **more)
        await goal.until(lambda v: v.held)
        return goal

    def lock(self, name: str = "") -> WorkflowHandle[Any, Any]:
        """The workflow of a lock."""
        return self.client.get_workflow_handle(workflow_id(name or self.name))

    async def view(self, name: str = "") -> LockView:
        """What a lock says of itself."""
        view: LockView = await self.lock(name).query(QUERY_VIEW, result_type=LockView)
        return view

    async def until(self, condition: Callable[[LockView], bool], name: str = "") -> LockView:
        """Wait for a condition on a lock."""
        async with asyncio.timeout(60):
            while True:
                # Before the first goal has asked there is no lock.
                with suppress(RPCError):
                    view = await self.view(name)
                    if condition(view):
                        return view
                await asyncio.sleep(self.pause)

    async def queue(self) -> list[str]:
        """Who waits for `name`, the next one first."""
        return [c.goal_id for c in (await self.view()).queue]

    def record(self, name: str = "") -> list[tuple[str, str]]:
        """What is on record about a lock: what, and which goal."""
        entries = self.audit.entries(goal_id=workflow_id(name or self.name))
        return [(e.event.kind.value, str(e.event.detail["goal"])) for e in entries]


@dataclass
class Goal:
    """A stand-in for a goal."""

    stand: Stand
    id: str

    @property
    def handle(self) -> WorkflowHandle[Any, Any]:
        """Its workflow, in whichever run."""
        return self.stand.client.get_workflow_handle(self.id)

    async def view(self) -> HolderView:
        """What it says of itself."""
        return await self.handle.query(Holder.view)

    async def until(self, condition: Callable[[HolderView], bool]) -> HolderView:
        """Wait for a condition on it, longer than a lock waits before it looks by itself."""
        async with asyncio.timeout(150):
            while True:
                view = await self.view()
                if condition(view):
                    return view
                await asyncio.sleep(self.stand.pause)

    async def queued(self) -> None:
        """Wait until it stands in the queue of the lock."""
        await self.stand.until(lambda v: self.id in [c.goal_id for c in v.queue])

    async def end(self) -> None:
        """Let it end, and wait for that."""
        await self.handle.signal(Holder.end)
        await self.handle.result()


@asynccontextmanager
async def running_stand(address: str, folder: Path, *, cached: int = 100) -> AsyncIterator[Stand]:
    """A worker with locks for the length of the block."""
    settings = load_settings(
        folder, environ={}, temporal_address=address, task_queue=f"test-{uuid.uuid4().hex[:8]}"
    )
    audit = AuditLog.open(folder / "audit.sqlite")
    recorder = Recorder(audit)
    client = await Client.connect(address, plugins=[plugin()])
    try:
        async with Worker(
            client,
            task_queue=settings.task_queue,
            workflows=[LockWorkflow, Holder],
            activities=[recorder.record, *LockActivities(settings.task_queue).all],
            max_cached_workflows=cached,
        ):
            yield Stand(client, settings, audit, recorder, pause=0.02 if cached else 1.0)
    finally:
        await audit.aclose()
