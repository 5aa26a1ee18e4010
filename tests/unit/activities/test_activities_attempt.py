"""One governed attempt: what is durable when, what is repeated, and what is never repeated."""

import asyncio
from typing import Any

import pytest

from goalkeeper.contracts.connector import (
    Happened,
    OperationCall,
    OperationResult,
    Reconciliation,
)
from goalkeeper.domain.audit import AuditEvent, AuditKind
from goalkeeper.domain.credential import Credentials
from goalkeeper.domain.errors import (
    Conflict,
    CredentialDenied,
    GrantMismatch,
    OutcomeUnknown,
    ServiceUnavailable,
    StoreUnavailable,
    TransientError,
    VaultUnavailable,
)
from goalkeeper.ledger import Effect
from tests.unit.activities.attempting import Bench, Knowing, Told, answer, undo_of

KEY = "ship-1.run-1.merge.0"


async def test_intent_and_claim_are_durable_before_anything_is_done(desk: Bench) -> None:
    """And the outcome before the workflow hears of it; the lease ends last."""
    before: list[str] = []

    async def doing(call: OperationCall, _: Credentials) -> OperationResult:
        before.extend(desk.kinds)
        effect = await desk.parts.ledger.effect(call.key)
        assert effect is not None
        assert effect.state == "started"
        return answer("merged")

    result = await desk.run("work.write", Told(doing))
    assert before == ["task.intent", "credential.leased"]
    assert desk.kinds == [*before, "task.outcome", "credential.revoked"]
    effect = await desk.parts.ledger.effect(KEY)
    assert effect is not None
    assert effect.state == "done"
    assert effect.compensation == undo_of("merged")
    assert result.outputs == {"value": "merged"}
    assert result.compensable


async def test_without_credentials_both_are_durable_too(desk: Bench) -> None:
    """Then they are written side by side."""
    before: list[str] = []

    async def doing(call: OperationCall, _: Credentials) -> OperationResult:
        before.extend(desk.kinds)
        effect = await desk.parts.ledger.effect(call.key)
        assert effect is not None
        return answer()

    await desk.run("work.once", Told(doing), credentials={})
    assert before == ["task.intent"]


@pytest.mark.parametrize("ending", ["full", "cancelled"])
async def test_a_claim_without_its_intent_is_taken_back(
    desk: Bench, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """Nothing was done, so the next attempt must not take it for lost."""
    claimed = asyncio.Event()
    begin, append = desk.parts.ledger.begin, desk.parts.audit.append

    async def seen(key: str, **more: Any) -> Effect | None:
        known = await begin(key, **more)
        claimed.set()
        return known

    async def refused(*events: AuditEvent) -> tuple[int, ...]:
        if events[0].kind is not AuditKind.TASK_INTENT:
            return await append(*events)
        await claimed.wait()
        if ending == "full":
            raise StoreUnavailable("the disk is full")
        running.cancel()
        return await asyncio.Future()

    connector = Told()
    with monkeypatch.context() as broken:
        broken.setattr(desk.parts.ledger, "begin", seen)
        broken.setattr(desk.parts.audit, "append", refused)
        running = asyncio.create_task(desk.run("work.once", connector, credentials={}))
        await asyncio.wait([running])
    assert running.cancelled() or isinstance(running.exception(), StoreUnavailable)
    assert not connector.calls
    assert await desk.parts.ledger.effect(KEY) is None
    await desk.run("work.once", connector, credentials={}, attempt=2)
    assert len(connector.calls) == 1


async def test_reading_claims_nothing_and_cannot_be_undone(desk: Bench) -> None:
    """There is no effect to remember."""
    result = await desk.run("work.read", Told())
    assert not result.compensable
    assert await desk.parts.ledger.effect(KEY) is None


@pytest.mark.parametrize("operation", ["work.write", "work.once"])
async def test_an_effect_that_is_known_is_not_repeated(desk: Bench, operation: str) -> None:
    """The next attempt gets the first one's answer, without a lease."""
    connector = Told()
    first = await desk.run(operation, connector)
    again = await desk.run(operation, connector, attempt=2)
    assert again == first
    assert len(connector.calls) == 1
    assert len(desk.vault.lent) == 1


async def test_an_idempotent_operation_is_repeated_after_a_lost_attempt(desk: Bench) -> None:
    """Under the same key, so that the target can tell."""
    await desk.lose("work.write")
    connector = Told()
    await desk.run("work.write", connector, attempt=2)
    assert [c.key for c in connector.calls] == [KEY]


async def test_another_is_not_and_its_outcome_is_unknown(desk: Bench) -> None:
    """Nothing is run, the claim stays, and it is on record."""
    await desk.lose("work.once")
    connector = Told()
    for attempt in (2, 3):
        with pytest.raises(OutcomeUnknown, match="It is not run again"):
            await desk.run("work.once", connector, attempt=attempt)
    assert connector.calls == []
    assert desk.last["failure"]["code"] == "OutcomeUnknown"


async def test_an_operation_that_broke_off_after_its_effect_is_not_repeated(desk: Bench) -> None:
    """A transient error says nothing about what happened before it."""

    async def doing(_: OperationCall, __: Credentials) -> OperationResult:
        raise ServiceUnavailable("the answer did not come")

    connector = Told(doing)
    with pytest.raises(ServiceUnavailable):
        await desk.run("work.once", connector)
    with pytest.raises(OutcomeUnknown):
        await desk.run("work.once", connector, attempt=2)
    assert len(connector.calls) == 1


async def test_an_operation_that_said_no_may_be_tried_again(desk: Bench) -> None:
    """A permanent error is its word that nothing changed."""

    async def doing(call: OperationCall, _: Credentials) -> OperationResult:
        if call.attempt == 1:
            raise Conflict("the branch has moved")
        return answer()

    connector = Told(doing)
    with pytest.raises(Conflict):
        await desk.run("work.once", connector)
    assert desk.last["failure"] == {"code": "Conflict", "message": "the branch has moved"}
    assert await desk.parts.ledger.effect(KEY) is None
    assert (await desk.run("work.once", connector, attempt=2)).outputs == {"value": "done"}


async def test_a_lost_attempt_that_took_effect_is_finished_from_what_is_found(desk: Bench) -> None:
    """As if it had returned: outcome on record, undoable, not run again."""
    await desk.lose("work.once")
    connector = Knowing(lambda *_: Reconciliation(Happened.YES, answer("found")))
    result = await desk.run("work.once", connector, attempt=2)
    assert result.outputs == {"value": "found"}
    assert connector.calls == []
    assert desk.last["outcome"] == "succeeded"
    effect = await desk.parts.ledger.effect(KEY)
    assert effect is not None
    assert effect.compensation == undo_of("found")
    assert desk.vault.alive == {}


async def test_a_lost_attempt_that_took_no_effect_is_run_again(desk: Bench) -> None:
    """With the lease that found it out."""
    await desk.lose("work.once")
    connector = Knowing(lambda *_: Reconciliation(Happened.NO))
    await desk.run("work.once", connector, attempt=2)
    assert len(connector.calls) == 1
    assert len(desk.vault.lent) == 1
    assert desk.vault.alive == {}


@pytest.mark.parametrize(
    "found", [Reconciliation(Happened.CANNOT_TELL), Reconciliation(Happened.YES, None)]
)
async def test_what_cannot_be_told_is_for_people(desk: Bench, found: Reconciliation) -> None:
    """And the lease that was taken to look is given back."""
    await desk.lose("work.once")
    connector = Knowing(lambda *_: found)
    with pytest.raises(OutcomeUnknown):
        await desk.run("work.once", connector, attempt=2)
    assert connector.calls == []
    assert desk.vault.alive == {}
    assert await desk.parts.ledger.open_leases() == []
    assert desk.last["failure"]["code"] == "OutcomeUnknown"


async def test_looking_that_fails_leaves_the_claim_as_it_was(desk: Bench) -> None:
    """Else the next attempt would take a lost effect for none."""
    await desk.lose("work.once")

    def refused(_: OperationCall, credentials: Credentials) -> Reconciliation:
        raise CredentialDenied(f"no: {credentials['token'].get_secret_value()}")

    with pytest.raises(CredentialDenied, match=r"no: \[redacted\]"):
        await desk.run("work.once", Knowing(refused), attempt=2)
    effect = await desk.parts.ledger.effect(KEY)
    assert effect is not None
    assert effect.state == "started"
    assert desk.vault.alive == {}


async def test_a_key_that_belongs_to_another_action_is_not_touched(desk: Bench) -> None:
    """What the other began stays begun."""
    await desk.lose("work.once")
    with pytest.raises(GrantMismatch):
        await desk.run("work.once", Told(), attempt=2, environment="staging")
    assert await desk.parts.ledger.effect(KEY) is not None


@pytest.mark.parametrize("ending", ["success", "no", "broken"])
async def test_the_lease_ends_with_the_attempt(desk: Bench, ending: str) -> None:
    """However the attempt ends."""

    async def doing(_: OperationCall, __: Credentials) -> OperationResult:
        assert len(desk.vault.alive) == 1
        assert len(await desk.parts.ledger.open_leases()) == 1
        if ending == "no":
            raise Conflict("no")
        if ending == "broken":
            raise KeyError("oops")
        return answer()

    try:
        await desk.run("work.read", Told(doing))
    except (Conflict, TransientError):
        assert ending != "success"
    else:
        assert ending == "success"
    assert desk.vault.alive == {}
    assert await desk.parts.ledger.open_leases() == []
    assert desk.kinds[-1] == "credential.revoked"


async def test_the_lease_ends_with_a_cancelled_attempt(desk: Bench) -> None:
    """And the cancellation is on record."""
    began = asyncio.Event()

    async def doing(_: OperationCall, __: Credentials) -> OperationResult:
        began.set()
        await asyncio.Event().wait()
        raise AssertionError

    attempt = asyncio.create_task(desk.run("work.write", Told(doing)))
    await began.wait()
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    assert desk.vault.alive == {}
    assert desk.last["outcome"] == "cancelled"


async def test_one_role_is_leased_once_and_given_back_when_the_next_is_refused(
    desk: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two slots of a role share a lease; a refusal leaves none behind."""
    seen: list[Any] = []

    async def doing(_: OperationCall, credentials: Credentials) -> OperationResult:
        seen.append((len(desk.vault.alive), sorted(credentials)))
        return answer()

    both = {"token": "git-writer", "other": "git-writer"}
    await desk.run("work.read", Told(doing), credentials=both)
    assert seen == [(1, ["other", "token"])]
    lend = desk.vault.lease

    async def picky(role: str, *rest: Any, **more: Any) -> Any:
        if role == "second":
            raise CredentialDenied("not this one")
        return await lend(role, *rest, **more)

    monkeypatch.setattr(desk.vault, "lease", picky)
    with pytest.raises(CredentialDenied):
        await desk.run("work.read", Told(), credentials={"token": "first", "other": "second"})
    assert desk.vault.alive == {}


async def test_the_next_attempt_ends_the_leases_that_a_lost_one_left(desk: Bench) -> None:
    """Those of the same work, and of no other."""
    work = desk.work("work.read", Told())

    async def opened(accessor: str, expires_at: Any) -> None:
        for holder, suffix in ((work.call.key, ""), ("another", "-other")):
            await desk.parts.ledger.lease_opened(
                accessor + suffix,
                role="git-writer",
                goal_id="ship-1",
                task_id="merge",
                holder=holder,
                expires_at=expires_at,
            )

    await desk.vault.lease("git-writer", ["token"], ttl=work.ttl, meta={}, opened=opened)
    await desk.run("work.read", Told(), attempt=2)
    assert desk.vault.alive == {}
    left = await desk.parts.ledger.open_leases()
    assert [lease.holder for lease in left] == ["another"]


async def test_a_lease_that_cannot_be_ended_now_stays_in_the_ledger(
    desk: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result counts all the same; the goal's clean-up ends it later."""

    async def sealed(_: str) -> None:
        raise VaultUnavailable("sealed")

    monkeypatch.setattr(desk.vault, "revoke", sealed)
    assert (await desk.run("work.write", Told())).outputs == {"value": "done"}
    assert len(await desk.parts.ledger.open_leases()) == 1
    assert "credential.revoked" not in desk.kinds
