"""How a container is configured: the hardening that every one gets, and what `sandbox.run` adds.

It talks to no engine.
"""

import hashlib
import io
import re
import tarfile
from collections.abc import Mapping
from datetime import datetime
from math import ceil
from typing import Any

from docker.types import LogConfig, Mount, Ulimit

from goalkeeper.contracts.connector import OperationCall
from goalkeeper.domain.base import digest_of
from sandbox.model import SandboxInputs
from sandbox.seccomp import SECURITY_OPTIONS

USER = "65534:65534"
WORKSPACE = "/workspace"
SOURCE = "/source"
_OWNED = "uid=65534,gid=65534,mode=0700"
TMP_MB = 64
KILL_AFTER_SECONDS = 5
"""Between the polite signal and the other one."""

LABEL_KIND = "goalkeeper.kind"
LABEL_INSTALLATION = "goalkeeper.installation"
LABEL_GOAL = "goalkeeper.goal"
LABEL_DEADLINE = "goalkeeper.deadline"
"""Seconds since 1970 when the command must have ended."""
LABEL_SPEC = "goalkeeper.spec"

_UNPACK = (
    f"tar -xf {SOURCE}/source.tar -C {WORKSPACE}"
    ' || { echo "the source could not be unpacked into the workspace" >&2; exit 125; };'
    ' exec "$@"'
)


def hardened(*, memory_mb: int, cpus: float, pids: int) -> dict[str, Any]:
    """Host settings for whatever runs here: no privilege, no writable root, bounded."""
    return {
        "init": True,
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": SECURITY_OPTIONS,
        "mem_limit": f"{memory_mb}m",
        "memswap_limit": f"{memory_mb}m",
        "nano_cpus": round(cpus * 1_000_000_000),
        "pids_limit": pids,
        "ulimits": [Ulimit(name="core", soft=0, hard=0)],
        # Unlike json-file it is compact, bounded here, and can still be replayed after a crash.
        "log_config": LogConfig(type="local", config={"max-size": "10m", "max-file": "2"}),
    }


def container_name(installation: str, key: str) -> str:
    """The idempotent name: the same for every attempt at the same work."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", key)
    if name != key or len(name) > 100:
        name = name[:60] + "-" + hashlib.sha256(key.encode()).hexdigest()[:24]
    return f"goalkeeper-{installation}-{name}"


def spec_digest(inputs: SandboxInputs, image: str) -> str:
    """What a container that is found must match before it is adopted."""
    return digest_of({**inputs.model_dump(mode="json"), "image": image})


def labels(
    call: OperationCall, inputs: SandboxInputs, *, installation: str, image: str, now: datetime
) -> dict[str, str]:
    """Whose container it is, and until when it may run."""
    seconds = inputs.timeout.total_seconds() + KILL_AFTER_SECONDS
    return {
        LABEL_KIND: "sandbox",
        LABEL_INSTALLATION: installation,
        LABEL_GOAL: call.goal_id,
        "goalkeeper.task": call.task_id,
        "goalkeeper.generation": str(call.generation),
        "goalkeeper.attempt": str(call.attempt),
        LABEL_DEADLINE: str(ceil(now.timestamp() + seconds)),
        LABEL_SPEC: spec_digest(inputs, image),
    }


def sandbox_config(inputs: SandboxInputs, image: str, marks: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of `create_container`; `host_config` holds those of `create_host_config`."""
    seconds = inputs.timeout.total_seconds()
    # The dead man's switch: the command ends in time even when worker and engine are gone.
    switch = ["timeout", "-k", str(KILL_AFTER_SECONDS), f"{seconds:g}"]
    unpack = ["sh", "-c", _UNPACK, "sh"] if inputs.source else []
    host = hardened(
        memory_mb=inputs.memory_mb + inputs.workspace_mb + TMP_MB,
        cpus=inputs.cpus,
        pids=inputs.pids,
    )
    host["network_mode"] = "none"
    host["tmpfs"] = {
        "/tmp": f"rw,noexec,nosuid,nodev,size={TMP_MB}m",  # noqa: S108  (the container's own)
        WORKSPACE: f"rw,exec,nosuid,nodev,size={inputs.workspace_mb}m,{_OWNED}",
    }
    if inputs.source:
        # A mount without a name of its own is an anonymous volume: it goes with the container.
        host["mounts"] = [Mount(target=SOURCE, source="", type="volume", no_copy=True)]
    return {
        "image": image,
        "entrypoint": [*switch, *unpack],
        "command": list(inputs.command),
        "environment": {"HOME": "/tmp", **inputs.environment},  # noqa: S108  (as above)
        "hostname": "sandbox",
        "user": USER,
        "working_dir": WORKSPACE,
        "labels": dict(marks),
        "healthcheck": {"test": ["NONE"]},
        "host_config": host,
    }


def wrapped(source: bytes) -> bytes:
    """The source's tar inside a tar of ours.

    So the engine, as root, unpacks one plain file whose owner and mode we chose; what came from a
    repository is unpacked by nobody, inside.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("source.tar")
        entry.size, entry.mode = len(source), 0o444
        archive.addfile(entry, io.BytesIO(source))
    return buffer.getvalue()
