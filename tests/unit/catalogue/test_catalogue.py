import os
from pathlib import Path

import pytest

from goalkeeper.catalogue import Catalogue
from goalkeeper.domain.errors import InvalidContract, InvalidSettings, NotFound
from goalkeeper.settings import load_settings

TEXT = "name: {name}\ntasks:\n  - id: one\n    uses: note.take\n"


def write(folder: Path, name: str, text: str | None = None, suffix: str = ".yaml") -> Path:
    """A contract file."""
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}{suffix}"
    file.write_text(text if text is not None else TEXT.format(name=name))
    return file


def test_knows_the_shipped_contracts() -> None:
    """They come with the package."""
    assert {"read-file", "deploy-branch"} <= set(Catalogue().names())


def test_finds_contracts_in_the_folders_of_the_settings(tmp_path: Path) -> None:
    """Besides the shipped ones, and with either ending."""
    write(tmp_path / "a", "mine")
    write(tmp_path / "b", "yours", suffix=".yml")
    settings = load_settings(
        tmp_path, environ={}, contracts=(str(tmp_path / "a"), str(tmp_path / "b"))
    )
    catalogue = Catalogue.load(settings)
    assert catalogue.find("mine").contract.tasks[0].id == "one"
    assert catalogue.find("yours").file == tmp_path / "b" / "yours.yml"
    assert "read-file" in catalogue.names()


def test_suggests_the_name_that_was_meant() -> None:
    """A typing mistake costs one look."""
    with pytest.raises(NotFound, match="did you mean 'deploy-branch'"):
        Catalogue().find("deploy-brnch")
    with pytest.raises(NotFound, match="known: deploy-branch, promote-branch, read-file"):
        Catalogue().find("xyzzy")


@pytest.mark.parametrize("name", ["../secrets", "/etc/passwd", "", "a/b", "x" * 5000])
def test_a_name_is_never_a_path(name: str, tmp_path: Path) -> None:
    """Names are looked up, not opened."""
    write(tmp_path, "secrets")
    (tmp_path / "sub").mkdir()
    with pytest.raises(NotFound) as refused:
        Catalogue([tmp_path / "sub"]).find(name)
    assert len(refused.value.message) < 300


def test_refuses_two_contracts_of_one_name(tmp_path: Path) -> None:
    """Nothing shadows another silently, least of all a shipped one."""
    write(tmp_path, "read-file")
    with pytest.raises(InvalidContract, match="two contracts are called 'read-file'"):
        Catalogue([tmp_path]).find("read-file")


def test_refuses_a_name_that_differs_from_the_files(tmp_path: Path) -> None:
    """What is found under a name is what says that name."""
    write(tmp_path, "mine", TEXT.format(name="yours"))
    with pytest.raises(InvalidContract, match=r"mine\.yaml:1:7: the name must be .* 'mine'"):
        Catalogue([tmp_path]).find("mine")


def test_a_broken_contract_spoils_no_other(tmp_path: Path) -> None:
    """Only who asks for it hears of it."""
    write(tmp_path, "broken", "name: [\n")
    write(tmp_path, "whole")
    catalogue = Catalogue([tmp_path])
    assert catalogue.find("whole").contract.name == "whole"
    with pytest.raises(InvalidContract, match=r"broken\.yaml:\d+:\d+"):
        catalogue.find("broken")


def test_an_edited_contract_counts_from_the_next_look(tmp_path: Path) -> None:
    """Nobody restarts a worker for it."""
    file = write(tmp_path, "mine")
    catalogue = Catalogue([tmp_path])
    assert catalogue.find("mine").contract.description == ""
    file.write_text(TEXT.format(name="mine") + "description: new\n")
    os.utime(file, ns=(1, 1))
    assert catalogue.find("mine").contract.description == "new"


def test_names_a_folder_that_is_missing(tmp_path: Path) -> None:
    """A misspelt folder is not an empty one."""
    with pytest.raises(InvalidSettings, match="cannot read the contracts folder"):
        Catalogue([tmp_path / "missing"]).names()


def test_names_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A broken link, for example."""
    (tmp_path / "mine.yaml").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InvalidContract, match="cannot read the contract"):
        Catalogue([tmp_path]).find("mine")
