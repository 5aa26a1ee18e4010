"""A scratch clone: what the git connector asks of a repository, on top of `connectors.gitcli`.

It keeps nothing: the folder goes when the attempt ends, and it never pushes with force.
"""

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from connectors.gitcli import Finished, GitCli, last_words
from goalkeeper.domain.errors import (
    Conflict,
    CredentialDenied,
    InvalidGoal,
    NotFound,
    OperationFailed,
)

_NO_BLOBS = "--filter=blob:none"
_MOVED = (
    "fetch first",
    "non-fast-forward",
    "stale info",
    "cannot lock ref",
    "failed to update ref",
    "incorrect old value",
)


@dataclass(frozen=True)
class Commit:
    """One commit as the log shows it."""

    id: str
    parents: tuple[str, ...]
    trailers: dict[str, str]
    subject: str


@dataclass(frozen=True)
class Merged:
    """The tree of a merge, or the files that stand against it."""

    tree: str
    conflicts: tuple[str, ...]


class Clone:
    """One bare scratch repository whose ``origin`` is the real one."""

    def __init__(self, cli: GitCli, folder: Path, repository: str, token: SecretStr | None) -> None:
        self._cli = cli
        self._folder = folder
        self._repository = repository
        self._token = token

    async def git(
        self, *arguments: str, limit: int = 16 * 1024 * 1024, accept: Sequence[int] = (0,)
    ) -> Finished:
        """Run git here; see `GitCli.run`."""
        return await self._cli.run(
            self._folder,
            *arguments,
            repository=self._repository,
            token=self._token,
            limit=limit,
            accept=accept,
        )

    async def fetch_one(self, ref: str, *, blobs: bool) -> str:
        """Get the newest state of a branch, tag or commit without its history.

        Raises:
            NotFound: the repository has nothing of that name.
        """
        filters = () if blobs else (_NO_BLOBS,)
        await self.git("fetch", "--quiet", "--no-tags", "--depth=1", *filters, "--", "origin", ref)
        return (await self.git("rev-parse", "--verify", "FETCH_HEAD^{commit}")).text

    async def fetch_branches(self, *branches: str) -> dict[str, str]:
        """Get those of the branches that exist, with history; answer their heads."""
        wanted = [f"refs/heads/{branch}" for branch in branches]
        listed = (await self.git("ls-remote", "--", "origin", *wanted)).text
        # ls-remote matches the end of names too; only the whole name counts.
        found = [
            line.split("\t")[1] for line in listed.splitlines() if line.split("\t")[1] in wanted
        ]
        if not found:
            return {}
        specs = [f"+{name}:{name}" for name in found]
        await self.git("fetch", "--quiet", "--no-tags", _NO_BLOBS, "--", "origin", *specs)
        return {
            name.removeprefix("refs/heads/"): (await self.git("rev-parse", "--verify", name)).text
            for name in found
        }

    async def contains(self, descendant: str, ancestor: str) -> bool:
        """Whether `ancestor` is in the history of `descendant`; false when nobody knows it."""
        try:
            asked = await self.git(
                "merge-base", "--is-ancestor", ancestor, descendant, accept=(0, 1)
            )
        except NotFound:
            return False
        return asked.code == 0

    async def log(self, revisions: str, *flags: str) -> list[Commit]:
        """Commits with their parents and our trailers, newest first."""
        trailers = "%(trailers:only,unfold,separator=%x1f)"
        shown = await self.git(
            "log", "-z", f"--format=%H%x1e%P%x1e%s%x1e{trailers}", *flags, revisions, "--"
        )
        return [_commit(entry) for entry in shown.text.split("\0") if entry]

    async def merge(self, ours: str, theirs: str) -> Merged:
        """Merge two commits without a working tree."""
        done = await self.git(
            "merge-tree",
            "--write-tree",
            "--name-only",
            "--no-messages",
            "-z",
            ours,
            theirs,
            accept=(0, 1),
        )
        tree, *files = [part for part in done.stdout.decode("utf-8", "replace").split("\0") if part]
        return Merged(tree, tuple(dict.fromkeys(files)) if done.code else ())

    async def changed(self, before: str, after: str) -> list[str]:
        """The files in which two commits or trees differ."""
        listed = await self.git("diff", "--name-only", "--no-renames", "-z", before, after, "--")
        return [f for f in listed.stdout.decode("utf-8", "replace").split("\0") if f]

    async def tree(self, commit: str) -> str:
        """The id of a commit's tree."""
        return (await self.git("rev-parse", "--verify", f"{commit}^{{tree}}")).text

    async def commit(self, tree: str, parents: Sequence[str], message: str) -> str:
        """Make a commit; nobody sees it before it is pushed."""
        flags = [flag for parent in parents for flag in ("-p", parent)]
        return (await self.git("commit-tree", tree, *flags, "-m", message)).text

    async def push(self, commit: str, branch: str) -> bool:
        """Move a branch of the real repository forward; false when it has moved meanwhile.

        Raises:
            CredentialDenied: the token may not write.
            OperationFailed: the host refuses, for example since the branch is protected.
        """
        spec = f"{commit}:refs/heads/{branch}"
        pushed = await self.git(
            "push", "--porcelain", "--no-verify", "--", "origin", spec, accept=(0, 1)
        )
        if pushed.code == 0:
            return True
        refused = [line for line in pushed.text.splitlines() if line.startswith("!")]
        reason = refused[0].rpartition("\t")[2] if refused else ""
        if any(words in reason for words in _MOVED):
            return False
        if "error: 403" in pushed.stderr or "error: 401" in pushed.stderr:
            raise CredentialDenied(f"the credential may not push to '{self._repository}'")
        raise OperationFailed(
            f"'{self._repository}' refused the push to '{branch}': "
            f"{last_words(reason or pushed.stderr)}"
        )

    async def blob(self, commit: str, path: str, limit: int) -> bytes:
        """The bytes of one regular file at a commit.

        Raises:
            NotFound: there is no such path.
            InvalidGoal: it is a folder, a link or a submodule, or larger than `limit` bytes.
        """
        listed = (await self.git("ls-tree", "-z", "--full-tree", commit, "--", path)).text
        if not listed:
            raise NotFound(f"'{self._repository}' has no file '{path}' at commit {commit}")
        mode, kind, rest = listed.split("\0")[0].split(" ", 2)
        if kind != "blob" or mode == "120000":
            raise InvalidGoal(f"'{path}' is not a regular file; name a file to read")
        blob = rest.split("\t")[0]
        size = int((await self.git("cat-file", "-s", blob)).text)
        if size > limit:
            raise InvalidGoal(
                f"file '{path}' has {size} bytes, and at most {limit} can be read; "
                "name a smaller file"
            )
        return (await self.git("cat-file", "blob", blob)).stdout

    async def archive(self, commit: str, path: str, limit: int) -> bytes:
        """A tar of a folder at a commit, its names relative to that folder."""
        at = f"{commit}:{path}" if path else commit
        kind = await self.git("cat-file", "-t", at, accept=(0, 128))
        if kind.code or kind.text not in ("tree", "commit"):
            raise NotFound(f"'{self._repository}' has no folder '{path}' at commit {commit}")
        return (await self.git("archive", "--format=tar", at, limit=limit)).stdout

    def moved(self, branch: str, expected: str, found: str) -> Conflict:
        """The error for a branch that is not where it was looked at."""
        return Conflict(
            f"branch '{branch}' moved: it was at {expected} when it was looked at and is now at "
            f"{found}, so what was approved is not what would be merged. Submit the goal again."
        )


@asynccontextmanager
async def cloned(cli: GitCli, repository: str, token: SecretStr | None) -> AsyncIterator[Clone]:
    """A scratch clone that is removed however the attempt ends.

    Raises:
        InvalidGoal: the address may not be used.
        PolicyDenied: the host is not allowed.
    """
    cli.check(repository)
    with tempfile.TemporaryDirectory(prefix="goalkeeper-git-", ignore_cleanup_errors=True) as name:
        clone = Clone(cli, Path(name), repository, token)
        await clone.git("init", "--quiet", "--bare", "--template=", ".")
        yield clone


def _commit(entry: str) -> Commit:
    sha, parents, subject, trailers = entry.strip("\n").split("\x1e", 3)
    pairs = [line.partition(": ") for line in trailers.split("\x1f") if line]
    return Commit(
        sha, tuple(parents.split()), {key: value.strip() for key, _, value in pairs}, subject
    )
