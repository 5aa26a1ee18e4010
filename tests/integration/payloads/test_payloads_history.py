"""Sealed payloads on a real Temporal server: what its history holds, and what still works."""

import asyncio
import base64
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer, Worker

from goalkeeper.domain.errors import PayloadUnreadable
from goalkeeper.embedded.temporal import TemporalServer
from goalkeeper.settings import Settings, load_settings
from goalkeeper.temporal import connect, plugin, sealed
from tests.integration.payloads.doors import Given, PayloadsWorkflow, echo
from tests.support.keys import LocalKeys, relabelled

CANARY = "canary-71c0"


Handle = WorkflowHandle[Any, str]


class Bench:
    """A worker with its keys and folder, and a client beside it."""

    def __init__(self, settings: Settings, keys: LocalKeys, client: Client) -> None:
        self.settings = settings
        self.keys = keys
        self.client = client

    async def start(self, given: Any) -> Handle:
        """Start the workflow."""
        handle: Handle = await self.client.start_workflow(
            "PayloadsWorkflow",
            given,
            id=f"payloads-{secrets.token_hex(4)}",
            task_queue=self.settings.task_queue,
            result_type=str,
        )
        return handle

    async def ended(self, handle: Handle) -> str:
        """Let it end, and its result."""
        await handle.signal("end")
        return await handle.result()


@pytest.fixture
async def bench(temporal_server: TemporalServer, tmp_path: Path) -> AsyncIterator[Bench]:
    """The worker of an installation of its own."""
    keys = LocalKeys()
    settings = load_settings(
        tmp_path,
        environ={},
        temporal_address=temporal_server.address,
        task_queue=f"payloads-{secrets.token_hex(4)}",
    )
    async with working(settings, keys):
        yield Bench(settings, keys, await connect(settings, keys=keys.process()))


@asynccontextmanager
async def working(settings: Settings, keys: LocalKeys) -> AsyncIterator[None]:
    """A worker for the length of the block."""
    client = await connect(settings, keys=keys.process())
    async with Worker(
        client,
        task_queue=settings.task_queue,
        workflows=[PayloadsWorkflow],
        activities=[echo],
        max_cached_workflows=0,  # Everything is read from history again and again.
    ):
        yield


async def raw(handle: Handle) -> str:
    """The history as anybody else reads it."""
    return (await handle.fetch_history()).to_json()


def files(folder: Path) -> list[bytes]:
    """What lies in a folder."""
    return [f.read_bytes() for f in folder.rglob("*") if f.is_file()]


def large(size: int = 3_000_000) -> str:
    """A text that does not pack, with the canary in it."""
    return CANARY + os.urandom(size // 2).hex()


async def test_history_holds_ciphertext_and_the_client_plain_text(bench: Bench) -> None:
    """Inputs, results, signals and updates."""
    handle = await bench.start(Given(text=f"{CANARY}-start"))
    await handle.signal("tell", f"{CANARY}-signal")
    assert await handle.execute_update("ask", f"{CANARY}-update") == f"{CANARY}-update"
    assert await handle.query("told") == [f"{CANARY}-signal"]
    assert await bench.ended(handle) == f"{CANARY}-start"
    history = await raw(handle)
    assert CANARY not in history
    assert base64.b64encode(CANARY.encode())[:12].decode() not in history


async def test_the_text_of_a_failure_is_sealed_and_its_type_is_not(bench: Bench) -> None:
    """Retry policies and people at Temporal's UI go by the type; the client gets the message."""
    handle = await bench.start(Given(text=f"fail {CANARY}"))
    with pytest.raises(WorkflowFailureError) as raised:
        await handle.result()
    cause = raised.value.cause.__cause__
    assert isinstance(cause, ApplicationError)
    assert (cause.type, cause.message) == ("InvalidGoal", f"refused: fail {CANARY}")
    history = await raw(handle)
    assert CANARY not in history
    assert "Encoded failure" in history
    assert "InvalidGoal" in history
    assert '"stackTrace"' not in history


async def test_large_payloads_pass_every_door_and_lie_encrypted_outside_of_history(
    bench: Bench,
) -> None:
    """Three megabytes: Temporal itself takes two at most."""
    text = large()
    handle = await bench.start(Given(text=text, rounds=1))
    await handle.signal("tell", text)
    assert await handle.execute_update("ask", text) == text
    assert await handle.query("told") in ([text], [])
    assert await bench.ended(handle) == text
    assert len(await raw(handle)) < 100_000
    kept = await asyncio.to_thread(files, bench.settings.evidence_folder / "payloads")
    assert len(kept) >= 4
    assert all(CANARY.encode() not in content for content in kept)


async def test_a_replayer_with_the_plugin_reads_all_of_it(bench: Bench) -> None:
    """Sealed and outside of history alike."""
    handle = await bench.start(Given(text=large(600_000)))
    await bench.ended(handle)
    history = await handle.fetch_history()
    converter = sealed(bench.settings, bench.keys.process())
    replayer = Replayer(workflows=[PayloadsWorkflow], plugins=[plugin(converter=converter)])
    await replayer.replay_workflow(history)


async def test_what_anybody_starts_in_plain_json_works(
    bench: Bench, temporal_server: TemporalServer
) -> None:
    """As `temporal workflow start` does; the result is sealed all the same."""
    anybody = await Client.connect(temporal_server.address)
    plain = await anybody.start_workflow(
        "PayloadsWorkflow",
        {"text": CANARY},
        id=f"payloads-{secrets.token_hex(4)}",
        task_queue=bench.settings.task_queue,
    )
    await plain.signal("tell", "in clear")
    await plain.signal("end")
    assert await bench.client.get_workflow_handle(plain.id).result() == CANARY
    events = [e async for e in plain.fetch_history_events()]
    (result,) = events[-1].workflow_execution_completed_event_attributes.result.payloads
    assert result.metadata["encoding"] == b"binary/encrypted"


async def test_a_rotated_key_seals_the_next_and_opens_both(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the worker runs; it meets the new key in somebody else's payload first."""
    # It read its keys a moment ago, and would not look again so soon.
    monkeypatch.setattr("goalkeeper.payloads.keys._PAUSE", -1.0)
    handle = await bench.start(Given(text="before"))
    bench.keys.rotate()
    later = await connect(bench.settings, keys=bench.keys.process())
    await later.get_workflow_handle(handle.id).signal("tell", "after")
    assert await later.get_workflow_handle(handle.id).query("told") == ["after"]
    history = await raw(handle)
    assert '"data": "azEA' in history
    assert '"data": "azIA' in history
    assert await bench.ended(handle) == "before"


async def test_an_unreadable_signal_is_dropped_and_the_goal_goes_on(
    bench: Bench, temporal_server: TemporalServer
) -> None:
    """Made up, changed, or by a key from elsewhere: nobody can stop a goal with one."""
    handle = await bench.start(Given(text="x"))
    stranger = sealed(bench.settings, LocalKeys().process())
    (foreign,) = await stranger.encode(["from elsewhere"])
    cut = Payload(metadata=dict(foreign.metadata), data=foreign.data[:20])
    unknown = relabelled(foreign, "k77")
    anybody = await Client.connect(temporal_server.address)
    for payload in (foreign, cut, unknown):
        await anybody.get_workflow_handle(handle.id).signal("tell", RawValue(payload))
    await handle.signal("tell", "mine")
    assert await handle.query("told") == ["mine"]
    assert await bench.ended(handle) == "x"


async def test_a_client_without_the_key_says_so(bench: Bench) -> None:
    """And does not take ciphertext for a result."""
    handle = await bench.start(Given(text="x"))
    await bench.ended(handle)
    stranger = await connect(bench.settings, keys=LocalKeys().process())
    with pytest.raises(PayloadUnreadable, match="does not open"):
        await stranger.get_workflow_handle(handle.id).result()
