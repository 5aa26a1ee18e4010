"""What the operations on git take and answer, with the rules for addresses, refs and paths.

Data alone: what a merge is belongs to `connectors.git`.
"""

from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from goalkeeper.domain.base import Json, Model

_FORBIDDEN = set(" ~^:?*[\\") | {chr(c) for c in range(32)} | {chr(127)}


def check_repository(value: str) -> str:
    """The address, if it may be recorded."""
    if value.startswith("-") or any(c.isspace() or not c.isprintable() for c in value):
        raise ValueError("must be the address of a repository, without spaces")
    if "@" in value.partition("://")[2].partition("/")[0]:
        # What it holds would stand in every record of the goal.
        raise ValueError("must not hold a user name or token; give the task a credential instead")
    return value


def _ref(value: str) -> str:
    """The rules of ``git check-ref-format``, and no leading dash or plus."""
    parts = value.split("/")
    if (
        set(value) & _FORBIDDEN
        or value.startswith(("-", "+"))
        or value == "@"
        or value.endswith(".")
        or ".." in value
        or "@{" in value
        or any(not p or p.startswith(".") or p.endswith(".lock") for p in parts)
    ):
        raise ValueError(f"'{value}' is not a name that git allows for a branch or tag")
    return value


def check_path(value: str) -> str:
    """The path, if it stays inside the repository."""
    if (
        value.startswith(("/", "-", ":"))
        or "\0" in value
        or {".", "..", ""} & set(value.split("/"))
    ):
        raise ValueError("must be a path inside the repository, such as 'docs/index.md'")
    return value


def _message(value: str) -> str:
    if any(line.lower().startswith("goalkeeper-") for line in value.splitlines()):
        raise ValueError("must not hold a line that starts with 'Goalkeeper-'")
    return value


Repository = Annotated[
    str, StringConstraints(min_length=1, max_length=1000), AfterValidator(check_repository)
]
"""An https address; http on this machine."""
Ref = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_ref)]
"""A branch, a tag or a whole commit id."""
Path = Annotated[str, StringConstraints(min_length=1, max_length=1000), AfterValidator(check_path)]
CommitId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]
Message = Annotated[
    str,
    StringConstraints(min_length=1, max_length=4000, strip_whitespace=True),
    AfterValidator(_message),
]


class ReadFile(Model):
    """Which file."""

    repository: Repository
    ref: Ref = "HEAD"
    path: Path


class FileRead(Model):
    """A text file."""

    content: str
    commit: CommitId
    size: int
    """Bytes."""


class DescribeBranch(Model):
    """Which branch, and against what."""

    repository: Repository
    branch: Ref
    base: Ref = "main"


class BranchDescribed(Model):
    """What merging the branch would bring."""

    commit: CommitId
    """The branch's head: give it to `git.merge_branch` as `expected_commit`."""
    base_commit: CommitId
    branch: str
    base: str
    ahead: int
    """Commits that the base does not have."""
    behind: int
    """Commits of the base that the branch does not have."""
    changed_files: tuple[str, ...]
    """The first 100."""
    changed_count: int
    """How many files change in all."""
    summary: str
    mergeable: bool


class MergeBranch(Model):
    """What to merge into what."""

    repository: Repository
    branch: Ref
    base: Ref = "main"
    expected_commit: CommitId
    """The branch's head as it was looked at; another head is a conflict."""
    message: Message


class BranchMerged(Model):
    """The merge, or how the commit had come in before."""

    commit: CommitId
    """The commit that brought the branch into the base."""
    base_before: CommitId
    merged: bool
    """False: the base held the commit already, and nothing was changed."""


class RevertMerge(Model):
    """Which merge to take back."""

    repository: Repository
    base: Ref = "main"
    merge_commit: CommitId
    base_before: CommitId
    """The merge's first parent."""
    merged: bool = True
    """What the merge answered; false means that there is nothing to take back."""
    message: Message | None = None


class MergeReverted(Model):
    """Where the base is now."""

    commit: CommitId
    """The commit that takes the merge back; the base's head where there was nothing to do."""
    reverted: bool


def undo_merge(inputs: MergeBranch, outputs: BranchMerged) -> dict[str, Json]:
    """The inputs of `git.revert_merge` for a merge."""
    return {
        "repository": inputs.repository,
        "base": inputs.base,
        "merge_commit": outputs.commit,
        "base_before": outputs.base_before,
        "merged": outputs.merged,
    }
