"""Where a policy's text comes from: a file, a phase of the library, or the shipped default.

It reads text and judges nothing.
"""

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from goalkeeper.domain.errors import InvalidSettings
from goalkeeper.domain.problems import did_you_mean

PHASE = "phase:"
"""In settings, what stands before the name of a shipped phase."""
PHASES = ("read-only", "non-critical-writes", "production")
"""A rollout's steps, in the order in which they are taken."""
_SHIPPED = "policy.cedar"


def read_policy(source: Path | None) -> tuple[str, str]:
    """The text of a policy, and how messages call it.

    Args:
        source: a file, ``phase:NAME``, or None for the shipped policy.

    Raises:
        InvalidSettings: the file cannot be read, or there is no such phase.
    """
    phase = _phase(source)
    if source is None:
        return _library(_SHIPPED).read_text(), _SHIPPED
    if phase is not None:
        return _library(f"policies/{phase}.cedar").read_text(), f"{phase}.cedar"
    try:
        return source.read_text(), str(source)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"cannot read the policy file '{source}': {error}") from None


def read_cases_text(source: Path | None, cases: Path | None) -> tuple[bytes, str]:
    """The cases of a policy, and how messages call their file.

    Args:
        source: the policy, as for `read_policy`.
        cases: the cases; else those beside the policy, which end in ``.cases.yaml`` in place of
            ``.cedar``.

    Raises:
        InvalidSettings: the file cannot be read, or there is no such phase.
    """
    found = cases or _cases_beside(source)
    try:
        return found.read_bytes(), str(found) if isinstance(found, Path) else found.name
    except OSError as error:
        raise InvalidSettings(
            f"cannot read the cases '{found}': {error.strerror}. Write some, or name a file of "
            "them with --cases; `goalkeeper policy test phase:read-only` shows how it looks."
        ) from None


def _cases_beside(source: Path | None) -> Path | Traversable:
    phase = _phase(source)
    if source is None:
        return _library("policy.cases.yaml")
    if phase is not None:
        return _library(f"policies/{phase}.cases.yaml")
    return source.with_suffix(".cases.yaml")


def _phase(source: Path | None) -> str | None:
    """The phase that is meant, if one is.

    Raises:
        InvalidSettings: there is no such phase.
    """
    text = str(source)
    if source is None or not text.startswith(PHASE):
        return None
    name = text.removeprefix(PHASE)
    if name not in PHASES:
        hint = did_you_mean(name, PHASES, known_as="phases")
        raise InvalidSettings(f"there is no phase '{name}' to take policy from{hint}")
    return name


def _library(name: str) -> Traversable:
    return files("goalkeeper.library").joinpath(name)
