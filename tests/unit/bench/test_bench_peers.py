"""What `make bench-peers` installs: pinned by hash, and nothing about where it comes from."""

import re

from deploy.bench_peers.compare import HERE

LOCK = (HERE / "requirements.txt").read_text()


def test_the_peers_are_the_versions_that_are_written_about() -> None:
    """Numbers of other versions would be other numbers."""
    wanted = re.findall(r"^\w+==\S+", (HERE / "requirements.in").read_text(), re.MULTILINE)
    assert [w.partition("==")[0] for w in wanted] == ["prefect", "dbos"]
    for pin in wanted:
        assert f"\n{pin} " in f"\n{LOCK}"


def test_every_package_of_the_lock_has_a_hash_and_no_address() -> None:
    """Whoever installs it gets the same files, from an index of their own choice."""
    pins = re.findall(r"^[a-z0-9].*==", LOCK, re.MULTILINE)
    blocks = re.split(r"^(?=[a-z0-9])", LOCK, flags=re.MULTILINE)
    assert sum("--hash=sha256:" in block for block in blocks) == len(pins) > 50
    assert "://" not in LOCK
