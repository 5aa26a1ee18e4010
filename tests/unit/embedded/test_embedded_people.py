from pathlib import Path

from pydantic import SecretStr

from goalkeeper.embedded.people import ensure_people
from goalkeeper.identities import Identities


def test_the_first_people_can_sign_in_with_the_tokens_that_were_written(tmp_path: Path) -> None:
    """A developer and an operator, each in the group of that name."""
    assert ensure_people(tmp_path / "identities.yaml", tmp_path / "tokens")
    people = Identities.load(tmp_path / "identities.yaml")
    for name, group in (("developer", "developers"), ("operator", "operators")):
        file = tmp_path / "tokens" / name
        assert file.stat().st_mode & 0o777 == 0o600
        person = people.by_token(SecretStr(file.read_text().strip()))
        assert person is not None
        assert person.id == name
        assert person.groups == (group,)


def test_the_identities_file_holds_no_token(tmp_path: Path) -> None:
    """Only digests."""
    ensure_people(tmp_path / "identities.yaml", tmp_path / "tokens")
    text = (tmp_path / "identities.yaml").read_text()
    assert (tmp_path / "tokens" / "operator").read_text().strip() not in text


def test_an_identities_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    """A second start neither changes people nor writes tokens."""
    (tmp_path / "identities.yaml").write_text("mine")
    assert not ensure_people(tmp_path / "identities.yaml", tmp_path / "tokens")
    assert (tmp_path / "identities.yaml").read_text() == "mine"
    assert not (tmp_path / "tokens").exists()
