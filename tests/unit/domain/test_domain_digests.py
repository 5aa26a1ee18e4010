"""The canonical form and its digests: what every approval hangs on, so they never change."""

import hashlib
import json
from datetime import timedelta

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from goalkeeper.domain.approval import Action
from goalkeeper.domain.base import canonical, digest_of, iso
from goalkeeper.domain.operation import Risk
from goalkeeper.domain.policy import Requirement
from tests.unit.domain.approving import NOW, an_action, approval

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=20,
)


def test_the_canonical_form_is_that_of_rfc_8785() -> None:
    """The example of the RFC's section 3.2.2."""
    given_text = (
        '{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],'
        '"string":"\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/",'
        '"literals":[null,true,false]}'
    )
    wanted = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical(json.loads(given_text)).decode() == wanted


def test_known_values_have_known_digests() -> None:
    """A change here would void every approval and every plan on record."""
    empty = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert digest_of({}) == empty
    assert digest_of(b"{}") == empty
    assert (
        an_action().digest
        == "sha256:a834c035d74dba34c7a7ec96e73fc22e1c4e136103bab52161bf76822ce06075"
    )
    assert (
        approval().digest
        == "sha256:0a7b1d1c33a97d85d4e6eac2b20e47da6cf5d5ed4348b227817b78ae329f2664"
    )


@given(_JSON)
def test_equal_values_have_equal_digests_however_they_were_written(value: object) -> None:
    """Whatever the order of keys and the spacing."""
    again = json.loads(json.dumps(value, indent=3))
    if isinstance(again, dict):
        again = dict(reversed(again.items()))
    assert canonical(again) == canonical(value)  # type: ignore[arg-type]  # any JSON value
    assert digest_of(again) == "sha256:" + hashlib.sha256(canonical(again)).hexdigest()


def test_a_model_s_digest_survives_the_way_through_json() -> None:
    """As it goes through Temporal, the ledger and the audit log."""
    action = an_action()
    assert Action.model_validate_json(action.model_dump_json()).digest == action.digest


@pytest.mark.parametrize(
    "changes",
    [
        {"goal_id": "other"},
        {"task_id": "other"},
        {"generation": 1},
        {"plan_digest": digest_of(1)},
        {"operation": "git.revert_merge"},
        {"inputs": {"branch": "main "}},
        {"environment": "staging"},
        {"risk": Risk.READ},
        {"credentials": {"token": "other"}},
        {"egress": ("example.org:443",)},
        {"compensation": None},
        {"policy_version": digest_of(2)},
    ],
    ids=lambda c: next(iter(c)),
)
def test_every_part_of_an_action_is_in_its_digest(changes: dict[str, object]) -> None:
    """Nothing of what runs can change under an approval."""
    action = an_action()
    assert set(changes) <= set(Action.model_fields)
    assert action.model_copy(update=changes).digest != action.digest


def test_numbers_that_no_double_holds_have_no_digest() -> None:
    """Another tool would read another number."""
    with pytest.raises(rfc8785.CanonicalizationError):
        digest_of(2**60)


def test_models_are_frozen_and_refuse_what_they_do_not_know() -> None:
    """What was hashed cannot change afterwards."""
    action = an_action()
    with pytest.raises(ValidationError, match="frozen"):
        setattr(action, "task_id", "other")  # noqa: B010 - the type checker refuses it too
    with pytest.raises(ValidationError, match="Extra inputs"):
        Action.model_validate({**action.model_dump(), "sudo": True})


def test_instants_are_written_in_utc_with_milliseconds() -> None:
    """As RFC 3339 has it."""
    assert iso(NOW + timedelta(microseconds=1500)) == "2026-01-02T03:04:05.001Z"


def test_a_requirement_s_defaults_are_durations() -> None:
    """Four hours to decide, one hour to begin."""
    assert Requirement().expires_in == timedelta(hours=4)
    assert Requirement().valid_for == timedelta(hours=1)
