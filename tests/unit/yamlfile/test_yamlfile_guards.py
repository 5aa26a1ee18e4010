import pytest

from goalkeeper.domain.errors import InvalidContract, InvalidSettings
from goalkeeper.yamlfile import LARGEST, read

REFUSED = {
    "an alias": ("a: 1\nb: *a\n", "f.yaml:2:4", "aliases"),
    "an anchor": ("a: &x 1\n", "f.yaml:1:4", "anchors"),
    "a tag": ("a: !!python/name:os.system x\n", "f.yaml:1:4", "tags"),
    "a second document": ("a: 1\n---\nb: 2\n", "f.yaml:2:1", "second document"),
    "a duplicate key": ("a: 1\nb: 2\na: 3\n", "f.yaml:3:1", "second time"),
    "keys that differ in type alone": ("1: a\n'1': b\n", "f.yaml:2:1", "second time"),
    "a mapping as a key": ("x: {{ a }}\n", "f.yaml:1:5", "${{ … }}"),
    "a list as a key": ("? [a]\n: b\n", "f.yaml:1:3", "key must be plain text"),
    "deep nesting": ("[" * 60 + "]" * 60, "f.yaml:1:51", "deeper than 50"),
    "nothing": ("", "f.yaml:1:1", "empty"),
    "comments alone": ("# nothing\n", "f.yaml:1:1", "empty"),
    "a control character": ("ok: 1\na: \x07\n", "f.yaml:2:4", "U+0007"),
    "not a number": ("a: .nan\n", "f.yaml:1:4", "quote it"),
    "infinity": ("a: -.inf\n", "f.yaml:1:4", "quote it"),
    "an integer that JSON readers round": ("a: 9007199254740993\n", "f.yaml:1:4", "quote it"),
    "an integer too long for Python": (f"a: {'9' * 5000}\n", "f.yaml:1:4", "quote it"),
    "an unquoted expression in braces": ("a: {x: ${{ b }}}\n", "f.yaml:1:9", "in quotes"),
    "an unquoted expression in brackets": ("a: [${{ b }}]\n", "f.yaml:1:6", "in quotes"),
    "a tab": ("a:\n\tb: 1\n", "f.yaml:2:1", "spaces"),
    "a colon in plain text": ("a: b: c\n", "f.yaml:1:5", "in quotes"),
    "a quote that never ends": ("a: 'x\n", "f.yaml:2:1", "not YAML"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_with_the_place_and_the_reason(case: str) -> None:
    """What could surprise is refused where it stands, in words."""
    text, place, words = REFUSED[case]
    with pytest.raises(InvalidContract) as refused:
        read(text, "f.yaml")
    assert refused.value.message.startswith(place + ":")
    assert words in refused.value.message


def test_refuses_an_alias_bomb_without_building_it() -> None:
    """Nested aliases never become data."""
    levels = "\n".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 9))
    with pytest.raises(InvalidContract, match="not accepted"):
        read(f"l0: &l0 [x]\n{levels}\n", "bomb.yaml")


def test_refuses_bytes_that_are_not_utf8() -> None:
    """Another encoding is named, not guessed."""
    with pytest.raises(InvalidContract, match="byte 3 is not UTF-8"):
        read(b"a: \xff", "f.yaml")


def test_refuses_a_file_above_the_limit_and_takes_one_at_it() -> None:
    """The limit is one MiB."""
    assert read("#" * (LARGEST - 5) + "\na: 1", "f.yaml").data == {"a": 1}
    with pytest.raises(InvalidContract, match="at most 1048576"):
        read("#" * (LARGEST - 4) + "\na: 1", "f.yaml")


def test_raises_the_error_that_the_caller_wants() -> None:
    """An identities file is not a contract."""
    with pytest.raises(InvalidSettings, match=r"people\.yaml:1:4"):
        read("a: *b", "people.yaml", InvalidSettings)


def test_shows_the_line_with_a_caret() -> None:
    """People see the place without opening the file."""
    with pytest.raises(InvalidContract) as refused:
        read("ok: 1\nkey: *other\n", "f.yaml")
    _, line, caret = refused.value.message.splitlines()
    assert line == "    key: *other"
    assert caret.index("^") == line.index("*")


def test_shows_a_part_of_a_long_line_around_the_caret() -> None:
    """A message stays readable, and the caret still points."""
    with pytest.raises(InvalidContract) as refused:
        read(f"a: [{'x, ' * 300} *b, {'y, ' * 300}]\n", "f.yaml")
    _, line, caret = refused.value.message.splitlines()
    assert len(line) <= 104
    assert line[caret.index("^")] == "*"


def test_shows_no_line_of_a_file_with_secrets() -> None:
    """With `quotes` off, nothing of the text is in the message."""
    with pytest.raises(InvalidContract) as refused:
        read("token: *hunter2\nb: 1\n", "f.yaml", quotes=False)
    assert refused.value.message.count("\n") == 0


def test_reads_the_core_schema_of_yaml_1_2() -> None:
    """Words and times stay text; keys are always text."""
    data = read("a: no\nb: on\nc: 12:30\nd: 2024-01-01\ne: 0o17\nf: ~\n8080: x\n<<: y\n", "f").data
    assert data == {
        "a": "no", "b": "on", "c": "12:30", "d": "2024-01-01", "e": 15, "f": None, "8080": "x",
        "<<": "y",
    }  # fmt: skip


def test_takes_a_byte_order_mark() -> None:
    """Editors on Windows write one."""
    assert read(b"\xef\xbb\xbfa: 1", "f.yaml").data == {"a": 1}
