"""In whose name the client speaks."""

from pathlib import Path

import pytest

from goalkeeper.client.people import find_token, known_people, local_user, needs_person
from goalkeeper.domain.errors import InvalidSettings
from goalkeeper.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An installation with two people's tokens."""
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / "developer").write_text("token-of-developer\n")
    (tmp_path / "tokens" / "operator").write_text("token-of-operator\n")
    return Settings(state=tmp_path)


@pytest.mark.parametrize(
    ("given", "environ", "found"),
    [
        ({}, {}, None),
        ({"as_person": "operator"}, {}, "token-of-operator"),
        ({}, {"GOALKEEPER_TOKEN": "from-environment"}, "from-environment"),
        ({}, {"GOALKEEPER_AS": "developer"}, "token-of-developer"),
        ({"as_person": "operator"}, {"GOALKEEPER_TOKEN": "x"}, "token-of-operator"),
        ({}, {"GOALKEEPER_TOKEN": "x", "GOALKEEPER_AS": "developer"}, "x"),
        ({"token": "given", "as_person": "operator"}, {"GOALKEEPER_TOKEN": "x"}, "given"),
    ],
)
def test_the_nearer_source_of_a_token_wins(
    settings: Settings, given: dict[str, str], environ: dict[str, str], found: str | None
) -> None:
    """Argument, then person, then environment."""
    token = find_token(
        settings, token=given.get("token"), as_person=given.get("as_person"), environ=environ
    )
    assert (token.get_secret_value() if token else None) == found


@pytest.mark.parametrize("person", ["nobody", "../tokens/operator", "/etc/passwd", "."])
def test_a_person_without_a_token_here_is_refused_by_name(settings: Settings, person: str) -> None:
    """The message lists who there is; a path is not a person."""
    with pytest.raises(InvalidSettings, match="developer, operator"):
        find_token(settings, as_person=person, environ={})


def test_a_token_is_not_in_the_text_of_what_holds_it(settings: Settings) -> None:
    """It may end up in a log line or a traceback otherwise."""
    assert "token-of" not in repr(find_token(settings, as_person="operator", environ={}))


def test_without_a_person_the_local_user_is_only_a_claim() -> None:
    """Nobody can take the name for a proven one: no person's id has a colon."""
    assert local_user().startswith("unverified:")


def test_whoever_must_say_who_they_are_is_told_how(settings: Settings, tmp_path: Path) -> None:
    """With the people of this installation, where there are some."""
    assert "developer, operator" in needs_person(settings).message
    assert known_people(Settings(state=tmp_path / "empty")) == []
    assert "GOALKEEPER_TOKEN" in needs_person(Settings(state=tmp_path / "empty")).message
