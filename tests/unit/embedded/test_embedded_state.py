import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from goalkeeper.domain.errors import Conflict, InvalidSettings
from goalkeeper.embedded.ports import Ports
from goalkeeper.embedded.process import create_time
from goalkeeper.embedded.state import (
    FolderLock,
    ServiceState,
    ServiceStatus,
    StackFile,
    read_status,
)
from goalkeeper.settings import load_settings


def _record(**changes: object) -> StackFile:
    service = ServiceStatus(
        name="vault",
        state=ServiceState.RUNNING,
        address="http://127.0.0.1:1",
        pid=1,
        log=Path("/log"),
        since=datetime.now(UTC),
    )
    mine = {
        "pid": os.getpid(),
        "create_time": create_time(os.getpid()),
        "ports": Ports(),
        "services": (service,),
        "settings": {"vault_address": "http://127.0.0.1:1", "worker_metrics_port": 1234},
    }
    return StackFile.model_validate({**mine, **changes})


def test_one_folder_holds_one_stack(tmp_path: Path) -> None:
    """The second is refused with the folder's name, and may come once the first has gone."""
    with FolderLock(tmp_path), pytest.raises(Conflict, match=str(tmp_path)), FolderLock(tmp_path):
        pass
    with FolderLock(tmp_path):
        pass


def test_settings_read_the_addresses_of_the_stack_on_record(tmp_path: Path) -> None:
    """Clients find the servers wherever `up` put them."""
    _record().write(tmp_path)
    settings = load_settings(tmp_path, environ={})
    assert settings.vault_address == "http://127.0.0.1:1"
    assert settings.worker_metrics_port == 1234


def test_the_status_is_what_the_living_supervisor_says(tmp_path: Path) -> None:
    """As long as its process runs."""
    _record().write(tmp_path)
    status = read_status(tmp_path)
    assert status.running
    assert status.ready


@pytest.mark.parametrize("change", [{"create_time": 1.0}, {"pid": None}])
def test_without_its_supervisor_everything_counts_as_stopped(
    tmp_path: Path, change: dict[str, object]
) -> None:
    """Its process id may be somebody else's by now."""
    _record(**change).write(tmp_path)
    status = read_status(tmp_path)
    assert not status.running
    assert [(s.state, s.pid) for s in status.services] == [(ServiceState.STOPPED, None)]


def test_a_folder_without_a_stack_has_a_status_too(tmp_path: Path) -> None:
    """Nothing runs, which is no error."""
    assert not read_status(tmp_path / "none").running


@pytest.mark.parametrize("content", ["", "{", json.dumps({"pid": "x"})])
def test_a_damaged_record_is_named_with_what_to_do(tmp_path: Path, content: str) -> None:
    """The file's path, and that removing it loses nothing."""
    (tmp_path / "stack.json").write_text(content)
    with pytest.raises(InvalidSettings, match=r"stack\.json.*remove the file"):
        read_status(tmp_path)
