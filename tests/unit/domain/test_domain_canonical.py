"""The fast path of the canonical form gives RFC 8785's bytes or stands aside."""

from collections.abc import Callable

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from goalkeeper.domain.base import Json, canonical
from goalkeeper.domain.plan import RetryPolicy

# What could be taken for structure, for a number, or be sorted or escaped in another way.
_SIGNS = 'a":,[]{}\\0123456789.eE-+ \x00\x1f\x7f\n\t\r\b\f\u2028\ue000\uffff\U00010000\U0001f600'
_EDGES: list[int | float] = [
    -0.0, 0.0, 2.0, 0.1, 1.05, 1e-5, 1e-7, 1e15, 1e16, 1e21, 1.5e300, 5e-324,
    2**53 - 1, 2**53, -(2**53), 10**15, 10**16, 10**30,
]  # fmt: skip
texts = st.text(max_size=8) | st.text(alphabet=_SIGNS, max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(_EDGES) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def told(make: Callable[[Json], bytes], value: Json) -> bytes | str:
    """The bytes, or the objection."""
    try:
        return make(value)
    except ValueError as error:
        return str(error)


@given(values)
def test_it_is_what_rfc_8785_gives(value: Json) -> None:
    """To the byte, and with the same objections."""
    assert told(canonical, value) == told(rfc8785.dumps, value)


@pytest.mark.parametrize(
    "value",
    [
        *_EDGES,
        *([e] for e in _EDGES),
        *({"k": e} for e in _EDGES),
        *([0, e, "x"] for e in _EDGES),
        {"\ue000": 1, "\U00010000": 2},
        {"a\\": 3.0},
        {"a\\": [1e16]},
        ["\ud800"],
        {"\udc00": 1},
        [float("nan")],
        {"x": float("inf")},
        '":2.0',
        "sha256:3e5",
        "\u2028\u2029\x7f\x80",
    ],
    ids=repr,
)
def test_it_is_so_at_the_edges(value: Json) -> None:
    """Numbers that two encoders write in two ways, keys that they sort in two ways."""
    assert told(canonical, value) == told(rfc8785.dumps, value)


@pytest.mark.parametrize(
    "value",
    [
        {"b": [1, "x", None, True], "a": {"é": "ü", "n": -3}},
        {"digest": "sha256:" + "3e" * 32, "at": "2030-01-01T00:00:00.000Z", "n": 1.5},
        [2**49, "a:1.0", "10:30e"],
    ],
)
def test_what_is_common_needs_no_second_encoder(
    value: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most actions and plans, with their digests and times."""
    expected = rfc8785.dumps(value)
    monkeypatch.delattr(rfc8785, "dumps")
    assert canonical(value) == expected


def test_a_plan_needs_no_second_encoder_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole numbers in it are written without a fraction, also where a fraction may stand."""
    policy = RetryPolicy(backoff_coefficient=2.0)
    expected = rfc8785.dumps(policy.model_dump(mode="json"))
    monkeypatch.delattr(rfc8785, "dumps")
    assert canonical(policy) == expected
    assert b'"backoff_coefficient":2,' in expected
    assert RetryPolicy.model_validate_json(policy.model_dump_json()) == policy
