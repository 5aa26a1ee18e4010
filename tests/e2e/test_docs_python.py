"""The code in docs/python.md runs as it stands, against a running stack."""

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from goalkeeper.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
_BLOCK = re.compile(r"^```(python|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _blocks(language: str) -> list[str]:
    return [code for kind, code in _BLOCK.findall(PAGE.read_text()) if kind == language]


def _write_files(folder: Path) -> None:
    """Each YAML block under the name in its first line."""
    for text in _blocks("yaml"):
        (folder / text.splitlines()[0].removeprefix("# ")).write_text(text)


async def _run(code: str, names: dict[str, Any], place: int) -> None:
    """As ``python -m asyncio`` would: with ``await`` and ``async for`` at the top level."""
    compiled = compile(code, f"{PAGE.name}, block {place}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    running = eval(compiled, names)  # noqa: S307 - the page is ours
    if inspect.iscoroutine(running):
        await running


async def test_every_example_of_the_page_runs(
    stack: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In order, in one namespace, with the contract of the page in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOALKEEPER_STATE", str(stack.state))
    monkeypatch.delenv("GOALKEEPER_TOKEN", raising=False)
    monkeypatch.delenv("GOALKEEPER_AS", raising=False)
    _write_files(tmp_path)
    names: dict[str, Any] = {}
    for place, code in enumerate(_blocks("python"), start=1):
        await _run(code, names, place)
    printed = capsys.readouterr().out
    assert "greet-ada" in printed
    assert "Approved" in printed
    assert "Succeeded {'value': 'Hello Ada!'}" in printed
    assert "not today" in printed
