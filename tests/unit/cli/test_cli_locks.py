"""Locks on the command line: what is listed, and what breaking one says."""

from datetime import UTC, datetime

import pytest

from goalkeeper.cli.session import Session
from goalkeeper.contracts.locks import LockClaim, LockView
from goalkeeper.domain.errors import Conflict
from tests.unit.cli.conftest import Cli


def claim(goal_id: str) -> LockClaim:
    """A goal's claim of a fixed time."""
    return LockClaim(goal_id=goal_id, owner=goal_id, since=datetime(2030, 1, 1, tzinfo=UTC))


HELD = LockView(
    name="production",
    holders=(claim("deploy-1"),),
    queue=tuple(claim(f"deploy-{i}") for i in range(2, 7)),
    token=7,
)


class LockClient:
    """Implements what these commands use of `goalkeeper.client.Client`."""

    def __init__(self) -> None:
        self.found: tuple[LockView, ...] = ()
        self.broken: list[tuple[str, str]] = []

    async def __aenter__(self) -> "LockClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def locks(self) -> tuple[LockView, ...]:
        """As set."""
        return self.found

    async def break_lock(self, name: str, *, reason: str) -> LockView:
        """Give it to the first that waits."""
        if name == "free":
            raise Conflict("lock 'free' is free: there is nothing to break")
        self.broken.append((name, reason))
        return HELD.model_copy(update={"holders": HELD.queue[:1], "queue": HELD.queue[1:]})


@pytest.fixture
def locks(monkeypatch: pytest.MonkeyPatch) -> LockClient:
    """What every command of the test talks to."""
    fake = LockClient()
    monkeypatch.setattr(Session, "client", lambda _: fake)
    return fake


def test_locks_are_listed_with_their_goal_and_who_waits(cli: Cli, locks: LockClient) -> None:
    """A long queue is counted, not spelt out."""
    assert cli("locks").out == "no goal has asked for a lock yet\n"
    locks.found = (HELD, LockView(name="staging"))
    shown = cli("locks").out
    assert "production  deploy-1" in shown
    assert "deploy-2, deploy-3, deploy-4 and 2 more" in shown
    assert "staging     free" in shown


@pytest.mark.parametrize("arguments", [("locks", "--json"), ("--json", "locks")])
def test_scripts_get_every_lock_whole(
    cli: Cli, locks: LockClient, arguments: tuple[str, ...]
) -> None:
    """Wherever the option stands."""
    locks.found = (HELD,)
    [lock] = cli(*arguments).json
    assert lock["token"] == 7
    assert [c["goal_id"] for c in lock["queue"]] == [f"deploy-{i}" for i in range(2, 7)]


def test_breaking_a_lock_says_who_has_it_now(cli: Cli, locks: LockClient) -> None:
    """And hands the reason on."""
    ran = cli("locks", "break", "production", "--reason", "its host is gone")
    assert ran.code == 0
    assert ran.out == "lock 'production' is with deploy-2 now\n"
    assert locks.broken == [("production", "its host is gone")]


def test_breaking_a_lock_needs_a_reason(cli: Cli, locks: LockClient) -> None:
    """Without one it is a usage error."""
    assert cli("locks", "break", "production").code == 2
    assert locks.broken == []


def test_a_free_lock_is_not_broken(cli: Cli, locks: LockClient) -> None:
    """The error says why."""
    ran = cli("locks", "break", "free", "--reason", "x")
    assert ran.code == 1
    assert "nothing to break" in ran.err
