"""A token in Vault, used by tasks on the whole stack: it turns up nowhere that it should not."""

import asyncio
import base64
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import docker
import psutil
import pytest

from deploy.demo.hosting import DemoHost
from goalkeeper import embedded
from goalkeeper.audit import AuditLog
from goalkeeper.client import Client, Goal
from goalkeeper.domain.contract import Contract
from goalkeeper.domain.plan import GoalState, TaskState
from goalkeeper.settings import Settings
from sandbox.spec import LABEL_GOAL
from tests.support.engine import history_text

SEALED = ("vault/raft/", "vault/keys.json", "tokens/")
"""Vault's own encrypted storage and seal; and people's tokens, which are no task's."""


@pytest.fixture
async def gk(stack: Settings) -> AsyncIterator[Client]:
    """A developer's client."""
    async with Client.connect(stack, as_person="developer") as client:
        yield client


def needles(host: DemoHost) -> list[bytes]:
    """The canaries, plain and as HTTP and JSON would carry them."""
    found: list[bytes] = []
    for token in host.tokens.values():
        plain = token.get_secret_value().encode()
        found += [plain, base64.b64encode(plain).rstrip(b"=")]
        found.append(base64.b64encode(b"x-access-token:" + plain).rstrip(b"="))
        found.append(plain.hex().encode())
    return found


def leaks(content: bytes | str, host: DemoHost) -> bool:
    """Whether any canary is in there."""
    raw = content.encode() if isinstance(content, str) else content
    return any(needle in raw for needle in needles(host))


def sandboxed(host: DemoHost) -> Contract:
    """A branch is looked at, and its files go into a sandbox that shows all it can see."""
    show = "env; cat /proc/self/environ /proc/1/environ /proc/1/cmdline; ls -R /; exec sleep 300"
    reader = {"token": "git-reader"}
    return Contract.model_validate(
        {
            "name": "canary",
            "tasks": [
                {
                    "id": "look",
                    "uses": "git.describe_branch",
                    "with": {"repository": host.url, "branch": "main"},
                    "credentials": reader,
                },
                {
                    "id": "show",
                    "uses": "sandbox.run",
                    "with": {
                        "command": ["sh", "-c", show],
                        "source": {
                            "repository": host.url,
                            "commit": "${{ tasks.look.commit }}",
                        },
                    },
                    "credentials": reader,
                },
            ],
        }
    )


async def history(gk: Client, goal: Goal) -> str:
    """All that Temporal remembers of a goal: payloads decoded, failures too."""
    return await history_text((await gk.temporal()).get_workflow_handle(goal.id))


def state_files(state: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of the installation but Vault's own and people's tokens."""
    for file in sorted(state.rglob("*")):
        name = str(file.relative_to(state))
        if file.is_file() and not name.startswith(SEALED):
            with contextlib.suppress(FileNotFoundError):
                yield name, file.read_bytes()


@contextlib.contextmanager
def watched(stack_pid: int) -> Iterator[set[str]]:
    """The command lines of the stack's processes, as often as this machine can look."""
    seen: set[str] = set()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            for process in psutil.Process(stack_pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    seen.add("\0".join(process.cmdline()))
            stop.wait(0.005)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        stop.set()
        watcher.join()


async def supervisor(stack: Settings) -> int:
    """The pid of the stack's supervisor."""
    pid = (await embedded.status(stack)).pid
    assert pid is not None
    return pid


async def test_the_search_finds_what_it_is_for(
    stack: Settings, git_host: DemoHost, tmp_path: Path
) -> None:
    """A canary in any file of a folder is seen, in each form in which it could be there."""
    token = git_host.tokens["read"].get_secret_value()
    pair = base64.b64encode(f"x-access-token:{token}".encode()).decode()
    forms = [token, f'{{"t":"{token}"}}', f"Authorization: Basic {pair}", token.encode().hex()]
    (tmp_path / "a").mkdir()
    for number, text in enumerate(forms):
        (tmp_path / "a" / str(number)).write_bytes(b"\x00\xff" + text.encode())
    assert [leaks(content, git_host) for _, content in state_files(tmp_path)] == [True] * 4
    assert not leaks("nothing of it", git_host)


async def test_a_token_that_tasks_use_is_found_nowhere(
    stack: Settings, git_host: DemoHost, gk: Client
) -> None:
    """Not in histories, files, logs, audit or evidence, whether the task succeeds or fails."""
    with watched(await supervisor(stack)) as commands:
        good = await gk.submit("read-file", repository=git_host.url, path="README.md")
        assert (await good.result(timeout=60)).state is GoalState.SUCCEEDED
        absent = git_host.url.replace("greeter", "absent")
        bad = await gk.submit("read-file", repository=absent, path="README.md")
        assert (await bad.result(timeout=60)).state is GoalState.FAILED
    leased = [
        e.event.goal_id
        for e in AuditLog.open(stack.audit_file, readonly=True).entries()
        if e.event.kind == "credential.leased"
    ]
    assert {good.id, bad.id} <= set(leased)
    assert any("git" in c.split("\0")[0] for c in commands)
    assert [c for c in commands if leaks(c, git_host)] == []
    for goal in (good, bad):
        assert not leaks(await history(gk, goal), git_host)
        assert not leaks((await goal.progress()).model_dump_json(), git_host)
    await nowhere_in_the_state(stack, git_host)


async def nowhere_in_the_state(stack: Settings, host: DemoHost) -> None:
    """Neither as text nor inside of a database; and the search does find what is there."""
    files = dict(await asyncio.to_thread(lambda: list(state_files(stack.state))))
    assert [name for name, content in files.items() if leaks(content, host)] == []
    assert any(b"git.read_file" in content for name, content in files.items() if "audit" in name)
    assert any(b"read-file" in content for name, content in files.items() if "temporal" in name)
    assert files["logs/worker.log"]


async def test_a_sandbox_shows_no_token_inside_or_to_docker(
    stack: Settings, git_host: DemoHost, gk: Client
) -> None:
    """Its source was fetched with one; neither its own view nor `docker inspect` has it."""
    goal = await gk.submit(sandboxed(git_host))
    async for line in goal.logs(follow=True):
        if line.text == "/workspace:" or line.text.endswith("greeter.py"):
            break
    progress = await goal.progress()
    assert progress.tasks[1].state is TaskState.RUNNING
    inspected = await asyncio.to_thread(inspect, stack, goal.id)
    assert len(inspected) == 1
    assert not leaks(json.dumps(inspected), git_host)
    await goal.cancel()
    assert (await goal.result(timeout=60)).state is GoalState.CANCELLED
    output = "\n".join(line.text for line in gk.evidence().read(goal.id))
    assert "HOME=" in output
    assert not leaks(output, git_host)
    assert not leaks(await history(gk, goal), git_host)
    await nowhere_in_the_state(stack, git_host)


def inspect(stack: Settings, goal_id: str) -> list[Any]:
    """What Docker tells about the goal's containers."""
    client = docker.DockerClient(stack.docker_host)
    try:
        found = client.containers.list(filters={"label": f"{LABEL_GOAL}={goal_id}"})
        return [c.attrs for c in found]
    finally:
        client.close()
