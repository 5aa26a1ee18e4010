"""The redactor: what it replaces, and what it leaves alone."""

from pydantic import SecretStr

from goalkeeper.domain.credential import MASK, Redactor


def redactor(*secrets: str) -> Redactor:
    """Of these secrets."""
    return Redactor(SecretStr(s) for s in secrets)


def test_a_secret_is_replaced_wherever_it_stands() -> None:
    """In text, bytes, nested JSON and keys."""
    made = redactor("hunter22")
    assert made.text("x hunter22 y hunter22") == f"x {MASK} y {MASK}"
    assert made.content(b"\xffhunter22\x00") == b"\xff" + MASK.encode() + b"\x00"
    given = {"hunter22": ["a hunter22", {"deep": ("hunter22",)}], "n": 1, "none": None}
    assert made.json(given) == {MASK: [f"a {MASK}", {"deep": [MASK]}], "n": 1, "none": None}


def test_a_secret_that_contains_another_is_replaced_whole() -> None:
    """Else its rest would show."""
    assert redactor("abcd", "abcd-efgh").text("abcd-efgh abcd") == f"{MASK} {MASK}"


def test_secrets_next_to_each_other_are_both_replaced() -> None:
    """Without a gap between them."""
    assert redactor("aaaa1111", "bbbb2222").text("aaaa1111bbbb2222") == MASK + MASK


def test_what_is_too_short_to_be_a_secret_is_left() -> None:
    """Replacing every 'a' would destroy the text and hide nothing."""
    made = redactor("", "a", "abc")
    assert made.text("abc a") == "abc a"
    assert redactor("abcd").text("abcd") == MASK


def test_secrets_of_other_alphabets_and_lines_are_found() -> None:
    """Bytes are compared in UTF-8."""
    made = redactor("geheim-größe", "line one\nline two")
    assert made.text("<geheim-größe>") == f"<{MASK}>"
    assert made.content("geheim-größe".encode()) == MASK.encode()
    assert made.text("line one\nline two!") == f"{MASK}!"


def test_without_secrets_nothing_changes() -> None:
    """The very same value."""
    value = {"a": [1, "b"]}
    assert Redactor().json(value) is value
    assert Redactor().text("x") == "x"
