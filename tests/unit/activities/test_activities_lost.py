"""Attempts that end in the middle: what is known of them afterwards, and what people are shown."""

import asyncio
from datetime import datetime
from typing import Any

import pytest

from activities import attempt as attempts
from goalkeeper.contracts.connector import (
    Happened,
    OperationCall,
    OperationResult,
    Reconciliation,
)
from goalkeeper.domain.credential import Credentials
from goalkeeper.domain.errors import (
    GoalkeeperError,
    OperationFailed,
    OutcomeUnknown,
    ServiceUnavailable,
    StoreUnavailable,
    VaultUnavailable,
)
from goalkeeper.telemetry import TASK_SECONDS
from tests.unit.activities.attempting import Bench, Knowing, Told, answer, undo_of

KEY = "ship-1.run-1.merge.0"


BEGAN = asyncio.Event()


async def hang(_: OperationCall, __: Credentials) -> OperationResult:
    """Never answer."""
    BEGAN.set()
    await asyncio.Event().wait()
    raise AssertionError


class TestBeforeAnythingWasSent:
    """An operation that may not be repeated is not lost by what went wrong before it."""

    @pytest.mark.parametrize("store", ["vault", "audit", "ledger"])
    async def test_a_store_that_fails_leaves_no_claim(
        self, desk: Bench, monkeypatch: pytest.MonkeyPatch, store: str
    ) -> None:
        """The next attempt is as good as the first."""
        part, name = {
            "vault": (desk.vault, "lease"),
            "audit": (desk.parts.audit, "append"),
            "ledger": (desk.parts.ledger, "begin"),
        }[store]
        whole, failing = getattr(part, name), [True]

        async def fails(*args: Any, **more: Any) -> Any:
            if failing[0]:
                raise VaultUnavailable("sealed") if store == "vault" else StoreUnavailable("full")
            return await whole(*args, **more)

        monkeypatch.setattr(part, name, fails)
        connector = Told()
        with pytest.raises((VaultUnavailable, StoreUnavailable)) as caught:
            await desk.run("work.once", connector)
        assert "sent" not in caught.value.details
        failing[0] = False
        await desk.run("work.once", connector, attempt=2)
        assert len(connector.calls) == 1
        assert desk.vault.alive == {}

    async def test_an_error_after_it_says_so(self, desk: Bench) -> None:
        """Whoever gives up retrying must know that it may have happened."""

        async def doing(_: OperationCall, __: Credentials) -> OperationResult:
            raise ServiceUnavailable("no answer")

        with pytest.raises(ServiceUnavailable) as caught:
            await desk.run("work.once", Told(doing))
        assert caught.value.details["sent"] is True


class TestWhatPeopleSee:
    """Somebody has to say what became of it."""

    async def test_what_a_lost_attempt_had_printed_is_kept_as_evidence(self, desk: Bench) -> None:
        """And goes with the error, for the card."""
        await desk.lose("work.once")
        stream = desk.parts.evidence.stream("ship-1", "merge", 0)
        stream.write("half of it is done\n")
        await stream.close()
        with pytest.raises(OutcomeUnknown) as caught:
            await desk.run("work.once", Told(), attempt=2)
        (kept,) = caught.value.details["evidence"]
        assert await desk.parts.evidence.get(kept["digest"]) == b"half of it is done\n"
        assert desk.last["evidence"] == [kept["digest"]]

    async def test_without_output_there_is_no_evidence(self, desk: Bench) -> None:
        """An empty file would only puzzle."""
        await desk.lose("work.once")
        with pytest.raises(OutcomeUnknown) as caught:
            await desk.run("work.once", Told(), attempt=2)
        assert caught.value.details == {}

    async def test_a_result_that_was_found_is_on_record(self, desk: Bench) -> None:
        """The attempt that did it may have died before it could write that down."""
        await desk.run("work.once", Told())
        first = desk.last
        await desk.run("work.once", Told(), attempt=2)
        assert desk.last["outcome"] == "found"
        assert desk.last["outputs_digest"] == first["outputs_digest"]


class TestCancelled:
    """The goal cancels an attempt in the middle of its effect."""

    async def cancelled(self, desk: Bench, operation: str, connector: Told, **more: Any) -> Any:
        """Begin, and cancel once the connector was called."""
        BEGAN.clear()
        running = asyncio.create_task(desk.run(operation, connector, **{"unwanted": True, **more}))
        await BEGAN.wait()
        running.cancel()
        return await running

    async def test_what_had_happened_is_a_result_and_can_be_undone(self, desk: Bench) -> None:
        """Else the goal would leave it behind."""
        connector = Knowing(lambda *_: Reconciliation(Happened.YES, answer("there")), hang)
        result = await self.cancelled(desk, "work.write", connector)
        assert result.outputs == {"value": "there"}
        effect = await desk.parts.ledger.effect(KEY)
        assert effect is not None
        assert effect.compensation == undo_of("there")
        assert desk.last["outcome"] == "succeeded"
        assert desk.vault.alive == {}

    async def test_what_had_not_leaves_no_claim(self, desk: Bench) -> None:
        """It was cancelled, and that is all."""
        connector = Knowing(lambda *_: Reconciliation(Happened.NO), hang)
        with pytest.raises(asyncio.CancelledError):
            await self.cancelled(desk, "work.once", connector)
        assert await desk.parts.ledger.effect(KEY) is None
        assert desk.last["outcome"] == "cancelled"

    @pytest.mark.parametrize(
        ("operation", "error"),
        [("work.once", OutcomeUnknown), ("work.write", asyncio.CancelledError)],
    )
    async def test_what_cannot_be_told_is_unknown_unless_it_may_be_repeated(
        self, desk: Bench, operation: str, error: type[BaseException]
    ) -> None:
        """The claim stays in both cases."""
        connector = Knowing(lambda *_: Reconciliation(Happened.CANNOT_TELL), hang)
        with pytest.raises(error):
            await self.cancelled(desk, operation, connector)
        assert await desk.parts.ledger.effect(KEY) is not None
        assert desk.vault.alive == {}

    async def test_a_service_that_does_not_answer_cannot_tell(self, desk: Bench) -> None:
        """Nor may its silence be taken for a cancellation in time."""

        def silent(*_: Any) -> Reconciliation:
            raise ServiceUnavailable("no answer")

        with pytest.raises(OutcomeUnknown, match="does not say"):
            await self.cancelled(desk, "work.once", Knowing(silent, hang))

    async def test_another_attempt_that_follows_looks_by_itself(self, desk: Bench) -> None:
        """A time-out or a worker that stops ends this attempt, not the work."""
        looked: list[Any] = []

        def look(*_: Any) -> Reconciliation:
            looked.append(1)
            return Reconciliation(Happened.NO)

        with pytest.raises(asyncio.CancelledError):
            await self.cancelled(desk, "work.once", Knowing(look, hang), unwanted=False)
        assert looked == []
        assert await desk.parts.ledger.effect(KEY) is not None


class TestFullDisk:
    """The effect is there; writing that down has to wait."""

    @pytest.fixture(autouse=True)
    def impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """No real waiting."""
        monkeypatch.setattr(attempts, "_PAUSE", 0)

    @pytest.mark.parametrize("store", ["evidence", "ledger", "audit"])
    async def test_an_effect_is_written_down_as_soon_as_there_is_room(
        self, desk: Bench, monkeypatch: pytest.MonkeyPatch, store: str
    ) -> None:
        """It is done once, and its attempt succeeds."""
        part, name = {
            "evidence": (desk.parts.evidence, "put"),
            "ledger": (desk.parts.ledger, "finish"),
            "audit": (desk.parts.audit, "append"),
        }[store]
        whole, refusals = getattr(part, name), [2]
        connector = Told()

        async def full(*args: Any, **more: Any) -> Any:
            if connector.calls and refusals[0]:
                refusals[0] -= 1
                raise StoreUnavailable("the disk is full")
            return await whole(*args, **more)

        async def doing(call: OperationCall, _: Credentials) -> OperationResult:
            return answer("done", attachments=())

        monkeypatch.setattr(part, name, full)
        connector.doing = doing
        if store == "evidence":
            monkeypatch.setattr(attempts, "OUTPUTS_LIMIT", 1)
            with pytest.raises(OperationFailed):
                await desk.run("work.once", connector)
        else:
            await desk.run("work.once", connector)
        assert refusals == [0]
        assert len(connector.calls) == 1
        effect = await desk.parts.ledger.effect(KEY)
        assert effect is not None
        assert effect.state == "done"

    @pytest.mark.parametrize("error", [ServiceUnavailable("no answer"), OutcomeUnknown("gone")])
    async def test_that_it_was_sent_is_not_forgotten_over_a_full_disk(
        self, desk: Bench, monkeypatch: pytest.MonkeyPatch, error: GoalkeeperError
    ) -> None:
        """The workflow must see that it may have happened, not that a store was full."""
        whole, refusals = desk.parts.audit.append, [2]

        async def doing(_: OperationCall, __: Credentials) -> OperationResult:
            raise error

        connector = Told(doing)

        async def full(*events: Any) -> Any:
            if connector.calls and refusals[0]:
                refusals[0] -= 1
                raise StoreUnavailable("the disk is full")
            return await whole(*events)

        monkeypatch.setattr(desk.parts.audit, "append", full)
        with pytest.raises(type(error)):
            await desk.run("work.once", connector)
        assert desk.last["failure"]["code"] == error.code

    async def test_reading_fails_at_once_and_is_repeated_by_temporal(
        self, desk: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """There is nothing to forget."""

        async def full(*_: Any, **__: Any) -> Any:
            raise StoreUnavailable("the disk is full")

        async def doing(call: OperationCall, _: Credentials) -> OperationResult:
            call.log("line")
            return answer()

        monkeypatch.setattr(desk.parts.evidence, "put", full)
        with pytest.raises(StoreUnavailable):
            await desk.run("work.read", Told(doing))
        assert desk.vault.alive == {}


class TestLargeAnswers:
    """Outputs travel through history and into expressions."""

    @pytest.mark.parametrize(
        ("value", "why"),
        [("x" * 2_000_000, "1953 KiB, and at most 1024 KiB"), (2**60, r"a number beyond 2\^53")],
    )
    async def test_what_cannot_be_handed_on_is_an_error_and_nothing_is_lost(
        self, desk: Bench, value: Any, why: str
    ) -> None:
        """The whole answer is evidence, and the effect can still be undone."""

        async def doing(_: OperationCall, __: Credentials) -> OperationResult:
            return answer(value)

        connector = Told(doing)
        with pytest.raises(OperationFailed, match=why) as caught:
            await desk.run("work.once", connector)
        (kept,) = caught.value.details["evidence"]
        assert str(value).encode() in await desk.parts.evidence.get(kept["digest"])
        effect = await desk.parts.ledger.effect(KEY)
        assert effect is not None
        assert effect.state == "done"
        assert effect.compensation is not None
        with pytest.raises(OperationFailed, match=why):
            await desk.run("work.once", connector, attempt=2)
        assert len(connector.calls) == 1

    async def test_what_is_just_small_enough_is_handed_on(self, desk: Bench) -> None:
        """The bound is on the JSON."""
        value = "x" * (attempts.OUTPUTS_LIMIT - len('{"value":""}'))

        async def doing(_: OperationCall, __: Credentials) -> OperationResult:
            return answer(value)

        assert (await desk.run("work.read", Told(doing))).outputs == {"value": value}


async def test_an_item_of_a_list_is_work_of_its_own(desk: Bench) -> None:
    """Ledger, evidence and record tell it from the task and from the other items."""

    async def doing(call: OperationCall, _: Credentials) -> OperationResult:
        call.log(f"this is {call.task_id}")
        return answer(call.task_id)

    connector = Told(doing)
    for task in ("merge", "merge.0", "merge.1"):
        await desk.run("work.once", connector, task_id=task)
    assert sorted(c.key for c in connector.calls) == [
        "ship-1.run-1.merge.0",
        "ship-1.run-1.merge.0.0",
        "ship-1.run-1.merge.1.0",
    ]
    read = desk.parts.evidence.read
    assert [(o.task_id, o.text) for o in read("ship-1", "merge.1")] == [
        ("merge.1", "this is merge.1")
    ]
    assert len([*read("ship-1", "merge")]) == 3


async def test_a_clock_that_jumps_does_not_bend_durations(
    desk: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How long an attempt took is not the difference of two wall clocks."""

    class Past:
        """A clock that was set back while the operation ran."""

        @staticmethod
        def now(zone: Any) -> Any:
            return datetime.now(zone).replace(year=2001)

    async def doing(_: OperationCall, __: Credentials) -> OperationResult:
        monkeypatch.setattr(attempts, "datetime", Past)
        return answer()

    def seconds() -> float:
        (metric,) = TASK_SECONDS.collect()
        return sum(
            s.value
            for s in metric.samples
            if s.name.endswith("_sum") and s.labels["operation"] == "work.read"
        )

    before = seconds()
    await desk.run("work.read", Told(doing))
    assert 0 <= seconds() - before < 60
    assert desk.last["outcome"] == "succeeded"


async def test_an_error_keeps_its_code_and_its_evidence_when_it_is_redacted(desk: Bench) -> None:
    """What a failed check printed is there for whoever asks why."""

    async def doing(call: OperationCall, credentials: Credentials) -> OperationResult:
        call.log("expected 1, found 2")
        raise OperationFailed(f"no: {credentials['token'].get_secret_value()}")

    with pytest.raises(GoalkeeperError, match=r"no: \[redacted\]") as caught:
        await desk.run("work.read", Told(doing))
    assert caught.value.code == "OperationFailed"
    assert len(caught.value.details["evidence"]) == 1
