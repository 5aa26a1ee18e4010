import fcntl
import json
import threading
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from connectors.notify import FEED, Delivered, NotifyConnector, append_once
from goalkeeper.domain.base import Json
from goalkeeper.domain.errors import OperationFailed, RateLimited, ServiceUnavailable
from tests.unit.connectors.conftest import Caller

HOOK = "https://hooks.example.org/services/secret-canary"


def feed(folder: Path) -> list[dict[str, Json]]:
    """What people were told."""
    return [json.loads(line) for line in (folder / FEED).read_text().splitlines()]


class TestFeed:
    """The installation's own feed."""

    async def test_a_message_is_appended(self, tmp_path: Path, call: Caller) -> None:
        """With the goal, the task, the channel and the time."""
        notify = NotifyConnector(tmp_path / "state")
        result = await notify.execute(call("notify.send", {"message": "Deployed: grün"}), {})
        assert result.outputs == Delivered(delivered_to=("feed",))
        (entry,) = feed(tmp_path / "state")
        assert entry["message"] == "Deployed: grün"
        assert (entry["goal_id"], entry["channel"]) == ("goal-1", "ops")
        assert (tmp_path / "state" / FEED).stat().st_mode & 0o077 == 0

    async def test_a_repeated_key_is_told_once(self, tmp_path: Path, call: Caller) -> None:
        """And another task's message besides it."""
        notify = NotifyConnector(tmp_path)
        for attempt in (1, 2):
            await notify.execute(call("notify.send", {"message": "one"}, attempt=attempt), {})
        await notify.execute(call("notify.send", {"message": "two"}, task="other"), {})
        assert [entry["message"] for entry in feed(tmp_path)] == ["one", "two"]

    def test_a_line_cut_short_by_a_crash_spoils_nothing(self, tmp_path: Path) -> None:
        """The next entry starts a line of its own, and the cut one does not count as told."""
        file = tmp_path / FEED
        file.write_bytes(b'{"key": "a"}\n{"key": "b", "mess')
        assert append_once(file, {"key": "b"})
        assert not append_once(file, {"key": "b"})
        assert not append_once(file, {"key": "a"})
        assert file.read_bytes().splitlines()[-1] == b'{"key": "b"}'

    def test_writers_wait_for_each_other(self, tmp_path: Path) -> None:
        """Two workers may hold the same key for a moment: the second sees the first's entry."""
        wrote: list[bool] = []
        file = tmp_path / FEED
        second = threading.Thread(target=lambda: wrote.append(append_once(file, {"key": "same"})))
        with file.open("a") as first:
            fcntl.flock(first, fcntl.LOCK_EX)
            second.start()
            second.join(0.3)
            assert second.is_alive()
            first.write('{"key": "same"}\n')
        second.join()
        assert wrote == [False]


class TestWebhook:
    """Posting besides the feed."""

    async def send(self, tmp_path: Path, call: Caller, transport: httpx.MockTransport) -> Delivered:
        """Send one message to a webhook that answers as the transport does."""
        notify = NotifyConnector(tmp_path, HOOK, transport=transport)
        outputs = (await notify.execute(call("notify.send", {"message": "hi"}), {})).outputs
        assert isinstance(outputs, Delivered)
        return outputs

    async def test_it_is_posted_with_the_key(self, tmp_path: Path, call: Caller) -> None:
        """So that the receiver can drop a repetition; the address is in no answer."""
        posted: list[httpx.Request] = []

        def answer(request: httpx.Request) -> httpx.Response:
            posted.append(request)
            return httpx.Response(204)

        delivered = await self.send(tmp_path, call, httpx.MockTransport(answer))
        assert delivered.delivered_to == ("feed", "webhook")
        assert posted[0].headers["idempotency-key"] == "goal-1.deploy.0"
        assert json.loads(posted[0].content)["message"] == "hi"
        assert "secret-canary" not in delivered.model_dump_json()

    @pytest.mark.parametrize(
        ("status", "error"),
        [(500, ServiceUnavailable), (404, OperationFailed), (302, OperationFailed)],
    )
    async def test_a_refusal_is_mapped_and_does_not_quote_the_address(
        self, tmp_path: Path, call: Caller, status: int, error: type[Exception]
    ) -> None:
        """Retrying helps against a server error and not against a wrong address."""
        transport = httpx.MockTransport(lambda _: httpx.Response(status))
        with pytest.raises(error) as refused:
            await self.send(tmp_path, call, transport)
        assert "secret-canary" not in str(refused.value)
        assert "hooks.example.org" in str(refused.value)

    async def test_no_answer_is_worth_another_try(self, tmp_path: Path, call: Caller) -> None:
        """The feed has the message all the same, once."""

        def refuse(request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectTimeout("too slow", request=request)

        for _ in range(2):
            with pytest.raises(ServiceUnavailable):
                await self.send(tmp_path, call, httpx.MockTransport(refuse))
        assert len(feed(tmp_path)) == 1

    @pytest.mark.parametrize(
        ("header", "seconds"), [("7", 7), ("999999", 3600), ("soon", 30), ("0", 1)]
    )
    async def test_it_waits_as_long_as_it_is_told(
        self, tmp_path: Path, call: Caller, header: str, seconds: int
    ) -> None:
        """Within reason."""
        answer = httpx.Response(429, headers={"Retry-After": header})
        with pytest.raises(RateLimited) as limited:
            await self.send(tmp_path, call, httpx.MockTransport(lambda _: answer))
        assert limited.value.retry_after == timedelta(seconds=seconds)
