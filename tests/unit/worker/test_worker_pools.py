"""Pools: which queues a worker serves."""

from pathlib import Path
from typing import Any

import pytest
from temporalio.common import VersioningBehavior

from goalkeeper.domain.errors import InvalidSettings
from goalkeeper.settings import Settings, load_settings
from goalkeeper.worker.pools import ALL_POOLS, deployment, served


def settings(*pools: str, **more: Any) -> Settings:
    """Of an installation whose pools of these names have a queue of their own."""
    return load_settings(Path("/none"), environ={}, pools=pools, **more)


@pytest.mark.parametrize("chosen", [(), ("all",), ("all", "sandbox")])
def test_a_worker_serves_everything_unless_it_is_told_otherwise(chosen: tuple[str, ...]) -> None:
    """Whether or not the pools have queues of their own."""
    assert served(settings(), chosen) == ALL_POOLS
    assert served(settings("sandbox"), chosen) == ALL_POOLS


def test_whoever_serves_goals_serves_every_pool_that_shares_their_queue() -> None:
    """Otherwise what is in the queue would wait for nobody, or be taken by who cannot do it."""
    assert served(settings(), ["workflows"]) == ALL_POOLS
    assert served(settings("sandbox"), ["workflows"]) == ("workflows", "connectors")
    assert served(settings("sandbox", "connectors"), ["workflows"]) == ("workflows",)


def test_a_pool_with_a_queue_of_its_own_can_be_served_alone() -> None:
    """For example on the one machine that has Docker."""
    both = settings("sandbox", "connectors")
    assert served(both, ["sandbox"]) == ("sandbox",)
    assert served(both, ["sandbox", "connectors"]) == ("connectors", "sandbox")


def test_a_pool_that_shares_the_goals_queue_cannot_be_served_alone() -> None:
    """The message says which setting gives it one."""
    with pytest.raises(InvalidSettings, match=r'pools = \["sandbox"\]'):
        served(settings("connectors"), ["sandbox"])


def test_a_misspelt_pool_is_refused() -> None:
    """With the names that there are."""
    with pytest.raises(InvalidSettings, match=r"'sandboxes'.*workflows, connectors, sandbox"):
        served(settings(), ["sandboxes"])


def test_goals_follow_the_current_version_where_versions_are_told_apart() -> None:
    """They live for days: pinned to a version, they would need every old worker kept."""
    assert deployment(settings()) is None
    config = deployment(settings(deployment_version="2026.11-a"))
    assert config is not None
    assert config.version.to_canonical_string() == "goalkeeper.2026.11-a"
    assert config.use_worker_versioning
    assert config.default_versioning_behavior is VersioningBehavior.AUTO_UPGRADE
