"""The client against the real workflow on a real Temporal server."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from goalkeeper.client import Client, EventKind, Gateway, Goal, GoalEvent
from goalkeeper.contracts.goal import Summary
from goalkeeper.domain.approval import SUBMISSION_TYPE, Answer, Submission
from goalkeeper.domain.dsse import open_envelope, seal
from goalkeeper.domain.errors import (
    ApprovalDenied,
    CheckFailed,
    Conflict,
    InvalidGoal,
    NotFound,
    OperationFailed,
    ServiceUnavailable,
)
from goalkeeper.domain.plan import GoalState, TaskState
from goalkeeper.embedded.temporal import TemporalServer
from goalkeeper.evidence import EvidenceStore
from goalkeeper.settings import Settings
from goalkeeper.temporal import connect
from tests.integration.client.conftest import Stage, contract, echo, gate, slow, write


async def _until(goal: Goal, kind: EventKind, state: object = None) -> GoalEvent:
    """Listen until that has happened."""
    async for event in goal.events():
        if event.kind is kind and state in (None, event.state, event.task and event.task.state):
            return event
    raise AssertionError(f"the goal ended without {kind} {state}")


async def test_a_goal_goes_from_submission_to_its_outputs(gk: Client, stage: Stage) -> None:
    """And its events tell the way, the goal's end last."""
    goal = await gk.submit(contract(echo("a", "hello"), echo("b", "${{ tasks.a.value }}")))
    events = [event async for event in goal.events()]
    result = await goal.result(timeout=30)
    assert result.raise_for_state().outputs("b") == {"value": "hello"}
    assert events[-1].kind is EventKind.GOAL
    assert events[-1].state is GoalState.SUCCEEDED
    done = [e.task.id for e in events if e.task and e.task.state is TaskState.SUCCEEDED]
    assert done == ["a", "b"]


async def test_the_same_id_and_inputs_are_the_same_goal(gk: Client, stage: Stage) -> None:
    """While it runs and after it ended; with other inputs it is a conflict."""
    declared = contract(echo("a", 1))
    first = await gk.submit(declared, goal_id="twice-1")
    again = await gk.submit(declared, goal_id="twice-1")
    assert (await first.result()).state is GoalState.SUCCEEDED
    late = await gk.submit(declared, goal_id="twice-1")
    assert first.id == again.id == late.id
    with pytest.raises(Conflict, match="twice-1"):
        await gk.submit(contract(echo("a", 2)), goal_id="twice-1")


async def test_an_approval_is_asked_and_counted(gk: Client, stage: Stage) -> None:
    """The request that the goal shows is the one that is decided."""
    goal = await gk.submit(contract(gate("ask", "merge"), write("merge")))
    asked = (await _until(goal, EventKind.APPROVAL_ASKED)).request
    assert asked is not None
    assert [a.task_id for a in asked.request.actions] == ["merge"]
    assert (await goal.approvals())[0].digest == asked.digest
    await stage.decide(gk, asked, Answer.APPROVE)
    result = await goal.result(timeout=30)
    assert result.state is GoalState.SUCCEEDED
    assert (await goal.approvals())[0].approved_by == ("operator",)


async def test_a_denied_goal_says_so_in_its_result(gk: Client, stage: Stage) -> None:
    """As a state, and as the error that it stands for."""
    goal = await gk.submit(contract(gate("ask", "merge"), write("merge")))
    asked = (await _until(goal, EventKind.APPROVAL_ASKED)).request
    assert asked is not None
    await stage.decide(gk, asked, Answer.DENY)
    result = await goal.result(timeout=30)
    assert result.state is GoalState.DENIED
    with pytest.raises(ApprovalDenied):
        result.raise_for_state()


async def test_a_failed_goal_keeps_what_its_tasks_did(gk: Client, stage: Stage) -> None:
    """The result holds each task's state, and why one failed."""
    stage.failing.add("b")
    goal = await gk.submit(contract(echo("a", 1), slow("b", "a")))
    result = await goal.result(timeout=30)
    assert result.state is GoalState.FAILED
    assert {t.id: t.state for t in result.tasks} == {
        "a": TaskState.SUCCEEDED,
        "b": TaskState.FAILED,
    }
    with pytest.raises(CheckFailed, match="2 tests failed"):
        result.raise_for_state()


async def test_a_goal_that_is_not_over_in_time_goes_on(gk: Client, stage: Stage) -> None:
    """Waiting ends, the goal does not."""
    release = stage.hold("a")
    goal = await gk.submit(contract(write("a")))
    with pytest.raises(ServiceUnavailable, match=r"has not ended within 0\.2 s"):
        await goal.result(timeout=0.2)
    release.set()
    await goal.cancel()
    assert (await goal.result(timeout=30)).state is GoalState.CANCELLED


async def test_pause_holds_and_resume_lets_go(gk: Client, stage: Stage) -> None:
    """What runs goes on, what comes next waits; pausing twice is a conflict."""
    release = stage.hold("a")
    goal = await gk.submit(contract(slow("a"), echo("b", 1, "a")))
    await _until(goal, EventKind.TASK, TaskState.RUNNING)
    await goal.pause("lunch")
    with pytest.raises(Conflict, match="paused already"):
        await goal.pause()
    release.set()
    await _until(goal, EventKind.TASK, TaskState.SUCCEEDED)
    progress = await goal.progress()
    assert progress.state is GoalState.PAUSED
    assert progress.tasks[1].state is TaskState.PENDING
    await goal.resume()
    assert (await goal.result(timeout=30)).state is GoalState.SUCCEEDED


async def test_commands_on_tasks_are_answered(gk: Client, stage: Stage) -> None:
    """Retrying what has not failed is refused with its state; cancelling works."""
    goal = await gk.submit(contract(gate("ask", "merge"), write("merge")))
    await _until(goal, EventKind.APPROVAL_ASKED)
    with pytest.raises(Conflict, match="'ask' is AwaitingApproval"):
        await goal.retry_task("ask")
    with pytest.raises(NotFound, match="no task 'nope'"):
        await goal.cancel_task("nope")
    await goal.cancel_task("merge", "not today")
    assert (await goal.result(timeout=30)).state is not GoalState.SUCCEEDED


async def test_a_command_to_a_goal_that_has_ended_is_refused(gk: Client, stage: Stage) -> None:
    """Not with an unknown goal's message."""
    goal = await gk.submit(contract(echo("a", 1)))
    await goal.result()
    with pytest.raises((OperationFailed, Conflict)):
        await goal.pause()


async def test_an_unknown_goal_is_not_found_by_whatever_is_asked(gk: Client, stage: Stage) -> None:
    """One clear message each, at once."""
    goal = gk.goal("nowhere")
    with pytest.raises(NotFound, match="no goal 'nowhere'"):
        await goal.progress()
    with pytest.raises(NotFound):
        await goal.result()
    with pytest.raises(NotFound):
        await goal.pause()
    with pytest.raises(NotFound):
        await goal.cancel()
    with pytest.raises(NotFound):
        [e async for e in goal.events()]
    for follow in (True, False):
        with pytest.raises(NotFound):
            [line async for line in goal.logs(follow=follow)]


async def test_goals_are_listed_by_state(gk: Client, stage: Stage) -> None:
    """Visibility follows within moments; unknown states are refused with the known ones."""
    goal = await gk.submit(contract(echo("a", 1), name="listed"))
    await goal.result()
    async with asyncio.timeout(20):
        # Visibility announces nothing.
        while goal.id not in {g.id async for g in gk.goals(state="succeeded")}:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    [summary] = [g async for g in gk.goals() if g.id == goal.id]
    assert (summary.contract, summary.requester) == ("listed", "developer")
    with pytest.raises(InvalidGoal, match="AwaitingApproval"):
        [g async for g in gk.goals(state="asleep")]


async def test_output_is_followed_until_the_goal_ends(
    gk: Client, stage: Stage, settings: Settings
) -> None:
    """What is written while following is seen; following ends by itself."""
    release = stage.hold("a")
    goal = await gk.submit(contract(slow("a")))
    stream = EvidenceStore(settings.evidence_folder).stream(goal.id, "a", 0)
    stream.write("first\n")
    seen = []
    async for line in goal.logs():
        seen.append((line.task_id, line.text))
        if line.text == "first":
            stream.write("second\n")
            await stream.close()
            release.set()
    assert seen == [("a", "first"), ("a", "second")]
    assert [line.text async for line in goal.logs(follow=False)] == ["first", "second"]
    with pytest.raises(NotFound, match="no task 'b'; it has a"):
        [line async for line in goal.logs("b", follow=False)]


async def test_a_wrong_goal_is_refused_before_anything_starts(gk: Client, stage: Stage) -> None:
    """Misspelt inputs, impossible ids, unknown contracts."""
    with pytest.raises(InvalidGoal, match="did you mean 'repository'"):
        await gk.submit("read-file", repositry="https://x.test/r", path="README.md")
    with pytest.raises(InvalidGoal, match="cannot be a goal id"):
        await gk.submit(contract(echo("a", 1)), goal_id="../up")
    with pytest.raises(NotFound, match="did you mean 'read-file'"):
        await gk.submit("read-fil")
    with pytest.raises(InvalidGoal, match="given twice"):
        await gk.submit("read-file", inputs={"path": "a"}, path="b")


async def test_a_contract_of_ones_own_comes_from_a_file(
    gk: Client, stage: Stage, tmp_path: Path
) -> None:
    """YAML on disk, whole, with inputs of its own."""
    file = tmp_path / "own.yaml"
    file.write_text(
        "name: own\ninputs:\n  word: {type: string}\n"
        "tasks:\n  - id: say\n    uses: core.echo\n    with:\n      value: ${{ inputs.word }}\n"
    )
    goal = await gk.submit(file, word="hello")
    assert (await goal.result()).outputs("say") == {"value": "hello"}
    assert (await goal.progress()).contract == "own"


async def test_a_person_needs_a_gateway_that_answers(settings: Settings, stage: Stage) -> None:
    """Nothing is submitted in a lesser way behind the person's back."""
    async with Client.connect(settings, token="t" * 40) as gk:
        with pytest.raises(ServiceUnavailable, match="gateway"):
            await gk.submit(contract(echo("a", 1)), goal_id="attested-1")
        with pytest.raises(NotFound):
            await gk.goal("attested-1").progress()


async def test_temporal_out_of_reach_is_one_clear_error(tmp_path: Path) -> None:
    """With the address and what to do."""
    settings = Settings(state=tmp_path, temporal_address="127.0.0.1:9")
    async with Client.connect(settings) as gk:
        with pytest.raises(ServiceUnavailable, match=r"127\.0\.0\.1:9.*goalkeeper up"):
            await gk.goal("g").progress()


async def test_events_survive_an_outage(
    gk: Client, settings: Settings, server: TemporalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is killed in between; the listener hears the rest, once, and the end."""
    stage = Stage()
    heard: list[GoalEvent] = []
    release = stage.hold("a")

    async def listen(goal: Goal) -> None:
        async for event in goal.events():
            heard.append(event)
            running.set()

    running, dark = asyncio.Event(), asyncio.Event()
    monkeypatch.setattr("goalkeeper.client.steering.ANSWER", timedelta(seconds=1))

    async def noticing(look: Callable[[], Awaitable[Summary]]) -> Summary:
        try:
            return await look()
        except ServiceUnavailable:
            dark.set()
            raise

    async with stage.worker(await connect(settings), settings.task_queue):
        goal = await gk.submit(contract(slow("a"), echo("b", 1, "a")))
        monkeypatch.setattr(goal, "summary", partial(noticing, goal.summary))
        listening = asyncio.create_task(listen(goal))
        async with asyncio.timeout(30):
            await running.wait()
        await server.kill()
        async with asyncio.timeout(30):
            await dark.wait()
        await server.start()
        release.set()
        async with asyncio.timeout(120):
            await listening
    assert heard[-1].state is GoalState.SUCCEEDED
    told = [(e.task.id, e.task.state) for e in heard if e.task]
    assert len(told) == len(set(told))
    assert ("b", TaskState.SUCCEEDED) in told


async def test_the_result_of_a_failed_goal_needs_no_worker(
    gk: Client, settings: Settings, server: TemporalServer
) -> None:
    """It is in the workflow's last words, tasks included."""
    stage = Stage()
    stage.failing.add("a")
    async with stage.worker(await connect(settings), settings.task_queue):
        goal = await gk.submit(contract(slow("a")))
        await goal.result()
    result = await goal.result()
    assert [t.state for t in result.tasks] == [TaskState.FAILED]
    assert result.contract == "sample"


async def test_a_persons_submission_is_attested_for_exactly_this_goal(
    settings: Settings, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the gateway signed is what the workflow gets."""

    async def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/me"):
            return httpx.Response(200, json={"id": "developer", "name": "Dev", "groups": []})
        asked = json.loads(request.content)
        now = datetime.now(UTC)
        submission = Submission(person="developer", at=now, **asked)
        envelope = await seal(submission, SUBMISSION_TYPE, stage.signing)
        return httpx.Response(200, content=envelope.model_dump_json())

    async with Client.connect(settings, token="t" * 40) as gk:
        gateway = Gateway(
            settings.gateway_url, SecretStr("t" * 40), transport=httpx.MockTransport(handler)
        )
        monkeypatch.setattr(gk, "gateway", lambda: gateway)
        goal = await gk.submit(contract(echo("a", 1)), goal_id="attested-2")
        await goal.result()
        await gateway.aclose()
    [planned] = stage.planned
    assert planned.goal.requester == "developer"
    assert planned.goal.attestation is not None
    signed = open_envelope(
        planned.goal.attestation, Submission, SUBMISSION_TYPE, stage.signing.keys
    )
    assert (signed.goal_id, signed.input_digest) == ("attested-2", planned.goal.digest)


async def test_events_are_json_for_scripts(gk: Client, stage: Stage) -> None:
    """One object an event, readable back."""
    goal = await gk.submit(contract(echo("a", 1)))
    async for event in goal.events():
        assert GoalEvent.model_validate(json.loads(event.model_dump_json())) == event


async def test_a_goal_that_has_ended_cannot_be_cancelled(gk: Client, stage: Stage) -> None:
    """Silence would look as if something had been stopped."""
    goal = await gk.submit(contract(echo("a", "hello")))
    await goal.result(timeout=30)
    with pytest.raises(Conflict, match="has ended already"):
        await goal.cancel()
