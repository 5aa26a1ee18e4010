from pathlib import Path

import pytest

from goalkeeper.domain.errors import EngineUnavailable, InvalidGoal
from goalkeeper.settings import Settings
from sandbox.engine import ping
from sandbox.runner import SandboxConnector, installation


async def test_a_missing_engine_is_said_with_where_and_what_to_do(tmp_path: Path) -> None:
    """Nobody has to read the SDK's traceback."""
    host = f"unix://{tmp_path}/none.sock"
    with pytest.raises(EngineUnavailable) as caught:
        await ping(host)
    assert host in caught.value.message
    assert "deploy/engine.sh" in caught.value.message
    assert caught.value.retryable


async def test_pinning_refuses_what_is_no_image_name(tmp_path: Path) -> None:
    """The message names the input."""

    async def fetch(*_: object) -> bytes:
        return b""

    connector = SandboxConnector(Settings(state=tmp_path), fetch)
    with pytest.raises(InvalidGoal, match="'image' must be"):
        await connector.pin("image", 7)
    connector.close()


def test_two_installations_have_different_container_names(tmp_path: Path) -> None:
    """Their goal ids may be the same, and they may share an engine."""
    one = installation(Settings(state=tmp_path / "a"))
    assert one == installation(Settings(state=tmp_path / "a"))
    assert one != installation(Settings(state=tmp_path / "b"))
