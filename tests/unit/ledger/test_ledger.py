"""Approvals are spent once, effects are known after a crash, leases are found again."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from goalkeeper.domain.base import Json
from goalkeeper.domain.errors import Conflict, GrantMismatch, GrantSpent, NotFound, StoreUnavailable
from goalkeeper.ledger import Effect, EffectState, Ledger, Undo

ROOT = Path(__file__).parents[3]
NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)

CLAIMER = """
import asyncio, sys
from pathlib import Path
from goalkeeper.domain.errors import GrantSpent
from goalkeeper.ledger import Ledger

async def main(file, name):
    ledger = Ledger.open(Path(file))
    for number in range(50):
        try:
            await ledger.spend(f"grant-{number}", "action", name)
        except GrantSpent:
            continue
        print(number, flush=True)
    await ledger.aclose()

asyncio.run(main(*sys.argv[1:]))
"""

BEGINNER = """
import asyncio, sys
from pathlib import Path
from goalkeeper.ledger import Ledger

async def main(file):
    ledger = Ledger.open(Path(file))
    number = 0
    while True:
        number += 1
        key = f"goal.task{number}.0"
        await ledger.begin(key, goal_id="goal", task_id=f"task{number}", operation="git.push",
                           action_digest="d", attempt=1)
        print("begun", key, flush=True)
        await ledger.finish(key, result=number, compensation=None)
        print("done", key, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    """A ledger in a new file."""
    opened = Ledger.open(tmp_path / "ledger.sqlite")
    yield opened
    await opened.aclose()


async def begin(ledger: Ledger, key: str, *, digest: str = "d1", attempt: int = 1) -> Effect | None:
    """Begin an effect of goal `g`."""
    goal_id, task_id, _ = key.split(".")
    return await ledger.begin(
        key,
        goal_id=goal_id,
        task_id=task_id,
        operation="git.merge_branch",
        action_digest=digest,
        attempt=attempt,
    )


def kill_a_beginner(file: Path) -> list[str]:
    """What a process said before SIGKILL ended it between `begin` and `finish`."""
    process = subprocess.Popen(
        [sys.executable, "-c", BEGINNER, str(file)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(101)]
    os.kill(process.pid, signal.SIGKILL)
    lines += [x for x in process.stdout.readlines() if x.endswith("\n")]
    process.wait()
    process.stdout.close()
    return lines


async def test_an_approval_is_spent_once(ledger: Ledger) -> None:
    """The same holder may come again, nobody else may."""
    assert await ledger.spent("grant", "action") is None
    assert await ledger.spend("grant", "action", "g.merge.0") is True
    assert await ledger.spend("grant", "action", "g.merge.0") is False
    with pytest.raises(GrantSpent, match=r"used before, by 'g\.merge\.0'"):
        await ledger.spend("grant", "action", "other.merge.0")
    assert await ledger.spent("grant", "action") == "g.merge.0"


async def test_one_grant_may_cover_several_actions(ledger: Ledger) -> None:
    """Each action is spent on its own."""
    assert await ledger.spend("grant", "merge", "g.merge.0") is True
    assert await ledger.spend("grant", "deploy", "g.deploy.0") is True


async def test_a_refusal_does_not_undo_what_others_wrote_in_the_same_transaction(
    ledger: Ledger,
) -> None:
    """Callers share a commit, not each other's errors."""
    await ledger.spend("grant", "action", "first")
    answers = await asyncio.gather(
        ledger.spend("a", "x", "one"),
        ledger.spend("grant", "action", "second"),
        ledger.spend("b", "x", "two"),
        return_exceptions=True,
    )
    assert answers[0] is True
    assert isinstance(answers[1], GrantSpent)
    assert answers[2] is True
    assert await ledger.spent("b", "x") == "two"


def test_of_several_processes_one_spends_each_grant(tmp_path: Path) -> None:
    """The file decides, not the process."""
    file = tmp_path / "ledger.sqlite"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMER, str(file), f"holder-{n}"],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for n in range(3)
    ]
    won: list[str] = []
    for process in processes:
        output, _ = process.communicate()
        assert process.returncode == 0
        won += output.split()
    assert sorted(won, key=int) == [str(n) for n in range(50)]


async def test_a_fresh_effect_is_claimed_and_a_second_attempt_sees_it(ledger: Ledger) -> None:
    """Begun and never finished means: it may have happened."""
    assert await begin(ledger, "g.merge.0") is None
    earlier = await begin(ledger, "g.merge.0", attempt=2)
    assert earlier is not None
    assert (earlier.state, earlier.attempt, earlier.result) == (EffectState.STARTED, 1, None)
    assert earlier.operation == "git.merge_branch"


async def test_a_finished_effect_gives_its_result_to_a_retry(ledger: Ledger) -> None:
    """What it answered and how to undo it come back as they were."""
    await begin(ledger, "g.merge.0")
    result: Json = {"commit": "abc", "big": 2**60, "odd": "\ud800 ü", "list": [1, None, 0.5]}
    undo = Undo(
        operation="git.revert_merge",
        inputs={"commit": "abc", "odd": "\ud800"},
        environment="production",
        credentials={"token": "git-writer"},
    )
    await ledger.finish("g.merge.0", result=result, compensation=undo)
    earlier = await begin(ledger, "g.merge.0", attempt=2)
    assert earlier is not None
    assert earlier.state is EffectState.DONE
    assert earlier.result == result
    assert earlier.compensation == undo
    assert await ledger.effect("g.merge.0") == earlier


async def test_a_second_report_of_an_effect_changes_nothing(ledger: Ledger) -> None:
    """The first result is the one that may have been acted upon."""
    await begin(ledger, "g.merge.0")
    await ledger.finish("g.merge.0", result=1, compensation=None)
    await ledger.finish("g.merge.0", result=2, compensation=Undo(operation="a.b", inputs={}))
    effect = await ledger.effect("g.merge.0")
    assert effect is not None
    assert (effect.result, effect.compensation) == (1, None)


async def test_a_key_cannot_be_used_for_another_action(ledger: Ledger) -> None:
    """Otherwise a changed task would be given the result of what it was before."""
    await begin(ledger, "g.merge.0")
    with pytest.raises(GrantMismatch, match="begun as another action"):
        await begin(ledger, "g.merge.0", digest="d2")


async def test_an_abandoned_effect_is_fresh_again(ledger: Ledger) -> None:
    """An attempt that failed before any effect leaves nothing; a finished one stays."""
    await begin(ledger, "g.merge.0")
    await ledger.abandon("g.merge.0")
    assert await ledger.effect("g.merge.0") is None
    assert await begin(ledger, "g.merge.0", digest="d2") is None
    await ledger.finish("g.merge.0", result=None, compensation=None)
    await ledger.abandon("g.merge.0")
    assert await ledger.effect("g.merge.0") is not None


async def test_nothing_is_finished_or_undone_that_was_not_begun(ledger: Ledger) -> None:
    """A wrong key is an error, not a new row."""
    with pytest.raises(NotFound, match=r"no effect 'g\.merge\.0'"):
        await ledger.finish("g.merge.0", result=None, compensation=None)
    with pytest.raises(NotFound):
        await ledger.undone("g.merge.0")
    await begin(ledger, "g.merge.0")
    with pytest.raises(Conflict, match="not known to have happened"):
        await ledger.undone("g.merge.0")


async def test_effects_are_listed_in_the_order_in_which_they_finished(ledger: Ledger) -> None:
    """Undoing goes backwards through this list; what is unfinished comes last."""
    for task in ("a", "b", "c", "d"):
        await begin(ledger, f"g.{task}.0")
    await begin(ledger, "other.a.0")
    for task in ("c", "a", "d"):
        await ledger.finish(f"g.{task}.0", result=None, compensation=None)
    await ledger.undone("g.d.0")
    await ledger.undone("g.d.0")
    found = await ledger.effects("g")
    assert [(e.task_id, e.state.value) for e in found] == [
        ("c", "done"),
        ("a", "done"),
        ("d", "undone"),
        ("b", "started"),
    ]


async def test_a_caller_that_is_cancelled_while_it_begins_has_not_begun(ledger: Ledger) -> None:
    """Otherwise a cancelled task would look as if its outcome were unknown."""
    for number in range(50):
        key = f"g.t{number}.0"
        task = asyncio.create_task(begin(ledger, key))
        for _ in range(number % 4):
            await asyncio.sleep(0)
        task.cancel()
        outcome = (await asyncio.gather(task, return_exceptions=True))[0]
        if isinstance(outcome, asyncio.CancelledError):
            # The claim is taken back by the writer: what comes after it in the queue sees that.
            async with asyncio.timeout(10):
                while await ledger.effect(key) is not None:  # noqa: ASYNC110 - in another thread
                    await asyncio.sleep(0)
        else:
            assert await ledger.effect(key) is not None


async def test_a_cancelled_retry_does_not_take_back_the_claim_of_the_attempt_before(
    ledger: Ledger,
) -> None:
    """Only the one who made the claim may drop it."""
    await begin(ledger, "g.merge.0")
    for _ in range(20):
        task = asyncio.create_task(begin(ledger, "g.merge.0", attempt=2))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await ledger.spend("grant", "action", "anybody")
    assert await ledger.effect("g.merge.0") is not None


async def test_open_leases_are_found_until_they_are_closed(ledger: Ledger) -> None:
    """By goal, by task or all of them, the oldest first."""
    for accessor, goal, task in (("a1", "g", "merge"), ("a2", "g", "deploy"), ("a3", "h", "merge")):
        await ledger.lease_opened(
            accessor,
            role="git-write",
            goal_id=goal,
            task_id=task,
            holder=f"{goal}.{task}.0",
            expires_at=NOON + timedelta(minutes=5),
        )
    assert [x.accessor for x in await ledger.open_leases()] == ["a1", "a2", "a3"]
    assert [x.accessor for x in await ledger.open_leases(goal_id="g")] == ["a1", "a2"]
    (lease,) = await ledger.open_leases(goal_id="g", task_id="merge")
    assert (lease.role, lease.holder) == ("git-write", "g.merge.0")
    assert lease.expires_at == NOON + timedelta(minutes=5)
    await ledger.lease_closed("a1")
    await ledger.lease_closed("a1")
    await ledger.lease_closed("unknown")
    assert [x.accessor for x in await ledger.open_leases()] == ["a2", "a3"]


async def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    """Another process, later, on the same file."""
    file = tmp_path / "ledger.sqlite"
    first = Ledger.open(file)
    await first.spend("grant", "action", "holder")
    await begin(first, "g.merge.0")
    await first.aclose()
    with pytest.raises(StoreUnavailable, match="is closed"):
        await first.spent("grant", "action")
    second = Ledger.open(file)
    assert await second.spent("grant", "action") == "holder"
    effect = await second.effect("g.merge.0")
    assert effect is not None
    assert effect.state is EffectState.STARTED
    await second.aclose()
    assert file.stat().st_mode & 0o077 == 0


async def test_a_worker_that_is_killed_leaves_every_acknowledged_fact(tmp_path: Path) -> None:
    """SIGKILL: what was said to have begun is on record, and what was said to be done is done."""
    file = tmp_path / "ledger.sqlite"
    lines = await asyncio.to_thread(kill_a_beginner, file)
    ledger = Ledger.open(file)
    for line in lines:
        what, key = line.split()
        effect = await ledger.effect(key)
        assert effect is not None
        if what == "done":
            assert effect.state is EffectState.DONE
    await ledger.aclose()


async def test_a_removed_file_is_not_replaced_by_an_empty_one(tmp_path: Path) -> None:
    """Forgetting what was spent would be worse than failing."""
    file = tmp_path / "ledger.sqlite"
    ledger = Ledger.open(file)
    file.unlink()
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        await ledger.spend("grant", "action", "holder")
    assert not file.exists()
    await ledger.aclose()


async def test_an_entry_of_release_0_1_still_says_how_it_is_undone(
    ledger: Ledger, tmp_path: Path
) -> None:
    """Goals that were under way at an upgrade can still be rolled back by their own workflow."""
    await begin(ledger, "g.merge.0")
    await ledger.finish("g.merge.0", result=1, compensation=None)
    with sqlite3.connect(next(tmp_path.glob("*.sqlite"))) as connection:  # noqa: ASYNC240 - a test
        connection.execute("""UPDATE effects SET compensation = '["git.revert",{"a":1}]'""")
    effect = await ledger.effect("g.merge.0")
    assert effect is not None
    assert effect.compensation == Undo(operation="git.revert", inputs={"a": 1})


async def test_effects_of_child_goals_are_listed_on_request(ledger: Ledger) -> None:
    """By their ids; a goal that is merely called alike is another."""
    others = ("g2", "g-", "g-x", "g.x", "h--a.0", "G--a.0", "g--x", "g--a.0x")
    follow = ("g--rerun-1", "g--rollback-1", "g--rerun-1--a.0", "g--a.0--rerun-1")
    for number, goal in enumerate(("g--a.0", "g", "g--a.0--b.1.0", *others, *follow)):
        key = f"{goal}.t.0"
        await ledger.begin(
            key, goal_id=goal, task_id="t", operation="o.p", action_digest="d", attempt=1
        )
        await ledger.finish(key, result=number, compensation=None)
    assert [e.goal_id for e in await ledger.effects("g")] == ["g"]
    found = await ledger.effects("g", children=True)
    assert [e.goal_id for e in found] == ["g--a.0", "g", "g--a.0--b.1.0"]
