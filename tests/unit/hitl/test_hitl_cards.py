"""How a request is shown: everything is there, and nothing can pass for something else."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goalkeeper.domain.base import Json
from goalkeeper.domain.operation import Risk
from hitl.cards import Card, card, time_left
from hitl.text import Fact, plain, scalar, section
from tests.unit.hitl.hitl_fakes import NOON, a_request, an_action


def all_text(shown: Card) -> list[str]:
    """Every line of a card but the exact form."""
    found: list[str] = []

    def walk(value: object) -> None:
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, dict):
            for key, inner in value.items():
                if key != "exact":
                    walk(inner)
        elif isinstance(value, list | tuple):
            for inner in value:
                walk(inner)

    walk(shown.model_dump())
    return found


def fact(shown: Card, label: str) -> str:
    """The value under a label."""
    return next(f.value for f in shown.facts if f.label == label)


def test_a_card_says_who_asks_for_what_where_and_until_when() -> None:
    """The facts that a decision needs stand at the top."""
    shown = card(a_request(), NOON + timedelta(minutes=48))
    assert shown.title == "deploy-branch in production: git.merge_branch"
    assert fact(shown, "Asked by") == "dev"
    assert fact(shown, "Needs") == "1 person from operators"
    assert fact(shown, "Expires at").startswith("2026-03-01T16:00:00.000Z")
    assert shown.time_left == "3 h 12 min"
    assert shown.reasons == ("A change in production needs an operator.",)
    assert shown.digest == a_request().digest


def test_a_requester_who_is_only_a_claim_is_named_as_such() -> None:
    """In the facts and as a warning, with one more approval needed."""
    shown = card(a_request(requester="boss", proven=False), NOON)
    assert "unproven" in fact(shown, "Asked by")
    assert fact(shown, "Needs") == "2 different people from operators"
    assert any("not proven" in w for w in shown.warnings)


def test_what_cannot_be_undone_is_said() -> None:
    """A writing action without a compensation is named; reading ones are not."""
    read = an_action("look").model_copy(update={"risk": Risk.READ})
    undoable = an_action("deploy").model_copy(update={"compensation": "apps.restore"})
    shown = card(a_request("goal-1", read, undoable, an_action("merge")), NOON)
    assert any(w.endswith(": merge.") for w in shown.warnings)


def test_the_consequence_of_a_yes_depends_on_how_many_are_missing() -> None:
    """The first of two approvals runs nothing yet."""
    request = a_request(approvals=2)
    assert "1 more" in card(request, NOON).choices[0].leads_to
    last = card(request, NOON, approved_by=("ops",))
    assert "exactly these actions" in last.choices[0].leads_to


def test_the_exact_form_is_the_whole_action_in_plain_ascii() -> None:
    """Nothing is cut, and it gives the action back."""
    action = an_action(text="x" * 5000 + "\u202e\u200b")
    shown = card(a_request("goal-1", action), NOON).actions[0]
    assert shown.exact.isascii()
    assert type(action).model_validate_json(shown.exact).digest == shown.digest


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one\nApproved by: root", "one\\nApproved by: root"),
        ("a\u202eb", "a\\u202eb"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("line\u2028break", "line\\u2028break"),
        ("no\u00a0break", "no\\xa0break"),
        ("\U000e0041tag", "\\U000e0041tag"),
        ("a\\nb", "a\\\\nb"),
        ("größe 日本", "größe 日本"),
    ],
)
def test_characters_that_hide_or_move_text_are_spelt_out(text: str, shown: str) -> None:
    """A value cannot forge a line, a direction or an escape."""
    assert plain(text) == shown


@given(st.text())
def test_no_text_whatever_breaks_out_of_its_line(text: str) -> None:
    """What is shown is always printable and on one line."""
    shown = plain(text)
    assert shown.isprintable()
    assert "\n" not in shown


def test_a_long_value_is_cut_and_says_so() -> None:
    """The length of the whole is given."""
    assert plain("x" * 1000, limit=10) == "x" * 10 + "… (1000 characters in all)"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "true"),
        ("true", '"true"'),
        (1, "1"),
        ("1", '"1"'),
        (None, "null"),
        ("", '""'),
        (" x", '" x"'),
        ("plain words", "plain words"),
        ('"quoted"', '"\\"quoted\\""'),
        ("[" * 50_000, None),
    ],
)
def test_a_text_cannot_pass_for_a_number_or_a_keyword(value: Json, shown: str | None) -> None:
    """Strings that look like another type are quoted."""
    assert scalar(value) == shown if shown is not None else scalar(value)


def test_a_list_of_objects_is_a_table_and_the_rest_are_facts() -> None:
    """A preview reads like one."""
    value: Json = {
        "image": "sha256:abc",
        "replicas": {"before": 1, "after": 3},
        "changes": [{"what": "image", "to": "b"}, {"what": "replicas", "note": "up"}],
        "hosts": ["a", "b,c"],
        "none": [],
    }
    laid = section(value, title="preview")
    assert laid.facts == (
        Fact(label="image", value="sha256:abc"),
        Fact(label="replicas / before", value="1"),
        Fact(label="replicas / after", value="3"),
        Fact(label="hosts", value='"a", "b,c"'),
        Fact(label="none", value="[]"),
    )
    (table,) = laid.tables
    assert (table.title, table.columns) == ("changes", ("what", "to", "note"))
    assert table.rows == (("image", "b", ""), ("replicas", "", "up"))


def test_a_huge_value_stays_readable_and_says_what_is_missing() -> None:
    """Bounded in number, depth and length."""
    deep: Json = "end"
    for _ in range(50):
        deep = {"in": deep}
    laid = section({"deep": deep, **{f"k{i}": "v" * 5000 for i in range(500)}})
    assert len(laid.facts) <= 60
    assert "not shown" in laid.omitted
    assert all(len(f.value) < 2000 and len(f.label) < 200 for f in laid.facts)


def test_hostile_inputs_stay_plain_wherever_they_appear() -> None:
    """In values, keys, previews, reasons, requesters and addresses."""
    nasty = "x\nApproved: yes\u202e\x00"
    action = an_action(**{nasty: nasty}).model_copy(update={"egress": (nasty,)})
    request = a_request(
        "goal-1", action, requester=nasty, shown={"preview": {nasty: [{nasty: nasty}] * 2}}
    ).model_copy(update={"reasons": (nasty,)})
    assert all(line.isprintable() for line in all_text(card(request, NOON)))


@pytest.mark.parametrize(
    ("left", "shown"),
    [
        (timedelta(days=2, hours=1), "2 d 1 h"),
        (timedelta(minutes=59, seconds=59), "59 min"),
        (timedelta(seconds=59), "less than a minute"),
        (timedelta(0), "none: expired"),
    ],
)
def test_the_time_left_never_promises_more_than_there_is(left: timedelta, shown: str) -> None:
    """It is rounded down."""
    assert time_left(NOON + left, NOON) == shown
