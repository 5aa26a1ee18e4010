import io
import json
from pathlib import Path

import pytest
from pydantic import SecretStr

import sandbox.engine
import sandbox.run
from goalkeeper.domain.errors import (
    CheckFailed,
    EngineUnavailable,
    InvalidGoal,
    SandboxLimitExceeded,
)
from goalkeeper.settings import Settings
from sandbox.runner import SandboxConnector
from tests.integration.sandbox.conftest import Sandboxes

COMMIT = "0123456789" * 4
CANARY = "canary-4f1c"

LOOK_AROUND = """
import json, os, socket

def refused(work):
    try:
        work()
    except OSError as error:
        return error.strerror
    return "allowed"

status = dict(l.split(":", 1) for l in open("/proc/self/status").read().splitlines())
print(json.dumps({
    "uid": os.getuid(),
    "capabilities": int(status["CapEff"], 16),
    "no_new_privileges": status["NoNewPrivs"].strip(),
    "seccomp": status["Seccomp"].strip(),
    "interfaces": [name for _, name in socket.if_nameindex() if name == "eth0"],
    "vsock": refused(lambda: socket.socket(40, socket.SOCK_STREAM)),
    "root": refused(lambda: open("/etc/new", "w")),
    "workspace": refused(lambda: open("new", "w")),
    "network": refused(lambda: socket.create_connection(("1.1.1.1", 53), 2)),
    "cwd": os.getcwd(),
}))
"""


async def test_a_command_runs_and_its_output_arrives_line_by_line(sandboxes: Sandboxes) -> None:
    """Standard output and error both; the result holds the end of them."""
    outputs = await sandboxes.run(sandboxes.call("sh", "-c", "echo one; echo two >&2"))
    assert (outputs.exit_code, outputs.oom_killed, outputs.truncated) == (0, False, False)
    assert sorted(sandboxes.lines) == ["one", "two"]
    assert sorted(outputs.output_tail.split()) == ["one", "two"]


async def test_a_command_finds_no_network_no_privilege_and_only_its_workspace(
    sandboxes: Sandboxes,
) -> None:
    """What the command itself sees, which is what counts."""
    outputs = await sandboxes.run(sandboxes.call("python3", "-c", LOOK_AROUND))
    assert json.loads(outputs.output_tail) == {
        "uid": 65534,
        "capabilities": 0,
        "no_new_privileges": "1",
        "seccomp": "2",
        "interfaces": [],
        "vsock": "Operation not permitted",
        "root": "Read-only file system",
        "workspace": "allowed",
        "network": "Network is unreachable",
        "cwd": "/workspace",
    }


async def test_the_source_stands_in_the_workspace_and_its_token_nowhere(
    sandboxes: Sandboxes,
) -> None:
    """The token fetches; the container and what the engine knows of it never hold it."""
    sandboxes.files = {"code/a.txt": b"from the repository"}
    source = {"repository": "http://host/r.git", "commit": COMMIT, "path": "service"}
    token = SecretStr(CANARY)
    call = sandboxes.call("sh", "-c", "cat code/a.txt; echo x > code/b; env", source=source)
    outputs = await sandboxes.run(call, token=token)
    assert sandboxes.fetched == [("http://host/r.git", COMMIT, "service", token)]
    assert "from the repository" in outputs.output_tail
    (container,) = sandboxes.containers()
    inspected = json.dumps(sandboxes.api.inspect_container(container["Id"]))
    assert CANARY not in outputs.output_tail + inspected


async def test_a_source_larger_than_the_workspace_is_refused_before_anything_starts(
    sandboxes: Sandboxes,
) -> None:
    """The message says what to raise."""
    sandboxes.files = {"big": bytes(3_000_000)}
    source = {"repository": "http://host/r.git", "commit": COMMIT}
    with pytest.raises(SandboxLimitExceeded, match="workspace_mb"):
        await sandboxes.run(sandboxes.call("true", source=source, workspace_mb=2))
    assert not sandboxes.containers()


async def test_another_exit_code_than_expected_fails_with_the_end_of_the_output(
    sandboxes: Sandboxes,
) -> None:
    """A failing test run explains itself in the error."""
    with pytest.raises(CheckFailed) as caught:
        await sandboxes.run(sandboxes.call("sh", "-c", "echo 2 tests failed; exit 3"))
    assert "exit code 3" in caught.value.message
    assert "sh -c 'echo 2 tests failed; exit 3'" in caught.value.message
    assert caught.value.message.endswith("2 tests failed")
    assert (await sandboxes.run(sandboxes.call("sh", "-c", "exit 3", expect_exit=3))).exit_code == 3


@pytest.mark.parametrize("command", ["sleep 60", "trap '' TERM; while :; do sleep 0.1; done"])
async def test_a_command_is_ended_after_its_time(
    sandboxes: Sandboxes, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """One that ignores the polite signal too."""
    monkeypatch.setattr("sandbox.spec.KILL_AFTER_SECONDS", 1)
    with pytest.raises(SandboxLimitExceeded, match="time limit of 1 s; raise timeout"):
        await sandboxes.run(sandboxes.call("sh", "-c", command, timeout="PT1S"))
    assert not sandboxes.containers("running")


async def test_a_command_that_stops_its_own_time_limit_is_killed_from_outside(
    sandboxes: Sandboxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The switch inside belongs to the same user, so it is not the only one."""
    monkeypatch.setattr(sandbox.run, "KILL_AFTER_SECONDS", 0)
    monkeypatch.setattr(sandbox.run, "_GRACE_SECONDS", 1)
    with pytest.raises(SandboxLimitExceeded, match="time limit"):
        await sandboxes.run(
            sandboxes.call("sh", "-c", "kill -STOP $PPID; sleep 60", timeout="PT1S")
        )


async def test_a_command_that_takes_too_much_memory_is_told_apart(sandboxes: Sandboxes) -> None:
    """The message says that it was memory, and what to raise."""
    hungry = "x = bytearray(400_000_000)"
    with pytest.raises(SandboxLimitExceeded, match="raise memory_mb"):
        await sandboxes.run(sandboxes.call("python3", "-c", hungry, memory_mb=32, workspace_mb=1))


async def test_the_workspace_has_a_size(sandboxes: Sandboxes) -> None:
    """A command cannot fill the host's disk or take its memory."""
    with pytest.raises(CheckFailed, match="No space left"):
        await sandboxes.run(
            sandboxes.call("dd", "if=/dev/zero", "of=f", "bs=1M", "count=8", workspace_mb=4)
        )


async def test_a_flood_of_output_is_cut_and_its_end_kept(sandboxes: Sandboxes) -> None:
    """More than the engine's log holds; the last line is still the last line."""
    outputs = await sandboxes.run(sandboxes.call("seq", "2000000", output_limit=5000))
    assert outputs.truncated
    assert sum(len(line) + 1 for line in sandboxes.lines[:-1]) <= 5000
    assert outputs.output_tail.endswith("\n1999999\n2000000\n")


async def test_a_silent_command_outlasts_the_connections_time_out(
    sandboxes: Sandboxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build may print nothing for minutes."""
    monkeypatch.setattr(sandbox.engine, "_CALL_SECONDS", 1)
    outputs = await sandboxes.run(sandboxes.call("sh", "-c", "sleep 2; echo done"))
    assert sandboxes.lines == ["done"]
    assert outputs.exit_code == 0


async def test_a_program_that_is_not_there_fails_by_name(sandboxes: Sandboxes) -> None:
    """As in a shell: exit code 127 and the name."""
    with pytest.raises(CheckFailed, match=r"exit code 127[\s\S]*no-such-program"):
        await sandboxes.run(sandboxes.call("no-such-program"))


async def test_pinning_turns_a_name_into_an_id_that_runs(sandboxes: Sandboxes) -> None:
    """The plan holds what runs; an empty name is the default image."""
    pinned = await sandboxes.connector.pin("image", "")
    assert pinned == await sandboxes.connector.pin("image", sandboxes.settings.sandbox_image)
    assert str(pinned).startswith("sha256:")
    await sandboxes.run(sandboxes.call("true", image=pinned))
    (container,) = sandboxes.containers()
    assert container["ImageID"] == pinned


async def test_an_image_that_is_not_there_is_refused_with_what_to_do(sandboxes: Sandboxes) -> None:
    """At planning, and again when it went away since."""
    with pytest.raises(InvalidGoal, match="docker pull no-such:1"):
        await sandboxes.connector.pin("image", "no-such:1")
    with pytest.raises(InvalidGoal, match="no longer on the engine"):
        await sandboxes.run(sandboxes.call("true", image="sha256:" + "0" * 64))


async def test_an_image_without_the_needed_programs_is_refused(
    sandboxes: Sandboxes,
) -> None:
    """The message names them."""
    name = f"goalkeeper-test-{sandboxes.connector.installation}"
    sandboxes.api.import_image(io.BytesIO(bytes(10240)), repository=name)
    try:
        with pytest.raises(InvalidGoal, match="`timeout`"):
            await sandboxes.run(sandboxes.call("true", image=f"{name}:latest"))
        await sandboxes.connector.release("goal")
    finally:
        sandboxes.api.remove_image(name, force=True)


async def test_limits_that_the_engine_refuses_are_the_goals_fault(sandboxes: Sandboxes) -> None:
    """More cores than there are."""
    with pytest.raises(InvalidGoal, match="limits cannot be set"):
        await sandboxes.run(sandboxes.call("true", cpus=64))


async def test_an_engine_that_comes_later_is_found_by_the_same_object(tmp_path: Path) -> None:
    """A failed first connection is not remembered: the address is asked again."""
    link = tmp_path / "docker.sock"
    engine = sandbox.engine.Engine(f"unix://{link}")
    with pytest.raises(EngineUnavailable):
        await engine.ping()
    link.symlink_to(Settings().docker_host.removeprefix("unix://"))
    assert await engine.ping()
    engine.close()


def test_the_connector_says_that_a_run_may_be_repeated_and_touches_nothing() -> None:
    """Policy and retries rest on it."""
    run = SandboxConnector.operations["sandbox.run"]
    assert (run.risk, run.idempotent, run.quick) == ("read", True, False)
    assert run.pins == {"image": "image"}
