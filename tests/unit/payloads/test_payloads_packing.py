"""Packing: smaller where that can be, the same again in any case, and readable for ever."""

import hashlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goalkeeper.domain.errors import PayloadUnreadable
from goalkeeper.payloads import packing
from goalkeeper.payloads.packing import DICTIONARY_1, pack, unpack


@given(st.binary(max_size=10_000))
def test_whatever_is_packed_unpacks_to_the_same(plain: bytes) -> None:
    """Bytes of any kind."""
    assert unpack(pack(plain)) == plain


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 70_000, 3_000_000])
def test_no_size_is_special(size: int) -> None:
    """Around the change of the window, and far beyond it."""
    for plain in (os.urandom(size), b"task " * (size // 5)):
        assert unpack(pack(plain)) == plain


def test_the_dictionary_is_never_edited() -> None:
    """Histories that were written with it open with no other."""
    digest = hashlib.sha256(DICTIONARY_1).hexdigest()
    assert digest == "8921bf5b942f32f58754cfa387af7e330546f8814de5e089590bde84266817e4"
    assert len(DICTIONARY_1) < 4096 - 300, "the small window would not reach its beginning"


def test_a_small_payload_of_ours_shrinks_to_a_tenth() -> None:
    """As the result of a task that hands nothing on."""
    plain = (
        b'\n\x16\n\x08encoding\x12\njson/plain\x12<{"outputs":{"value":null},"evidence":[],'
        b'"compensable":false}'
    )
    assert len(pack(plain)) < len(plain) / 5


def test_noise_grows_by_one_byte_alone() -> None:
    """What cannot be packed is left as it is."""
    assert len(pack(os.urandom(500))) == 501


@pytest.mark.parametrize("packed", [b"", b"\2x", b"\1not deflate", b"\1"])
def test_what_was_not_packed_here_is_refused(packed: bytes) -> None:
    """With an error of ours."""
    with pytest.raises(PayloadUnreadable):
        unpack(packed)


def test_what_unpacks_without_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few bytes can stand for very many."""
    monkeypatch.setattr(packing, "LARGEST", 10_000)
    with pytest.raises(PayloadUnreadable, match="larger than"):
        unpack(pack(b"x" * 20_000))
