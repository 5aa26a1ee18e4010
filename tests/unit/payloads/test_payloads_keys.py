"""The keys in a process's memory: read once, again when they may have changed, never shown."""

import asyncio
from collections.abc import Mapping

import pytest
from pydantic import SecretStr

from goalkeeper.domain.errors import CredentialDenied, VaultUnavailable
from goalkeeper.payloads.keys import REFRESH_SECONDS, KeyRing, PayloadKeys
from tests.support.keys import LocalKeys


class Clock:
    """Stands still unless told."""

    now = 1000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture
def held() -> LocalKeys:
    """What Vault holds."""
    return LocalKeys()


@pytest.fixture
def clock() -> Clock:
    """The process's."""
    return Clock()


@pytest.fixture
def keys(held: LocalKeys, clock: Clock) -> PayloadKeys:
    """What the process makes of it."""
    return PayloadKeys(held.read, clock=clock)


async def settled(keys: PayloadKeys) -> None:
    """The end of what goes on in the background."""
    task = keys._refreshing
    assert task is not None
    await task


async def test_they_are_read_at_first_use_and_once(keys: PayloadKeys, held: LocalKeys) -> None:
    """However many ask at the same time."""
    assert held.reads == 0
    await asyncio.gather(*(keys.ring() for _ in range(10)))
    await keys.ring()
    assert held.reads == 1


async def test_the_highest_number_is_the_current_one() -> None:
    """Not the last one of the alphabet."""
    key = next(iter(LocalKeys().held.values()))
    assert KeyRing.of({"k10": key, "k9": key, "k2": key}).current == "k10"


async def test_a_rotated_key_is_taken_up_in_the_background(
    keys: PayloadKeys, held: LocalKeys, clock: Clock
) -> None:
    """Nobody waits for it; until then the earlier one seals."""
    await keys.ring()
    held.rotate()
    clock.now += REFRESH_SECONDS + 1
    assert (await keys.ring()).current == "k1"
    await settled(keys)
    assert (await keys.ring()).current == "k2"


async def test_an_unknown_id_is_looked_up_at_once(
    keys: PayloadKeys, held: LocalKeys, clock: Clock
) -> None:
    """Another process may seal with a key that this one has not seen."""
    await keys.ring()
    held.rotate()
    clock.now += 5
    assert await keys.find("k2") is not None
    assert held.reads == 2


async def test_a_key_made_right_after_a_look_up_is_found(
    keys: PayloadKeys, held: LocalKeys, clock: Clock
) -> None:
    """A payload taken for unreadable now would be read in a replay, which would then differ."""
    await keys.ring()
    held.rotate()
    clock.now += 0.5
    assert await keys.find("k2") is not None


async def test_a_look_up_that_began_earlier_does_not_answer_for_a_newer_key(
    held: LocalKeys, clock: Clock
) -> None:
    """It may have read what Vault held before the key was made."""
    gate = asyncio.Event()

    async def slow() -> Mapping[str, SecretStr]:
        answer = await held.read()
        if held.reads == 2:
            await gate.wait()
        return answer

    keys = PayloadKeys(slow, clock=clock)
    await keys.ring()
    clock.now += 5
    earlier = asyncio.create_task(keys.find("k99"))
    await asyncio.sleep(0)
    clock.now += 0.1
    held.rotate()
    later = asyncio.create_task(keys.find("k2"))
    await asyncio.sleep(0)
    clock.now += 0.1
    gate.set()
    assert await earlier is None
    assert await later is not None


async def test_a_key_to_come_cannot_be_looked_up_while_vault_is_away(
    keys: PayloadKeys, held: LocalKeys, clock: Clock
) -> None:
    """Also right after a refresh that failed: what cannot be known now is asked again later."""
    await keys.ring()
    held.rotate()
    held.away = True
    clock.now += REFRESH_SECONDS + 1
    await keys.ring()
    await settled(keys)
    clock.now += 0.5
    with pytest.raises(VaultUnavailable):
        await keys.find("k2")


async def test_ids_that_may_follow_are_asked_for_once_each(
    keys: PayloadKeys, held: LocalKeys, clock: Clock
) -> None:
    """So that whoever makes them up cannot keep Vault busy with them."""
    await keys.ring()
    for _ in range(100):
        clock.now += 0.001
        assert await keys.find("k2") is None
    assert held.reads == 2


async def test_made_up_ids_do_not_flood_vault(
    keys: PayloadKeys, held: LocalKeys, clock: Clock
) -> None:
    """One look-up answers for all that come within a moment."""
    await keys.ring()
    clock.now += 5
    for number in range(100):
        assert await keys.find(f"k{number + 50}") is None
        clock.now += 0.01
    assert held.reads == 2


async def test_while_vault_is_away_the_known_keys_serve(
    keys: PayloadKeys, held: LocalKeys, clock: Clock
) -> None:
    """A worker that has them needs Vault no more; the next try comes later."""
    await keys.ring()
    held.away = True
    clock.now += REFRESH_SECONDS + 1
    await keys.ring()
    await settled(keys)
    assert (await keys.ring()).current == "k1"
    assert held.reads == 2


async def test_a_process_that_never_had_keys_says_that_vault_is_away(
    keys: PayloadKeys, held: LocalKeys
) -> None:
    """And goes on once Vault is back."""
    held.away = True
    with pytest.raises(VaultUnavailable):
        await keys.ring()
    held.away = False
    assert (await keys.ring()).current == "k1"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "no payload key"),
        ({"k1": "not base64!"}, "'k1' in Vault is not 32 bytes"),
        ({"k1": "c2hvcnQ="}, "'k1' in Vault is not 32 bytes"),
        ({"current": "k1"}, "a field 'current'"),
        ({"k0": "x"}, "a field 'k0'"),
    ],
)
def test_what_is_no_key_is_refused_without_showing_it(fields: dict[str, str], says: str) -> None:
    """The message names the id alone."""
    with pytest.raises(CredentialDenied, match=says) as raised:
        KeyRing.of({k: SecretStr(v) for k, v in fields.items()})
    assert "c2hvcnQ=" not in raised.value.message


async def test_a_ring_does_not_show_its_keys(keys: PayloadKeys, held: LocalKeys) -> None:
    """Neither in a log line nor in a traceback."""
    ring = await keys.ring()
    assert held.held["k1"].get_secret_value() not in repr(ring)
