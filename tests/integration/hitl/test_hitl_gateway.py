"""The gateway process against real goals: attest, ask, answer, and survive."""

import asyncio
import re
import uuid
from datetime import timedelta
from html import unescape
from typing import Any

import httpx
import pytest
from temporalio.client import WorkflowHandle

from goalkeeper.audit import AuditLog
from goalkeeper.contracts.goal import GoalInput, OpenRequest
from goalkeeper.domain.approval import Answer
from goalkeeper.domain.audit import AuditKind
from goalkeeper.domain.dsse import Envelope
from goalkeeper.domain.errors import NotFound, ServiceUnavailable
from goalkeeper.domain.plan import GoalState
from goalkeeper.evidence import EvidenceStore
from goalkeeper.identities import Identities
from goalkeeper.settings import Settings
from goalkeeper.vault import Vault
from hitl.goals import TemporalGoals
from hitl.services import assemble
from tests.integration.hitl.conftest import GatewayProcess, token_of
from tests.support.engine import Engine, plan_of

SHIP: tuple[dict[str, Any], ...] = (
    {"id": "look", "uses": "fake.read", "with": {"value": "v2"}},
    {"id": "ok", "uses": "approval", "covers": ["merge"], "show": ["look"]},
    {"id": "merge", "uses": "fake.write", "with": {"value": "${{ tasks.look.value }}"}},
)

Handle = WorkflowHandle[Any, Any]


async def submit(engine: Engine, gateway: GatewayProcess, person: str = "dana") -> Handle:
    """Start a goal in a person's name, attested by the running gateway."""
    goal = GoalInput(definition=plan_of(*SHIP, environment="production"), requester=person)
    goal_id = f"test-{uuid.uuid4().hex[:12]}"
    async with gateway.api(person) as api:
        body = {"goal_id": goal_id, "input_digest": goal.digest}
        answer = await api.post("/api/v1/submissions", json=body)
    envelope = Envelope.model_validate(answer.json())
    return await engine.start(goal.model_copy(update={"attestation": envelope}), goal_id)


async def decide(
    gateway: GatewayProcess, person: str, asked: OpenRequest, answer: str = "approve"
) -> httpx.Response:
    """Answer with the digest that was shown."""
    body = {
        "request_id": asked.request.id,
        "request_digest": asked.digest,
        "answer": answer,
        "reason": "checked",
    }
    async with gateway.api(person) as api:
        return await api.post("/api/v1/decisions", json=body)


async def test_an_attested_goal_is_approved_by_one_other_person_and_runs(
    engine: Engine, mortal_gateway: GatewayProcess
) -> None:
    """Signed in Vault, verified by the worker, counted, on record, and the record verifies."""
    handle = await submit(engine, mortal_gateway)
    asked = await engine.asked(handle)
    assert asked.request.requester.proven
    assert asked.needed == 1
    async with mortal_gateway.api("olive") as api:
        listed = (await api.get("/api/v1/requests")).json()
    assert asked.request.id in {r["request"]["id"] for r in listed}
    answer = await decide(mortal_gateway, "olive", asked)
    assert answer.json()["counted"] is True
    assert (await engine.result(handle)).state is GoalState.SUCCEEDED
    assert [t for t, _, _ in engine.fake.done] == ["look", "merge"]
    assert await mortal_gateway.stop() == 0
    log = AuditLog.open(mortal_gateway.settings.audit_file, readonly=True)
    log.verify()
    (event,) = [e.event for e in log.entries(kind=AuditKind.APPROVAL_DECIDED)]
    assert (event.actor, event.goal_id) == ("person:olive", handle.id)
    text = mortal_gateway.settings.audit_file.read_bytes() + mortal_gateway.log.read_bytes()
    assert token_of("olive").encode() not in text


async def test_the_requester_is_refused_and_the_goal_goes_on_waiting(
    engine: Engine, gateway: GatewayProcess
) -> None:
    """An operator's own goal needs another operator."""
    handle = await submit(engine, gateway, "olive")
    asked = await engine.asked(handle)
    answer = await decide(gateway, "olive", asked)
    assert (answer.status_code, answer.json()["code"]) == (403, "NotAllowed")
    assert (await decide(gateway, "dana", asked)).status_code == 403
    assert (await engine.asked(handle)).approved_by == ()
    await decide(gateway, "oscar", asked)
    assert (await engine.result(handle)).state is GoalState.SUCCEEDED


async def test_a_goal_without_a_proven_requester_needs_one_more_person(
    engine: Engine, gateway: GatewayProcess
) -> None:
    """Both are counted, and the second makes it run."""
    plan = plan_of(*SHIP, environment="production")
    handle = await engine.submit(plan, requester=None)
    asked = await engine.asked(handle)
    first = (await decide(gateway, "olive", asked)).json()
    assert (first["counted"], first["closed"], first["needed"]) == (True, None, 2)
    again = (await decide(gateway, "olive", asked)).json()
    assert (again["decision_id"], again["closed"]) == (first["decision_id"], None)
    assert (await decide(gateway, "oscar", asked)).json()["closed"] == "approved"
    assert (await engine.result(handle)).state is GoalState.SUCCEEDED


async def test_two_answers_at_once_are_both_heard(engine: Engine, gateway: GatewayProcess) -> None:
    """A yes and a no in the same moment end in one outcome, and both people learn it."""
    handle = await submit(engine, gateway)
    asked = await engine.asked(handle)
    yes, no = await asyncio.gather(
        decide(gateway, "olive", asked), decide(gateway, "oscar", asked, "deny")
    )
    assert sorted((yes.status_code, no.status_code)) == [200, 409]
    state = (await engine.result(handle)).state
    assert state is (GoalState.SUCCEEDED if yes.status_code == 200 else GoalState.DENIED)
    late = (no if yes.status_code == 200 else yes).json()["message"]
    assert re.search(r"already (approved by olive|denied by oscar) at ", late)


async def test_a_denial_on_the_console_ends_the_goal(
    engine: Engine, gateway: GatewayProcess
) -> None:
    """Sign in, open the request from the inbox, deny it with a reason, see what was recorded."""
    handle = await submit(engine, gateway)
    asked = await engine.asked(handle)
    url = gateway.settings.gateway_url
    own = {"Origin": url, "Sec-Fetch-Site": "same-origin"}
    async with httpx.AsyncClient(base_url=url, follow_redirects=True, timeout=20) as browser:
        inbox = await browser.post("/login", data={"token": token_of("olive")}, headers=own)
        path = f"/requests/{asked.request.id}"
        assert path in inbox.text
        page = (await browser.get(path)).text
        fields = dict(re.findall(r'name="(form_token|digest)" value="([^"]*)"', page))
        form = {k: unescape(v) for k, v in fields.items()}
        form |= {"answer": "deny", "reason": "not on a Friday"}
        after = await browser.post(path, data=form, headers=own)
    assert "Denial recorded" in after.text
    assert "not on a Friday" in after.text
    result = await engine.result(handle)
    assert result.state is GoalState.DENIED
    assert [t for t, _, _ in engine.fake.done] == ["look"]


async def test_a_click_that_died_with_the_gateway_before_its_signal_still_counts(
    engine: Engine, vault: Vault, mortal_gateway: GatewayProcess
) -> None:
    """Recorded, then killed: the gateway that starts next sends the recorded decision, once."""
    handle = await submit(engine, mortal_gateway)
    asked = await engine.asked(handle)
    await mortal_gateway.kill()
    await _record_without_signalling(engine, mortal_gateway.settings, vault, asked)
    assert (await engine.asked(handle)).approved_by == ()
    await mortal_gateway.start()
    assert (await engine.result(handle)).state is GoalState.SUCCEEDED
    assert [t for t, _, _ in engine.fake.done] == ["look", "merge"]
    log = AuditLog.open(mortal_gateway.settings.audit_file, readonly=True)
    assert len(list(log.entries(kind=AuditKind.APPROVAL_DECIDED))) == 1


async def test_an_unknown_goal_is_told_from_one_that_does_not_answer(engine: Engine) -> None:
    """The first is not there; the second waits for its worker and loses nothing."""
    goals = TemporalGoals(engine.client, patience=timedelta(seconds=1))
    with pytest.raises(NotFound, match="no goal 'nowhere'"):
        await goals.approvals("nowhere")
    handle = await engine.client.start_workflow(
        "GoalWorkflow", GoalInput(), id=f"test-{uuid.uuid4().hex}", task_queue="nobody-works-here"
    )
    with pytest.raises(ServiceUnavailable, match="worker or Temporal is busy or down"):
        await goals.approvals(handle.id)
    await handle.terminate()
    assert await goals.reachable()


async def test_a_taken_port_is_one_clear_message(gateway: GatewayProcess) -> None:
    """The second gateway ends with an error that says what to do, and no traceback."""
    second = GatewayProcess(gateway.settings, gateway.bao)
    second.log = gateway.settings.state / "second.log"
    process = await second.spawn()
    async with asyncio.timeout(20):
        assert await process.wait() == 2
    text = second.log.read_text()
    assert "cannot listen on" in text
    assert "Traceback" not in text


async def _record_without_signalling(
    engine: Engine, settings: Settings, vault: Vault, asked: OpenRequest
) -> None:
    """What is left behind by a gateway that is killed between its record and its signal."""

    class Killed(BaseException):
        """Stands for the end of the process."""

    class DyingGoals(TemporalGoals):
        async def deliver(self, goal_id: str, envelope: Envelope) -> None:
            raise Killed

    log = AuditLog.open(settings.audit_file)
    services = assemble(
        identities=Identities.load(settings.identities_file),
        goals=DyingGoals(engine.client),
        log=log,
        signer=vault.signer(),
        vault_healthy=vault.healthy,
        evidence=EvidenceStore(settings.evidence_folder),
    )
    olive = services.identities.get("olive")
    assert olive is not None
    with pytest.raises(Killed):
        await services.decisions.decide(
            olive,
            asked.request.id,
            digest=asked.digest,
            answer=Answer.APPROVE,
            reason="",
            channel="cli",
        )
    await log.aclose()
