"""Who somebody is, by their token, and what happens when the file changes."""

import secrets
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr
from structlog.testing import capture_logs

from goalkeeper.domain.errors import InvalidSettings
from goalkeeper.identities import Identities, token_digest

OPERATOR = secrets.token_urlsafe(32)
DEVELOPER = secrets.token_urlsafe(32)


def person(name: str, token: str, *groups: str) -> dict[str, object]:
    """An entry of the file."""
    return {
        "id": name,
        "name": name.title(),
        "groups": list(groups),
        "token_digest": token_digest(SecretStr(token)),
    }


def write(file: Path, *people: dict[str, object], **more: object) -> Path:
    """Write the file."""
    file.write_text(yaml.safe_dump({"version": "1", "people": list(people), **more}))
    return file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An operator and a developer."""
    return write(
        tmp_path / "identities.yaml",
        person("operator", OPERATOR, "operators"),
        person("developer", DEVELOPER),
    )


def test_a_token_names_its_person_with_their_groups(file: Path) -> None:
    """The right token finds the person it belongs to and no other."""
    found = Identities.load(file).by_token(SecretStr(OPERATOR))
    assert found is not None
    assert (found.id, found.groups) == ("operator", ("operators",))


@pytest.mark.parametrize("token", ["", "x", OPERATOR + "x", OPERATOR[:-1], "ü" * 600, "\udc80"])
def test_a_token_that_is_nobodys_finds_nobody(file: Path, token: str) -> None:
    """Forged, cut, lengthened, empty and undecodable tokens are all nobody's."""
    assert Identities.load(file).by_token(SecretStr(token)) is None


def test_the_digest_itself_is_not_a_token(file: Path) -> None:
    """Whoever can read the file cannot sign in with what stands in it."""
    digest = token_digest(SecretStr(OPERATOR))
    assert Identities.load(file).by_token(SecretStr(digest)) is None


def test_a_person_without_a_token_cannot_be_matched_by_any(tmp_path: Path) -> None:
    """No digest in the file means no sign-in by token, an empty token included."""
    file = write(tmp_path / "i.yaml", {"id": "bot", "name": "Bot"})
    assert Identities.load(file).by_token(SecretStr("")) is None


def test_an_edit_counts_without_a_restart(file: Path) -> None:
    """A person who is taken out of the file loses access, and a new one gains it."""
    identities = Identities.load(file)
    write(file, person("newcomer", "n" * 43, "operators"))
    assert identities.by_token(SecretStr(OPERATOR)) is None
    assert identities.get("operator") is None
    found = identities.by_token(SecretStr("n" * 43))
    assert found is not None
    assert found.id == "newcomer"


def test_a_broken_edit_keeps_the_last_good_people_and_is_logged_once(file: Path) -> None:
    """A typing mistake locks nobody out, and says so in the log."""
    identities = Identities.load(file)
    file.write_text("people: [")
    with capture_logs() as logs:
        assert identities.by_token(SecretStr(OPERATOR)) is not None
        assert identities.by_token(SecretStr(OPERATOR)) is not None
    assert [entry["log_level"] for entry in logs] == ["error"]
    assert str(file) in logs[0]["why"]


def test_a_mended_edit_counts_again(file: Path) -> None:
    """After a broken edit the next good one is read."""
    identities = Identities.load(file)
    file.unlink()
    assert identities.get("operator") is not None
    write(file, person("newcomer", "n" * 43))
    assert [p.id for p in identities.people()] == ["newcomer"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("people: [", "identities.yaml:2"),
        ("people:\n  - id: Operator\n    name: X\n", "identities.yaml:2"),
        ("people:\n  - id: op\n    name: X\n    gruops: [a]\n", "identities.yaml:4"),
        ("people:\n  - id: op\n    name: X\n    token_digest: my-token-in-clear\n", "yaml:4"),
        ("people:\n  - {id: op, name: X}\n  - {id: op, name: Y}\n", "identities.yaml:3"),
        ("version: '2'\npeople: []\n", "identities.yaml:1"),
    ],
)
def test_a_wrong_file_is_refused_at_its_line(tmp_path: Path, text: str, says: str) -> None:
    """The message names file and line, and never repeats what could be a token."""
    file = tmp_path / "identities.yaml"
    file.write_text(text)
    with pytest.raises(InvalidSettings) as refused:
        Identities.load(file)
    assert says in refused.value.message
    assert "my-token-in-clear" not in refused.value.message


def test_two_people_cannot_share_a_token(tmp_path: Path) -> None:
    """One token would otherwise be able to approve twice."""
    file = write(tmp_path / "i.yaml", person("one", "t" * 43), person("two", "t" * 43))
    with pytest.raises(InvalidSettings, match="token_digest"):
        Identities.load(file)


def test_a_file_that_everybody_can_write_is_refused(file: Path) -> None:
    """Otherwise anybody on the machine could make themselves an approver."""
    file.chmod(0o666)
    with pytest.raises(InvalidSettings, match="chmod 600"):
        Identities.load(file)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    """The message names the file and the command that writes a first one."""
    with pytest.raises(InvalidSettings, match="goalkeeper up"):
        Identities.load(tmp_path / "identities.yaml")
