"""Phases of a rollout are policies by name."""

from pathlib import Path

import pytest

from goalkeeper.domain.errors import InvalidSettings
from goalkeeper.policy import PolicyEngine
from goalkeeper.policy.shipped import PHASES, read_policy
from goalkeeper.settings import load_settings


@pytest.mark.parametrize("phase", PHASES)
def test_settings_name_a_phase(phase: str, tmp_path: Path) -> None:
    """As they name a file, and each is another policy."""
    (tmp_path / "settings.toml").write_text(f'policy = "phase:{phase}"\n')
    settings = load_settings(tmp_path, environ={})
    assert settings.policy == Path(f"phase:{phase}")
    assert PolicyEngine.load(settings.policy).version != PolicyEngine.load().version
    assert read_policy(settings.policy)[1] == f"{phase}.cedar"


@pytest.mark.parametrize("name", ["phase:prodution", "phase:", "phase:../policy"])
def test_a_phase_that_does_not_exist_is_refused(name: str) -> None:
    """A worker must not start under another policy than the one that was meant."""
    with pytest.raises(InvalidSettings, match="there is no phase"):
        PolicyEngine.load(Path(name))
