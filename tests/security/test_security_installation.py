"""The running stack from the outside: what its files allow, and where it listens."""

import stat
from pathlib import Path

import psutil

from goalkeeper import embedded
from goalkeeper.settings import Settings

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def _mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_the_state_folder_is_its_owner_s_alone(stack: Settings) -> None:
    """Whatever a file inside allows, nobody else gets there."""
    assert _mode(stack.state) == 0o700


def test_files_with_secrets_are_readable_by_their_owner_alone(stack: Settings) -> None:
    """Vault's keys, people's tokens and identities, the audit log's signing key."""
    tokens = sorted((stack.state / "tokens").iterdir())
    assert tokens
    keys = [f for f in stack.audit_file.parent.iterdir() if "key" in f.name]
    assert keys
    for file in [stack.state / "vault" / "keys.json", stack.identities_file, *tokens]:
        assert _mode(file) == 0o600, file
    assert any(_mode(f) == 0o600 for f in keys)


def test_nothing_that_the_stack_writes_is_open_to_others(stack: Settings) -> None:
    """Databases, logs, evidence and folders have no bit for group or world."""
    found = [f for f in stack.state.rglob("*") if not f.is_symlink() and f.exists()]
    assert len(found) > 10
    open_to_others = {
        str(f.relative_to(stack.state)): oct(_mode(f)) for f in found if _mode(f) & _OTHERS
    }
    inside = {n for n in open_to_others if _sealed_above(stack.state, stack.state / n)}
    assert set(open_to_others) - inside == set()


def _sealed_above(state: Path, file: Path) -> bool:
    """Whether a folder below the state folder keeps others out already."""
    return any(not _mode(p) & _OTHERS for p in file.parents if p != state and state in p.parents)


def test_no_login_waits_on_disk_once_the_stack_is_up(stack: Settings) -> None:
    """A wrapped login is for one use, and used; the clients' own reads payload keys alone."""
    found = {str(p.relative_to(stack.state)) for p in stack.state.rglob("*.login.json")}
    assert found == {"vault/client.login.json"}


async def test_nothing_of_the_stack_listens_beyond_loopback(stack: Settings) -> None:
    """Vault, Temporal, its UI, worker, gateway, metrics: all on 127.0.0.1."""
    status = await embedded.status(stack)
    assert status.pid is not None
    supervisor = psutil.Process(status.pid)
    processes = [supervisor, *supervisor.children(recursive=True)]
    listening = [
        c.laddr.ip for p in processes for c in p.net_connections("inet") if c.status == "LISTEN"
    ]
    assert len(listening) >= 6
    assert set(listening) <= {"127.0.0.1", "::1"}


async def test_the_environment_and_arguments_of_the_stack_hold_no_secret(stack: Settings) -> None:
    """Vault's keys and people's tokens are in files alone."""
    status = await embedded.status(stack)
    keys = (stack.state / "vault" / "keys.json").read_text()
    secrets = [t.read_text().strip() for t in (stack.state / "tokens").iterdir()]
    secrets += [part for part in keys.split('"') if len(part) > 24]
    assert len(secrets) >= 3
    supervisor = psutil.Process(status.pid)
    for process in [supervisor, *supervisor.children(recursive=True)]:
        seen = " ".join([*process.cmdline(), *process.environ().values()])
        assert not [s for s in secrets if s in seen], process.name()
