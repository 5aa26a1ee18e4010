"""Operations on git repositories: read a file, describe a branch, merge it, take the merge back.

It says what a merge means here; how git is run belongs to `connectors.gitcli` and
`connectors.gitrepo`. A merge carries a trailer with its idempotency key, so that a repeated call
finds what the first one did.
"""

import asyncio
import random

from pydantic import SecretStr

from connectors.base import (
    CANNOT_TELL,
    DID_NOT_HAPPEN,
    ServiceConnector,
    happened,
    operations,
)
from connectors.git_models import (
    BranchDescribed,
    BranchMerged,
    DescribeBranch,
    FileRead,
    MergeBranch,
    MergeReverted,
    ReadFile,
    RevertMerge,
    check_path,
    check_repository,
    undo_merge,
)
from connectors.gitcli import MIB, GitCli
from connectors.gitrepo import Clone, Commit, cloned
from goalkeeper.contracts.connector import OperationCall, Reconciliation
from goalkeeper.domain.credential import Credentials
from goalkeeper.domain.errors import Conflict, InvalidGoal, NotFound, ServiceUnavailable
from goalkeeper.domain.operation import Compensation, Operation, Risk
from goalkeeper.settings import Settings

READ_LIMIT = 256 * 1024
EXPORT_LIMIT = 256 * MIB
KEY_TRAILER = "Goalkeeper-Key"
REVERTS_TRAILER = "Goalkeeper-Reverts"
_FILES_SHOWN = 100
_SUBJECTS_SHOWN = 5
_PUSHES = 5


class GitConnector(ServiceConnector):
    """Git over https, through the git command."""

    service = "git"
    operations = operations(
        "git",
        Operation(
            name="git.read_file",
            summary="Read a text file of a repository",
            inputs=ReadFile,
            outputs=FileRead,
            risk=Risk.READ,
            idempotent=True,
            credentials=("token",),
        ),
        Operation(
            name="git.describe_branch",
            summary="Say what merging a branch would bring",
            inputs=DescribeBranch,
            outputs=BranchDescribed,
            risk=Risk.READ,
            idempotent=True,
            credentials=("token",),
        ),
        Operation(
            name="git.merge_branch",
            summary="Merge a branch, if it is still at the commit that was looked at",
            inputs=MergeBranch,
            outputs=BranchMerged,
            risk=Risk.WRITE,
            idempotent=True,
            credentials=("token",),
            compensation=Compensation("git.revert_merge", undo_merge),
        ),
        Operation(
            name="git.revert_merge",
            summary="Take a merge back with a new commit",
            inputs=RevertMerge,
            outputs=MergeReverted,
            risk=Risk.WRITE,
            idempotent=True,
            credentials=("token",),
        ),
    )

    def __init__(self, settings: Settings) -> None:
        self._cli = GitCli(hosts=settings.git_hosts, allow_file=settings.git_allow_file)

    async def export(
        self, repository: str, commit: str, path: str, token: SecretStr | None
    ) -> bytes:
        """The source at a commit as a tar, for sandboxes and images.

        Raises:
            InvalidGoal: the address or the path may not be used.
            NotFound: there is no such repository, commit or folder.
        """
        try:
            check_repository(repository)
            if path:
                check_path(path)
        except ValueError as error:
            raise InvalidGoal(f"cannot export from the repository: {error}") from None
        async with cloned(self._cli, repository, token) as clone:
            found = await clone.fetch_one(commit, blobs=True)
            return await clone.archive(found, path, EXPORT_LIMIT)

    async def read_file(self, call: OperationCall, credentials: Credentials) -> FileRead:
        """Read one text file of at most 256 KiB."""
        inputs: ReadFile = call.inputs
        async with cloned(self._cli, inputs.repository, credentials.get("token")) as clone:
            commit = await clone.fetch_one(inputs.ref, blobs=False)
            raw = await clone.blob(commit, inputs.path, READ_LIMIT)
        try:
            content = raw.decode()
        except UnicodeDecodeError:
            content = "\0"
        if "\0" in content:
            raise InvalidGoal(f"file '{inputs.path}' is not UTF-8 text; only text can be read")
        return FileRead(content=content, commit=commit, size=len(raw))

    async def describe_branch(
        self, call: OperationCall, credentials: Credentials
    ) -> BranchDescribed:
        """Compare a branch with its base."""
        inputs: DescribeBranch = call.inputs
        async with cloned(self._cli, inputs.repository, credentials.get("token")) as clone:
            heads = await clone.fetch_branches(inputs.base, inputs.branch)
            base = _head(heads, inputs.base, inputs.repository)
            head = _head(heads, inputs.branch, inputs.repository)
            commits = await clone.log(f"{base}..{head}")
            behind = await clone.git("rev-list", "--count", f"{head}..{base}")
            merged = await clone.merge(base, head)
            changed = await clone.git(
                "diff", "--name-only", "--no-renames", "-z", base, merged.tree
            )
        files = [f for f in changed.stdout.decode("utf-8", "replace").split("\0") if f]
        return BranchDescribed(
            commit=head,
            base_commit=base,
            branch=inputs.branch,
            base=inputs.base,
            ahead=len(commits),
            behind=int(behind.text),
            changed_files=tuple(_printable(f) for f in files[:_FILES_SHOWN]),
            changed_count=len(files),
            summary=_summary(commits, len(files), merged.conflicts),
            mergeable=not merged.conflicts,
        )

    async def merge_branch(self, call: OperationCall, credentials: Credentials) -> BranchMerged:
        """Merge, or find what an earlier attempt with the same key merged."""
        inputs: MergeBranch = call.inputs
        if inputs.branch == inputs.base:
            raise InvalidGoal(f"branch '{inputs.branch}' cannot be merged into itself")
        for attempt in range(_PUSHES):
            await _spread(attempt)
            async with cloned(self._cli, inputs.repository, credentials.get("token")) as clone:
                done = await _merge_once(clone, inputs, call)
            if done is not None:
                return done
        raise _contended(inputs.base)

    async def revert_merge(self, call: OperationCall, credentials: Credentials) -> MergeReverted:
        """Take a merge back by a commit on top, or find the one that did."""
        inputs: RevertMerge = call.inputs
        for attempt in range(_PUSHES):
            await _spread(attempt)
            async with cloned(self._cli, inputs.repository, credentials.get("token")) as clone:
                done = await _revert_once(clone, inputs, call)
            if done is not None:
                return done
        raise _contended(inputs.base)

    async def look_for_merge_branch(
        self, call: OperationCall, credentials: Credentials
    ) -> Reconciliation:
        """Whether the base holds our merge."""
        inputs: MergeBranch = call.inputs
        async with cloned(self._cli, inputs.repository, credentials.get("token")) as clone:
            heads = await clone.fetch_branches(inputs.base)
            if inputs.base not in heads:
                return CANNOT_TELL
            done = await _merged_before(clone, heads[inputs.base], inputs, call)
        return happened(done) if done else DID_NOT_HAPPEN

    async def look_for_revert_merge(
        self, call: OperationCall, credentials: Credentials
    ) -> Reconciliation:
        """Whether the base holds a commit that takes the merge back."""
        inputs: RevertMerge = call.inputs
        async with cloned(self._cli, inputs.repository, credentials.get("token")) as clone:
            heads = await clone.fetch_branches(inputs.base)
            if inputs.base not in heads:
                return CANNOT_TELL
            done = await _reverted_before(clone, heads[inputs.base], inputs)
        return happened(done) if done else DID_NOT_HAPPEN


async def _merged_before(
    clone: Clone, base: str, inputs: MergeBranch, call: OperationCall
) -> BranchMerged | None:
    """What an earlier attempt with the same key merged."""
    for commit in await _carrying(clone, base, KEY_TRAILER, call.key):
        if commit.parents[1:] == (inputs.expected_commit,):
            return BranchMerged(commit=commit.id, base_before=commit.parents[0], merged=True)
    return None


async def _reverted_before(clone: Clone, base: str, inputs: RevertMerge) -> MergeReverted | None:
    """The commit that took the merge back, if there is one."""
    for commit in await _carrying(clone, base, REVERTS_TRAILER, inputs.merge_commit):
        return MergeReverted(commit=commit.id, reverted=True)
    return None


async def _merge_once(
    clone: Clone, inputs: MergeBranch, call: OperationCall
) -> BranchMerged | None:
    heads = await clone.fetch_branches(inputs.base, inputs.branch)
    base = _head(heads, inputs.base, inputs.repository)
    # Looked for first: after a lost attempt the branch may have moved on, or be gone.
    done = await _merged_before(clone, base, inputs, call)
    if done is not None:
        return done
    head = _head(heads, inputs.branch, inputs.repository)
    if head != inputs.expected_commit:
        raise clone.moved(inputs.branch, inputs.expected_commit, head)
    if await clone.contains(base, head):
        return await _already_in(clone, base, head)
    merged = await clone.merge(base, head)
    if merged.conflicts:
        raise _conflicting(
            f"'{inputs.branch}' does not merge into '{inputs.base}'", merged.conflicts
        )
    message = f"{inputs.message}\n\n{KEY_TRAILER}: {call.key}"
    commit_id = await clone.commit(merged.tree, (base, head), message)
    call.log(f"merging {inputs.branch} at {head} into {inputs.base} at {base} as {commit_id}\n")
    if not await clone.push(commit_id, inputs.base):
        call.log(f"{inputs.base} moved meanwhile; trying again\n")
        return None
    return BranchMerged(commit=commit_id, base_before=base, merged=True)


async def _already_in(clone: Clone, base: str, head: str) -> BranchMerged:
    """How the base came to hold `head` without us."""
    after = {commit.id for commit in await clone.log(f"{head}..{base}", "--ancestry-path")}
    line = await clone.log(f"{head}..{base}", "--first-parent")
    path = [commit for commit in line if commit.id in after]
    if not path or path[-1].parents[0] == head:
        return BranchMerged(commit=head, base_before=base, merged=False)
    return BranchMerged(commit=path[-1].id, base_before=path[-1].parents[0], merged=False)


async def _revert_once(
    clone: Clone, inputs: RevertMerge, call: OperationCall
) -> MergeReverted | None:
    heads = await clone.fetch_branches(inputs.base)
    base = _head(heads, inputs.base, inputs.repository)
    done = await _reverted_before(clone, base, inputs)
    if done is not None:
        return done
    if not inputs.merged or not await clone.contains(base, inputs.merge_commit):
        return MergeReverted(commit=base, reverted=False)
    (merge,) = await clone.log(inputs.merge_commit, "--max-count=1")
    if len(merge.parents) != 2 or merge.parents[0] != inputs.base_before:
        raise Conflict(
            f"commit {inputs.merge_commit} is not a merge on top of {inputs.base_before}; "
            "look at the repository's history and revert by hand"
        )
    # The tree before, as a child of the merge: merging that takes the merge back and keeps what
    # came later. `git revert` would want a working tree, `--merge-base` a newer git.
    before = await clone.commit(
        await clone.tree(inputs.base_before), (inputs.merge_commit,), "before"
    )
    merged = await clone.merge(base, before)
    if merged.conflicts:
        raise _conflicting(f"merge {inputs.merge_commit} cannot be taken back", merged.conflicts)
    if merged.tree == await clone.tree(base):
        return MergeReverted(commit=base, reverted=False)
    text = inputs.message or f'Revert "{merge.subject}"'
    message = f"{text}\n\n{REVERTS_TRAILER}: {inputs.merge_commit}\n{KEY_TRAILER}: {call.key}"
    commit_id = await clone.commit(merged.tree, (base,), message)
    call.log(f"taking back merge {inputs.merge_commit} of {inputs.base} by {commit_id}\n")
    if not await clone.push(commit_id, inputs.base):
        return None
    return MergeReverted(commit=commit_id, reverted=True)


async def _carrying(clone: Clone, head: str, trailer: str, value: str) -> list[Commit]:
    """Commits made on the branch itself (not merged into it) that carry the trailer.

    Whoever pushes to a feature branch can write trailers too; the first-parent line is ours.
    """
    flags = ("--first-parent", "--fixed-strings", f"--grep={trailer}: {value}")
    found = await clone.log(head, *flags)
    return [commit for commit in found if commit.trailers.get(trailer) == value]


def _head(heads: dict[str, str], branch: str, repository: str) -> str:
    if branch not in heads:
        raise NotFound(f"'{repository}' has no branch '{branch}'; check its name")
    return heads[branch]


def _conflicting(what: str, files: tuple[str, ...]) -> Conflict:
    shown = ", ".join(f"'{f}'" for f in files[:20])
    more = f" and {len(files) - 20} more" if len(files) > 20 else ""
    return Conflict(f"{what}: both sides changed {shown}{more}. Resolve that, then submit again.")


def _contended(base: str) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"branch '{base}' moved under each of {_PUSHES} attempts to push; retrying may help"
    )


async def _spread(attempt: int) -> None:
    """Wait a little before another attempt, each writer differently."""
    if attempt:
        await asyncio.sleep(random.uniform(0.05, 0.2) * 2**attempt)  # noqa: S311 - jitter


def _summary(commits: list[Commit], files: int, conflicts: tuple[str, ...]) -> str:
    subjects = "; ".join(_printable(commit.subject[:100]) for commit in commits[:_SUBJECTS_SHOWN])
    more = "; …" if len(commits) > _SUBJECTS_SHOWN else ""
    against = f" It conflicts in {len(conflicts)} file(s)." if conflicts else ""
    if not commits:
        return "Nothing to merge: the base has every commit of the branch."
    return f"{len(commits)} commit(s) change {files} file(s): {subjects}{more}.{against}"


def _printable(text: str) -> str:
    """Whoever writes a branch chooses its texts; terminals and cards show them."""
    return "".join(c if c.isprintable() else "�" for c in text)
