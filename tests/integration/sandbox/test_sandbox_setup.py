import os
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

DEPLOY = Path(__file__).parents[3] / "deploy"
STAND_IN = f"""#!{sys.executable}
import socketserver, sys

class Ping(socketserver.StreamRequestHandler):
    def handle(self):
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.0 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nOK")

socketserver.UnixStreamServer(sys.argv[2].removeprefix("unix://"), Ping).serve_forever()
"""


def script(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one of the set-up scripts."""
    return subprocess.run(
        [DEPLOY / name, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", ["engine.sh", "base_image.sh"])
def test_set_up_that_is_done_is_quiet(name: str) -> None:
    """Every `make` runs them."""
    done = script(name)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_engine_elsewhere_that_does_not_answer_is_not_replaced_by_a_local_one() -> None:
    """Whoever sets DOCKER_HOST means it."""
    done = script("engine.sh", DOCKER_HOST="tcp://127.0.0.1:1")
    assert done.returncode == 1
    assert "tcp://127.0.0.1:1" in done.stderr
    assert "DOCKER_HOST" in done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="only root starts engines")
def test_a_daemon_that_is_installed_is_started_detached_and_waited_for(tmp_path: Path) -> None:
    """It outlives the script; a second run finds it."""
    daemon, socket = tmp_path / "bin" / "dockerd", tmp_path / "run" / "docker.sock"
    daemon.parent.mkdir()
    daemon.write_text(STAND_IN)
    daemon.chmod(daemon.stat().st_mode | stat.S_IXUSR)
    environment = {
        "DOCKER_HOST": f"unix://{socket}",
        "PATH": f"{daemon.parent}:{os.environ['PATH']}",
        "TMPDIR": str(tmp_path),
    }
    try:
        for _ in range(2):
            done = script("engine.sh", str(tmp_path), **environment)
            assert (done.returncode, done.stderr) == (0, "")
        (started,) = _processes(daemon)
        assert started.ppid() != os.getpid()
    finally:
        for process in _processes(daemon):
            process.kill()


@pytest.mark.skipif(os.getuid() != 0, reason="only root starts engines")
def test_a_daemon_that_does_not_come_up_is_reported_with_its_log(tmp_path: Path) -> None:
    """The last lines of its log say why."""
    daemon = tmp_path / "dockerd"
    daemon.write_text("#!/bin/sh\necho 'no space left on device'\nexit 1\n")
    daemon.chmod(daemon.stat().st_mode | stat.S_IXUSR)
    done = script(
        "engine.sh",
        str(tmp_path),
        DOCKER_HOST=f"unix://{tmp_path}/docker.sock",
        PATH=f"{tmp_path}:{os.environ['PATH']}",
        TMPDIR=str(tmp_path),
    )
    assert done.returncode == 1
    assert "no space left on device" in done.stderr


def _processes(program: Path) -> list[psutil.Process]:
    return [
        p for p in psutil.process_iter(["cmdline"]) if str(program) in (p.info["cmdline"] or [])
    ]
