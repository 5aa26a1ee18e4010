"""`goalkeeper keys`: ids and which one seals; never a key."""

import pytest

from goalkeeper.embedded import payload_keys
from goalkeeper.settings import Settings
from goalkeeper.vault_keys import HeldKeys
from tests.unit.cli.conftest import Cli

SINCE = "2025-11-21T16:27:00Z"


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Vault with two keys, which gives a third."""

    async def list_(_: Settings) -> HeldKeys:
        return HeldKeys(ids=("k1", "k2"), version=2, changed_at=SINCE)

    async def rotate(_: Settings) -> HeldKeys:
        return HeldKeys(ids=("k1", "k2", "k3"), version=3, changed_at=SINCE)

    monkeypatch.setattr(payload_keys, "payload_keys", list_)
    monkeypatch.setattr(payload_keys, "rotate_payload_key", rotate)


@pytest.mark.usefixtures("held")
def test_the_keys_are_listed_with_the_one_that_seals(cli: Cli) -> None:
    """For people, and for scripts."""
    shown = cli("keys", "list")
    assert shown.code == 0
    assert "k1" in shown.out
    assert "seals, and opens" in shown.out.split("k2")[1]
    assert cli("keys", "list", "--json").json == {
        "keys": ["k1", "k2"],
        "current": "k2",
        "changed_at": SINCE,
    }


@pytest.mark.usefixtures("held")
def test_a_rotation_answers_with_the_new_key(cli: Cli) -> None:
    """The earlier ones are still there."""
    assert cli("keys", "rotate", "--json").json["current"] == "k3"


def test_without_a_stack_it_says_what_to_do(cli: Cli) -> None:
    """Its Vault is where the keys are."""
    ran = cli("keys", "list")
    assert ran.code == 1
    assert "goalkeeper up" in ran.err
