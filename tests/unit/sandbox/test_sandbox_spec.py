import io
import json
import tarfile
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from goalkeeper.contracts.connector import OperationCall
from sandbox.model import SandboxInputs
from sandbox.seccomp import SECURITY_OPTIONS
from sandbox.spec import (
    LABEL_DEADLINE,
    LABEL_SPEC,
    container_name,
    labels,
    sandbox_config,
    spec_digest,
    wrapped,
)

IMAGE = "sha256:" + "0" * 64


def call(**changes: object) -> OperationCall:
    """A call with some fields changed."""
    values = {
        "goal_id": "g",
        "task_id": "t",
        "generation": 0,
        "attempt": 1,
        "operation": "sandbox.run",
        "inputs": SandboxInputs(command=("true",)),
        "environment": "test",
        **changes,
    }
    return OperationCall(**values)  # type: ignore[arg-type]  # a table of changes


def test_a_name_depends_on_the_work_and_not_on_the_attempt() -> None:
    """A retry finds the container of the attempt before it."""
    names = {container_name("i", call(attempt=n).key) for n in (1, 2)}
    assert len(names) == 1
    assert container_name("i", call(generation=1).key) not in names
    assert container_name("other", call().key) not in names


@pytest.mark.parametrize("goal", ["a" * 128, "a b", "ä"])
def test_a_name_is_one_that_the_engine_takes_and_stays_unique(goal: str) -> None:
    """Long or strange keys are told apart by a hash."""
    one, two = (container_name("i", call(goal_id=goal, task_id=t).key) for t in ("a", "b"))
    assert one != two
    assert one.isascii()
    assert " " not in one
    assert len(one) < 128


def test_the_spec_covers_every_input_and_the_image() -> None:
    """A container that was started for something else is never adopted."""
    base = SandboxInputs(command=("true",))
    digest = spec_digest(base, IMAGE)
    for change in ({"memory_mb": 64}, {"command": ("false",)}, {"environment": {"A": "b"}}):
        assert spec_digest(base.model_copy(update=change), IMAGE) != digest
    assert spec_digest(base, "sha256:" + "1" * 64) != digest


def test_labels_say_whose_it_is_and_until_when_it_may_run() -> None:
    """The reaper and the retry work from labels alone."""
    inputs = SandboxInputs(command=("true",), timeout=timedelta(seconds=60))
    now = datetime(2030, 1, 1, tzinfo=UTC)
    marks = labels(call(), inputs, installation="i", image=IMAGE, now=now)
    assert float(marks[LABEL_DEADLINE]) == now.timestamp() + 65
    assert marks[LABEL_SPEC] == spec_digest(inputs, IMAGE)
    assert marks["goalkeeper.goal"] == "g"


def test_a_container_gets_no_network_no_privilege_and_bounds() -> None:
    """Every limit is set by name; swap is none beyond memory."""
    host = sandbox_config(SandboxInputs(command=("true",)), IMAGE, {})["host_config"]
    assert host["network_mode"] == "none"
    assert host["read_only"]
    assert host["cap_drop"] == ["ALL"]
    assert "no-new-privileges" in host["security_opt"]
    assert host["mem_limit"] == host["memswap_limit"]
    assert host["pids_limit"] == 256
    assert "noexec,nosuid,nodev" in host["tmpfs"]["/tmp"]  # noqa: S108  (the container's own)


def test_the_command_is_arguments_and_never_shell_text() -> None:
    """With a source too, where a shell unpacks it, the command is handed over as it is."""
    hostile = ("echo", "$(id)", "; reboot")
    source = {"repository": "http://host/r", "commit": "0" * 40}
    for inputs in (
        SandboxInputs(command=hostile),
        SandboxInputs.model_validate({"command": hostile, "source": source}),
    ):
        config = sandbox_config(inputs, IMAGE, {})
        assert config["command"] == list(hostile)
        assert not set(hostile) & set(config["entrypoint"])


def test_the_command_refuses_contract_expressions_by_its_schema() -> None:
    """What runs stands in the contract; an input cannot become an argument."""
    assert SandboxInputs.model_json_schema()["properties"]["command"]["expressions"] is False


@pytest.mark.parametrize(
    "wrong",
    [
        {"command": []},
        {"command": ["a\x00b"]},
        {"command": ["true"], "timeout": "P2D"},
        {"command": ["true"], "timeout": "PT0S"},
        {"command": ["true"], "memory_mb": 1},
        {"command": ["true"], "environment": {"A=B": "c"}},
        {"command": ["true"], "source": {"repository": "r", "commit": "main"}},
        {"command": ["true"], "network": "host"},
    ],
)
def test_inputs_out_of_bounds_are_refused(wrong: dict[str, object]) -> None:
    """No limit can be lifted, and a branch's name is no commit."""
    with pytest.raises(ValidationError):
        SandboxInputs.model_validate(wrong)


def test_the_engine_is_given_one_plain_file_of_the_source() -> None:
    """What a repository holds is not unpacked by root: links and owners in it mean nothing."""
    with tarfile.open(fileobj=io.BytesIO(wrapped(b"content"))) as archive:
        (entry,) = archive.getmembers()
        assert (entry.name, entry.uid, entry.mode, entry.isreg()) == ("source.tar", 0, 0o444, True)


def test_the_seccomp_profile_is_an_allowlist_without_the_known_ways_out() -> None:
    """What nobody listed is refused, new system calls included."""
    profile = json.loads(SECURITY_OPTIONS[1].removeprefix("seccomp="))
    plain = profile["syscalls"][0]["names"]
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert {"read", "execve", "futex"} <= set(plain)
    assert not {"io_uring_setup", "unshare", "mount", "bpf", "keyctl", "socket"} & set(plain)
