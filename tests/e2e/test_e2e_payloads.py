"""A goal's values on the whole stack: ciphertext in Temporal, readable for who may read."""

import asyncio
import json
import os
import secrets
from typing import Any

import httpx
import temporalio.client
from google.protobuf.json_format import MessageToDict
from temporalio.api.common.v1 import Payloads

from goalkeeper.cli.app import run
from goalkeeper.client import Client, Goal
from goalkeeper.domain.contract import Contract
from goalkeeper.domain.plan import GoalState
from goalkeeper.embedded.payload_keys import payload_keys
from goalkeeper.embedded.temporal import find_binary
from goalkeeper.payloads.codec import parts_of
from goalkeeper.settings import Settings
from tests.support.live import ended

CANARY = "canary-9d40"


def contract(value: str = CANARY) -> Contract:
    """One task that hands a value on."""
    task = {"id": "t", "uses": "core.noop", "with": {"value": value}}
    return Contract.model_validate(
        {"name": "payloads", "environment": "development", "tasks": [task]}
    )


async def raw_history(stack: Settings, goal: Goal) -> temporalio.client.WorkflowHistory:
    """As anybody reads it who reaches Temporal's port."""
    anybody = await temporalio.client.Client.connect(stack.temporal_address)
    return await anybody.get_workflow_handle(goal.id).fetch_history()


async def ui_codec(stack: Settings) -> str:
    """Where Temporal's UI has payloads opened, as its page learns it."""
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"{stack.temporal_ui_url}/api/v1/settings")
    return str(answer.json()["Codec"]["Endpoint"])


async def test_temporal_holds_ciphertext_and_its_ui_shows_plain_text(
    stack: Settings, developer: Client
) -> None:
    """The UI's page gets the goal's input in clear; another page gets nothing."""
    goal = await developer.submit(contract())
    result = await ended(goal)
    assert result.state is GoalState.SUCCEEDED, result.failure
    assert result.outputs("t") == {"value": CANARY}
    history = await raw_history(stack, goal)
    assert CANARY not in history.to_json()
    started = history.events[0].workflow_execution_started_event_attributes
    body: dict[str, Any] = MessageToDict(Payloads(payloads=started.input.payloads))
    endpoint = await ui_codec(stack)
    async with httpx.AsyncClient(trust_env=False) as http:
        shown = await http.post(
            f"{endpoint}/decode", json=body, headers={"Origin": stack.temporal_ui_url}
        )
        other = await http.post(
            f"{endpoint}/decode", json=body, headers={"Origin": "http://127.0.0.1:1"}
        )
    (payload,) = shown.json()["payloads"]
    assert payload["metadata"]["encoding"] == "anNvbi9wbGFpbg=="
    assert other.status_code == 403


async def test_temporals_own_command_reads_a_goal_with_a_person_s_token_alone(
    stack: Settings, developer: Client
) -> None:
    """Without it the same command shows ciphertext, and with a wrong one nothing."""
    goal = await developer.submit(contract())
    await ended(goal)
    token = (stack.state / "tokens" / "developer").read_text().strip()
    codec = {"TEMPORAL_CODEC_ENDPOINT": f"{stack.gateway_url}/codec"}

    async def shown(environ: dict[str, str]) -> str:
        process = await asyncio.create_subprocess_exec(
            *(str(find_binary()), "workflow", "result", "-w", goal.id),
            *("--address", stack.temporal_address, "--output", "json"),
            # With a wrong token it asks again and again.
            *("--command-timeout", "10s"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **environ},
        )
        out, _ = await process.communicate()
        return out.decode()

    readable = await shown({**codec, "TEMPORAL_CODEC_AUTH": f"Bearer {token}"})
    assert json.loads(readable)["result"]["tasks"][0]["outputs"] == {"value": CANARY}
    assert CANARY not in await shown({})
    assert CANARY not in await shown({**codec, "TEMPORAL_CODEC_AUTH": "Bearer wrong"})


async def test_a_rotated_key_is_in_use_at_once_and_the_old_goal_stays_readable(
    stack: Settings, developer: Client
) -> None:
    """By the command, while everything runs."""
    before = await developer.submit(contract("before"))
    await ended(before)
    code = await asyncio.to_thread(run, ["--state", str(stack.state), "keys", "rotate"])
    assert code == 0
    current = (await payload_keys(stack)).ids[-1]
    async with Client.connect(stack, as_person="developer") as fresh:
        after = await fresh.submit(contract("after"))
        assert (await ended(after)).outputs("t") == {"value": "after"}
        assert (await ended(fresh.goal(before.id))).outputs("t") == {"value": "before"}
    started = (await raw_history(stack, after)).events[0]
    (payload,) = started.workflow_execution_started_event_attributes.input.payloads
    assert parts_of(payload)[0] == current


async def test_why_a_goal_failed_is_told_to_its_client_and_not_to_temporal(
    stack: Settings, developer: Client
) -> None:
    """The message names what was wrong with the input."""
    anybody = await temporalio.client.Client.connect(stack.temporal_address)
    plain = await anybody.start_workflow(
        "GoalWorkflow",
        {"contract": CANARY},
        id=f"payloads-{secrets.token_hex(4)}",
        task_queue=stack.task_queue,
    )
    result = await ended(developer.goal(plain.id))
    assert result.state is GoalState.FAILED
    assert result.failure is not None
    assert CANARY in result.failure.message
    history = (await plain.fetch_history()).events
    told = history[-1].workflow_execution_failed_event_attributes.failure
    assert told.message == "Encoded failure"
    assert CANARY not in str(told)
