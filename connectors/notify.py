"""Tells people: appends to the installation's own feed, and posts to a webhook where one is set.

It never repeats a message for one key, and never quotes the webhook's address, which may hold a
secret.
"""

import asyncio
import fcntl
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import httpx
from pydantic import StringConstraints

from connectors.base import (
    CANNOT_TELL,
    DID_NOT_HAPPEN,
    ServiceConnector,
    happened,
    operations,
)
from goalkeeper.contracts.connector import OperationCall, Reconciliation
from goalkeeper.domain.base import Json, Model, Name, iso
from goalkeeper.domain.credential import Credentials
from goalkeeper.domain.errors import OperationFailed, RateLimited, ServiceUnavailable
from goalkeeper.domain.operation import Operation, Risk

FEED = "notifications.jsonl"
_TIMEOUT = httpx.Timeout(10, connect=5)
_WAIT_DEFAULT, _WAIT_MOST = 30, 3600


class Message(Model):
    """What to say, and where."""

    message: Annotated[str, StringConstraints(min_length=1, max_length=4000)]
    channel: Name = "ops"


class Delivered(Model):
    """Where the message is now."""

    delivered_to: tuple[str, ...]
    """``feed``, and ``webhook`` where one is set."""


class NotifyConnector(ServiceConnector):
    """One feed for each installation; a webhook besides it."""

    service = "notify"
    operations = operations(
        "notify",
        Operation(
            name="notify.send",
            summary="Tell people in a channel",
            inputs=Message,
            outputs=Delivered,
            risk=Risk.WRITE,
            idempotent=True,
        ),
    )

    def __init__(
        self,
        folder: Path,
        webhook: str | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._feed = folder / FEED
        self._webhook = webhook
        self._transport = transport

    async def send(self, call: OperationCall, _: Credentials) -> Delivered:
        """Deliver a message once for each key."""
        inputs: Message = call.inputs
        entry: dict[str, Json] = {
            "key": call.key,
            "time": iso(datetime.now(UTC)),
            "goal_id": call.goal_id,
            "task_id": call.task_id,
            "environment": call.environment,
            "channel": inputs.channel,
            "message": inputs.message,
        }
        await asyncio.to_thread(append_once, self._feed, entry)
        if self._webhook is None:
            return Delivered(delivered_to=("feed",))
        await self._post(self._webhook, entry)
        return Delivered(delivered_to=("feed", "webhook"))

    async def look_for_send(self, call: OperationCall, _: Credentials) -> Reconciliation:
        """What is in the feed was sent; whether a webhook has it too, nobody can ask."""
        if not await asyncio.to_thread(holds, self._feed, call.key):
            return DID_NOT_HAPPEN
        return happened(Delivered(delivered_to=("feed",))) if self._webhook is None else CANNOT_TELL

    async def _post(self, url: str, entry: Mapping[str, Json]) -> None:
        """Post the entry; the receiver drops what it has by the key.

        Raises:
            RateLimited: the receiver asked us to wait.
            ServiceUnavailable: it did not answer, or with a server error.
            OperationFailed: it refused the message.
        """
        where = f"the webhook at '{urlsplit(url).hostname}'"
        headers = {"Idempotency-Key": str(entry["key"])}
        try:
            async with httpx.AsyncClient(timeout=_TIMEOUT, transport=self._transport) as client:
                answer = await client.post(url, json=entry, headers=headers)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            raise OperationFailed("the setting webhook_url is not an http(s) address") from None
        except httpx.HTTPError as error:
            raise ServiceUnavailable(
                f"{where} did not answer ({type(error).__name__}); retrying may help"
            ) from None
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            raise RateLimited(f"{where} asks to wait", retry_after=_wait(answer))
        if answer.is_server_error:
            raise ServiceUnavailable(f"{where} answered {answer.status_code}; retrying may help")
        if not answer.is_success:
            raise OperationFailed(
                f"{where} answered {answer.status_code}; check the setting webhook_url"
            )


def append_once(feed: Path, entry: Mapping[str, Json]) -> bool:
    """Append an entry unless its key is there; false when it was.

    A line that a crash cut short is left alone, and the next entry starts a line of its own.
    """
    feed.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(feed, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        last = b"\n"
        for last in file:
            if _key(last) == entry["key"]:
                return False
        start = b"" if last.endswith(b"\n") else b"\n"
        file.write(start + json.dumps(entry, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return True


def holds(feed: Path, key: str) -> bool:
    """Whether an entry with this key is in the feed."""
    try:
        with feed.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            return any(_key(line) == key for line in file)
    except FileNotFoundError:
        return False


def _key(line: bytes) -> Json:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry.get("key") if isinstance(entry, dict) else None


def _wait(answer: httpx.Response) -> timedelta:
    """``Retry-After`` in seconds, within reason; a date counts as unset."""
    said = answer.headers.get("retry-after", "")
    seconds = int(said) if said.isdigit() else _WAIT_DEFAULT
    return timedelta(seconds=min(max(seconds, 1), _WAIT_MOST))
