"""DSSE envelopes: signed here, read by others, and the other way round."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.dsse import Envelope as Theirs

from goalkeeper.domain.base import Model
from goalkeeper.domain.dsse import (
    Envelope,
    Signature,
    open_envelope,
    pre_authentication_encoding,
    seal,
)
from goalkeeper.domain.errors import GrantMismatch

TYPE = "application/vnd.test+json"
# The first key pair of RFC 8032, section 7.1.
SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
KEYS = {"k": base64.b64encode(PUBLIC).decode()}


class Said(Model):
    """A statement."""

    word: str


class FixedSigner:
    """Signs with the known key."""

    async def sign(self, message: bytes) -> Signature:
        """Ed25519 is deterministic, so the envelope is known too."""
        signature = Ed25519PrivateKey.from_private_bytes(SECRET).sign(message)
        return Signature(keyid="k", sig=base64.b64encode(signature).decode())


async def sealed() -> Envelope:
    """The statement, signed."""
    return await seal(Said(word="yes"), TYPE, FixedSigner())


def test_what_is_signed_is_the_protocol_s_own_example() -> None:
    """From the DSSE specification, and as another implementation computes it."""
    encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    theirs = Theirs(b"\xff\x00", "größe", {})
    assert pre_authentication_encoding("größe", b"\xff\x00") == theirs.pae()


async def test_an_envelope_is_the_same_bytes_each_time() -> None:
    """Known key, known statement, known signature."""
    envelope = await sealed()
    assert base64.b64decode(envelope.payload) == b'{"word":"yes"}'
    assert envelope.signatures[0].sig == (
        "2OI0HjBaIJ+5TDSqK0/kNP9g7aOMSBsMaCmQL2BTQ4JNX9J3yxb+z/69khpJf5D0VPc8dru83eXeJ3JQrp0GCw=="
    )
    assert open_envelope(envelope, Said, TYPE, KEYS) == Said(word="yes")


async def test_a_signature_by_any_known_key_is_enough() -> None:
    """Beside one by a stranger: keys are rotated."""
    envelope = await sealed()
    stranger = Signature(keyid="new", sig=base64.b64encode(b"x" * 64).decode())
    both = envelope.model_copy(update={"signatures": (stranger, *envelope.signatures)})
    assert open_envelope(both, Said, TYPE, KEYS).word == "yes"


def _payload(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"payload": _payload('{"word":"no"}')}, "no signature"),
        ({"payload": _payload('{"word":"yes"} ')}, "no signature"),
        ({"payload": "!"}, "not base64"),
        ({"payload": "eyJ3b3JkIjoieWVzIn0=\n"}, "not base64"),
        ({"payloadType": "application/other"}, "is of type 'application/other'"),
        ({"signatures": (Signature(keyid="k", sig="AAAA"),)}, "no signature"),
        ({"signatures": (Signature(keyid="k", sig="???"),)}, "no signature"),
        ({"signatures": (Signature(keyid="", sig=""),)}, "no signature"),
    ],
)
async def test_what_was_tampered_with_is_refused(changes: dict[str, Any], why: str) -> None:
    """Payload, type and signature."""
    envelope = (await sealed()).model_copy(update=changes)
    with pytest.raises(GrantMismatch, match=why):
        open_envelope(envelope, Said, TYPE, KEYS)


@pytest.mark.parametrize("keys", [{}, {"k": "AAAA"}, {"k": "!"}, {"j": KEYS["k"]}])
async def test_without_the_right_key_nothing_holds(keys: dict[str, str]) -> None:
    """None, a broken one, or one of another name."""
    with pytest.raises(GrantMismatch, match="no signature"):
        open_envelope(await sealed(), Said, TYPE, keys)


async def test_a_signed_statement_of_another_shape_is_refused() -> None:
    """A signature says who, not what."""

    class Other(Model):
        number: int

    envelope = await seal(Other(number=1), TYPE, FixedSigner())
    with pytest.raises(GrantMismatch, match="is not a Said"):
        open_envelope(envelope, Said, TYPE, KEYS)


async def test_an_envelope_is_read_by_another_implementation() -> None:
    """Its JSON form is the protocol's."""
    envelope = await sealed()
    theirs = Theirs.from_dict(json.loads(envelope.model_dump_json()))
    assert theirs.payload == b'{"word":"yes"}'
    assert theirs.payload_type == TYPE
