"""The payload codec: what is sealed, what opens it, and what does not."""

import os

import pytest
from temporalio.api.common.v1 import Payload

from goalkeeper.domain.errors import PayloadUnreadable, VaultUnavailable
from goalkeeper.payloads import Codec, UnreadablePayloadConverter
from goalkeeper.payloads.codec import SEALED, is_sealed
from tests.support.keys import LocalKeys, relabelled

CANARY = b"canary-5b1f"


def payload(data: bytes = b'"' + CANARY + b'"') -> Payload:
    """A value as JSON."""
    return Payload(metadata={"encoding": b"json/plain", "kind": CANARY}, data=data)


@pytest.fixture
def keys() -> LocalKeys:
    """Keys that this test may lose."""
    return LocalKeys()


@pytest.fixture
def codec(keys: LocalKeys) -> Codec:
    """Of one process."""
    return Codec(keys.process(), "default")


async def sealed(codec: Codec, value: Payload | None = None) -> Payload:
    """One payload, sealed."""
    (found,) = await codec.encode([value or payload()])
    return found


def problem(opened: Payload) -> str:
    """What is said where the value is asked for."""
    with pytest.raises(PayloadUnreadable) as raised:
        UnreadablePayloadConverter().from_payload(opened)
    return raised.value.message


@pytest.mark.parametrize("size", [0, 1, 1023, 5_000, 3_000_000])
async def test_what_is_sealed_opens_as_it_was(codec: Codec, size: int) -> None:
    """Data and metadata, whatever the size, and whether it packs or not."""
    for data in (b"x" * size, os.urandom(size)):
        before = payload(data)
        assert await codec.decode(await codec.encode([before])) == [before]


async def test_nothing_readable_is_left(codec: Codec) -> None:
    """Neither the value nor its metadata; the same value never looks the same."""
    once, twice = await codec.encode([payload(), payload()])
    for found in (once, twice):
        assert is_sealed(found)
        assert CANARY not in found.SerializeToString()
        assert set(found.metadata) == {"encoding"}
    assert once.data != twice.data


async def test_what_repeats_itself_is_packed_before_it_is_sealed(codec: Codec) -> None:
    """History's bytes are dear; what does not shrink is sealed as it is."""
    assert len((await sealed(codec, payload(b"plan " * 10_000))).data) < 2_000
    noise = os.urandom(50_000)
    assert len((await sealed(codec, payload(noise))).data) < len(noise) + 100


async def test_what_was_never_sealed_passes_through(codec: Codec, keys: LocalKeys) -> None:
    """So that `temporal workflow start` works, with Vault away too."""
    keys.away = True
    assert await codec.decode([payload()]) == [payload()]


async def test_without_encryption_nothing_is_sealed_and_the_old_still_opens(
    codec: Codec, keys: LocalKeys
) -> None:
    """Switching it off must not cut off the goals that run."""
    old = await sealed(codec)
    off = Codec(keys.process(), "default", encrypt=False)
    assert await off.encode([payload()]) == [payload()]
    assert await off.decode([old]) == [payload()]


@pytest.mark.parametrize("where", [3, 8, 14, 15, 23, -1])
async def test_one_changed_bit_does_not_open(codec: Codec, where: int) -> None:
    """In the nonce, the text or the tag; what names the key comes before them."""
    found = await sealed(codec)
    changed = bytearray(found.data)
    changed[where] ^= 1
    found.data = bytes(changed)
    (opened,) = await codec.decode([found])
    assert "does not open: it was changed" in problem(opened)


@pytest.mark.parametrize("length", [3, 8, 15, 23])
async def test_what_is_cut_off_does_not_open(codec: Codec, length: int) -> None:
    """Nor where nothing is left but the name of the key."""
    found = await sealed(codec)
    found.data = found.data[:length]
    (opened,) = await codec.decode([found])
    assert "does not open" in problem(opened)


async def test_another_key_s_id_does_not_open_it(codec: Codec, keys: LocalKeys) -> None:
    """The key id is authenticated too, even where it names the same key."""
    keys.held["k2"] = keys.held["k1"]
    (opened,) = await codec.decode([relabelled(await sealed(codec), "k1")])
    assert "does not open" in problem(opened)


async def test_another_namespace_does_not_open_it(codec: Codec, keys: LocalKeys) -> None:
    """What was sealed for one is worth nothing in another."""
    (opened,) = await Codec(keys.process(), "other").decode([await sealed(codec)])
    assert "belongs to another Temporal namespace than 'other'" in problem(opened)


async def test_an_unknown_key_is_named(codec: Codec) -> None:
    """With what it may mean."""
    (opened,) = await Codec(LocalKeys().process(), "default").decode(
        [relabelled(await sealed(codec), "k9")]
    )
    assert "sealed with key 'k9', which this installation's Vault does not hold" in problem(opened)


async def test_one_that_does_not_open_hides_no_other(codec: Codec) -> None:
    """A made-up signal must not take a whole workflow task with it."""
    good = await sealed(codec)
    bad = relabelled(good, "k9")
    opened = await codec.decode([bad, good])
    assert opened[1] == payload()


async def test_while_vault_is_away_an_unknown_key_fails_for_now(
    codec: Codec, keys: LocalKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key may be there: only Vault can tell, and Temporal tries again."""
    monkeypatch.setattr("goalkeeper.payloads.keys._PAUSE", -1.0)
    good = await sealed(codec)
    keys.away = True
    with pytest.raises(VaultUnavailable):
        await codec.decode([relabelled(good, "k2")])
    assert await codec.decode([good]) == [payload()]


async def test_what_opens_to_something_else_is_refused(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sealed by one of ours, and no payload all the same."""
    monkeypatch.setattr("goalkeeper.payloads.codec.pack", lambda _: b"\0\xff\xff")
    (opened,) = await codec.decode([await sealed(codec)])
    assert "something that is none" in problem(opened)


@pytest.mark.parametrize("data", [b"", b"k1", b"\0", b"\xff\xfe\0rest", b"k" * 100_000])
async def test_what_names_no_key_does_not_open(codec: Codec, data: bytes) -> None:
    """Made up by whoever can send a signal; the message repeats only the beginning."""
    (opened,) = await codec.decode([Payload(metadata={"encoding": SEALED}, data=data)])
    assert len(problem(opened)) < 400
