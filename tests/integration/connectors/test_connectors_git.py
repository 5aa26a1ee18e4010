import asyncio
import io
import os
import tarfile
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from connectors.git import GitConnector
from connectors.git_models import BranchDescribed, BranchMerged, FileRead, MergeReverted
from connectors.gitcli import GitCli
from connectors.gitrepo import Clone, cloned
from deploy.demo.repository import FEATURE, MAIN, NEW_GREETING, DemoRepository
from goalkeeper.domain.credential import Credentials
from goalkeeper.domain.errors import (
    Conflict,
    CredentialDenied,
    GoalkeeperError,
    InvalidGoal,
    NotFound,
    OperationFailed,
    PolicyDenied,
    ServiceUnavailable,
)
from goalkeeper.settings import Settings
from tests.integration.connectors.conftest import READ_TOKEN, WRITE_TOKEN, Call, free_port

Repository = tuple[DemoRepository, str]


async def merge(
    git: GitConnector, call: Call, repository: Repository, tokens: Credentials, **changed: str
) -> BranchMerged:
    """Merge the feature branch as it is, unless told otherwise."""
    bare, url = repository
    given = {
        "repository": url,
        "branch": FEATURE,
        "expected_commit": bare.head(FEATURE),
        "message": "Merge the greeting",
    } | changed
    result = await git.execute(call("git.merge_branch", task="merge", **given), tokens)
    assert isinstance(result.outputs, BranchMerged)
    return result.outputs


async def revert(
    git: GitConnector, call: Call, url: str, merged: BranchMerged, tokens: Credentials
) -> MergeReverted:
    """Take a merge back by the inputs that its compensation names."""
    operation = GitConnector.operations["git.merge_branch"]
    assert operation.compensation is not None
    done = call(
        "git.merge_branch",
        repository=url,
        branch=FEATURE,
        expected_commit="0" * 40,
        message="as before",
    )
    inputs = operation.compensation.inputs(done.inputs, merged)
    undo = call(operation.compensation.operation, task="merge", **inputs)
    result = await git.execute(undo, tokens)
    assert isinstance(result.outputs, MergeReverted)
    return result.outputs


class TestReadFile:
    """Reading one file."""

    async def test_a_file_is_read_with_the_commit_it_was_read_at(
        self, git: GitConnector, call: Call, repository: Repository, reader: Credentials
    ) -> None:
        """The content, its size and the whole commit id come back."""
        bare, url = repository
        result = await git.execute(
            call("git.read_file", repository=url, path="goalkeeper-app.json"), reader
        )
        assert isinstance(result.outputs, FileRead)
        assert result.outputs.commit == bare.head(MAIN)
        assert '"health_path": "/healthz"' in result.outputs.content
        assert result.outputs.size == len(result.outputs.content.encode())

    @pytest.mark.parametrize("by", ["branch", "commit", "ref"])
    async def test_a_ref_may_be_a_branch_or_a_commit(
        self, git: GitConnector, call: Call, repository: Repository, reader: Credentials, by: str
    ) -> None:
        """All of them lead to the same file."""
        bare, url = repository
        bare.feature()
        ref = {
            "branch": FEATURE,
            "commit": bare.head(FEATURE),
            "ref": f"refs/heads/{FEATURE}",
        }[by]
        result = await git.execute(
            call("git.read_file", repository=url, ref=ref, path="greeter.py"), reader
        )
        assert isinstance(result.outputs, FileRead)
        assert NEW_GREETING in result.outputs.content

    @pytest.mark.parametrize(
        ("inputs", "says"),
        [
            ({"path": "missing.txt"}, "no file 'missing.txt'"),
            ({"path": "greeter.py", "ref": "nowhere"}, "no such branch, tag or commit"),
            ({"path": "greeter.py", "ref": "f" * 40}, "no such branch, tag or commit"),
        ],
    )
    async def test_what_is_not_there_is_not_found(
        self,
        git: GitConnector,
        call: Call,
        repository: Repository,
        reader: Credentials,
        inputs: dict[str, str],
        says: str,
    ) -> None:
        """The message says which part of the request names nothing."""
        with pytest.raises(NotFound, match=says):
            await git.execute(call("git.read_file", repository=repository[1], **inputs), reader)

    async def test_an_unknown_repository_is_not_found(
        self, git: GitConnector, call: Call, repository: Repository, reader: Credentials
    ) -> None:
        """A host that knows no such repository says so, and so do we."""
        gone = repository[1].replace("greeter", "nobody")
        with pytest.raises(NotFound, match="no such repository"):
            await git.execute(call("git.read_file", repository=gone, path="README.md"), reader)

    async def test_a_folder_a_link_a_large_and_a_binary_file_are_refused(
        self, git: GitConnector, call: Call, repository: Repository, reader: Credentials
    ) -> None:
        """Only regular text files of a bounded size are read."""
        bare, url = repository
        files = {"docs/a.txt": "a", "large.txt": "x" * (256 * 1024 + 1), "binary": "a\0b"}
        bare.change(MAIN, files, "Add files")
        for path, says in [
            ("docs", "not a regular file"),
            ("large.txt", "at most 262144"),
            ("binary", "not UTF-8 text"),
        ]:
            with pytest.raises(InvalidGoal, match=says):
                await git.execute(call("git.read_file", repository=url, path=path), reader)

    async def test_a_wrong_or_missing_token_is_denied(
        self, git: GitConnector, call: Call, repository: Repository
    ) -> None:
        """The message points at the role's token and does not hold it."""
        asked = call("git.read_file", repository=repository[1], path="README.md")
        with pytest.raises(CredentialDenied, match="check the token") as denied:
            await git.execute(asked, {"token": SecretStr("wrong-canary")})
        assert "wrong-canary" not in str(denied.value)
        with pytest.raises(CredentialDenied):
            await git.execute(asked, {})

    async def test_a_host_that_does_not_answer_is_worth_another_try(
        self, git: GitConnector, call: Call, reader: Credentials
    ) -> None:
        """Refused connections are transient."""
        url = f"http://127.0.0.1:{free_port()}/x.git"
        with pytest.raises(ServiceUnavailable):
            await git.execute(call("git.read_file", repository=url, path="README.md"), reader)


class TestHangingHost:
    """A host that takes the connection and says nothing."""

    @staticmethod
    def processes(url: str) -> list[str]:
        """Git processes, and those that git started, that deal with the address."""
        lines = [
            (Path("/proc") / pid / "cmdline").read_bytes().decode("utf-8", "replace")
            for pid in os.listdir("/proc")
            if pid.isdigit() and (Path("/proc") / pid / "cmdline").exists()
        ]
        return [line for line in lines if url in line]

    @pytest.mark.parametrize("ending", ["time-out", "cancelled"])
    async def test_it_is_left_and_no_process_stays(self, ending: str) -> None:
        """Git starts children of its own; they end with it."""
        reached = asyncio.Event()

        async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            reached.set()
            await reader.read()
            writer.close()

        server = await asyncio.start_server(hang, "127.0.0.1")
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hanging.git"
        limit = timedelta(seconds=1 if ending == "time-out" else 60)

        async def fetch() -> str:
            async with cloned(GitCli(timeout=limit), url, None) as clone:
                return await clone.fetch_one("HEAD", blobs=False)

        task = asyncio.create_task(fetch())
        await reached.wait()
        assert self.processes(url)
        if ending == "cancelled":
            task.cancel()
        # Less than the half minute after which curl would give up by itself.
        async with asyncio.timeout(20):
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
        wanted = asyncio.CancelledError if ending == "cancelled" else ServiceUnavailable
        assert isinstance(outcome, wanted)
        server.close()
        await server.wait_closed()
        assert not self.processes(url)


class TestAddresses:
    """Where git may be sent."""

    @pytest.mark.parametrize(
        "url",
        [
            "http://example.org/x.git",
            "ssh://example.org/x.git",
            "ext::sh -c touch% /tmp/owned",
            "/etc",
            "file:///etc",
        ],
    )
    async def test_only_https_and_loopback_are_spoken(self, git: GitConnector, url: str) -> None:
        """Other transports could run commands or read this machine's files."""
        with pytest.raises(InvalidGoal):
            await git.export(url, "HEAD", "", None)

    async def test_a_host_outside_the_allowlist_is_denied(self, repository: Repository) -> None:
        """The setting git_hosts is a closed list once it names a host."""
        with pytest.raises(PolicyDenied, match=r"git\.example\.org"):
            await GitConnector(Settings(git_hosts=("git.example.org",))).export(
                repository[1], "HEAD", "", None
            )

    async def test_folders_can_be_allowed(self, repository: Repository) -> None:
        """With git_allow_file a repository of this machine is read without a host."""
        git = GitConnector(Settings(git_allow_file=True))
        assert await git.export(f"file://{repository[0].path}", "HEAD", "", None)


class TestDescribeBranch:
    """Looking before merging."""

    async def describe(
        self, git: GitConnector, call: Call, url: str, tokens: Credentials, branch: str = FEATURE
    ) -> BranchDescribed:
        """Describe a branch against main."""
        result = await git.execute(
            call("git.describe_branch", repository=url, branch=branch), tokens
        )
        assert isinstance(result.outputs, BranchDescribed)
        return result.outputs

    async def test_it_says_what_a_merge_would_bring(
        self, git: GitConnector, call: Call, repository: Repository, reader: Credentials
    ) -> None:
        """Commits, files and whether it merges, all against the base as it is."""
        bare, url = repository
        bare.feature()
        bare.change(MAIN, {"CHANGES": "1\n"}, "Note a change")
        described = await self.describe(git, call, url, reader)
        assert described.commit == bare.head(FEATURE)
        assert described.base_commit == bare.head(MAIN)
        assert (described.ahead, described.behind) == (1, 1)
        assert described.changed_files == ("greeter.py",)
        assert described.mergeable
        assert "Greet with" in described.summary

    async def test_a_conflict_is_seen_before_anybody_is_asked(
        self, git: GitConnector, call: Call, repository: Repository, reader: Credentials
    ) -> None:
        """Both sides changed the same line."""
        bare, url = repository
        bare.feature()
        bare.feature(MAIN, "Something else!")
        described = await self.describe(git, call, url, reader)
        assert not described.mergeable
        assert "conflicts" in described.summary

    async def test_many_files_are_counted_and_not_all_listed(
        self, git: GitConnector, call: Call, repository: Repository, reader: Credentials
    ) -> None:
        """The list is bounded so that history stays small."""
        bare, url = repository
        bare.change("many", {f"f{n}": "x" for n in range(150)}, "Add many")
        described = await self.describe(git, call, url, reader, "many")
        assert described.changed_count == 150
        assert len(described.changed_files) == 100

    async def test_texts_of_the_branch_cannot_steer_a_terminal(
        self, git: GitConnector, call: Call, repository: Repository, reader: Credentials
    ) -> None:
        """Subjects and file names come from whoever wrote the branch."""
        bare, url = repository
        bare.change("sly", {"x": "1\n"}, "Clear \x1b[2J the screen")
        described = await self.describe(git, call, url, reader, "sly")
        assert "Clear" in described.summary
        assert described.summary.isprintable()

    async def test_a_name_that_only_ends_alike_is_another_branch(
        self, git: GitConnector, call: Call, repository: Repository, reader: Credentials
    ) -> None:
        """``x`` is not ``deep/refs/heads/x``."""
        bare, url = repository
        bare.feature("deep/refs/heads/greeting")
        with pytest.raises(NotFound, match="'greeting'"):
            await self.describe(git, call, url, reader, "greeting")


class TestMergeBranch:
    """Merging exactly what was looked at, once."""

    async def test_a_branch_is_merged_with_its_key(
        self, git: GitConnector, call: Call, repository: Repository, writer: Credentials
    ) -> None:
        """The base moves to a merge of both heads that names the goal's task."""
        bare, _ = repository
        bare.feature()
        before = bare.head(MAIN)
        merged = await merge(git, call, repository, writer)
        assert merged == BranchMerged(commit=bare.head(MAIN), base_before=before, merged=True)
        assert NEW_GREETING in bare.read("greeter.py")
        shown = bare.git("log", "-1", "--format=%P%n%B", MAIN)
        assert shown.splitlines()[0] == f"{before} {bare.head(FEATURE)}"
        assert "Goalkeeper-Key: goal-1.merge.0" in shown

    async def test_a_repeated_key_answers_as_the_first_did(
        self, git: GitConnector, call: Call, repository: Repository, writer: Credentials
    ) -> None:
        """Even when the base went on and the branch is gone; nothing is merged twice."""
        bare, _ = repository
        bare.feature()
        expected = bare.head(FEATURE)
        first = await merge(git, call, repository, writer)
        bare.change(MAIN, {"LATER": "1\n"}, "Later")
        bare.git("update-ref", "-d", f"refs/heads/{FEATURE}")
        after = bare.head(MAIN)
        second = await merge(git, call, repository, writer, expected_commit=expected)
        assert second == first
        assert bare.head(MAIN) == after

    async def test_two_attempts_at_once_make_one_merge(
        self, git: GitConnector, call: Call, repository: Repository, writer: Credentials
    ) -> None:
        """A worker that was thought dead may still push; both get the same answer."""
        bare, _ = repository
        bare.feature()
        first, second = await asyncio.gather(
            merge(git, call, repository, writer), merge(git, call, repository, writer)
        )
        assert first == second
        assert bare.git("rev-list", "--count", "--merges", MAIN) == "1"

    async def test_a_branch_that_moved_is_a_conflict(
        self, git: GitConnector, call: Call, repository: Repository, writer: Credentials
    ) -> None:
        """What was looked at is not what would be merged; the message has both commits."""
        bare, _ = repository
        bare.feature()
        seen, before = bare.head(FEATURE), bare.head(MAIN)
        moved = bare.change(FEATURE, {"extra.py": "x = 1\n"}, "Slip something in")
        with pytest.raises(Conflict) as refused:
            await merge(git, call, repository, writer, expected_commit=seen)
        assert seen in str(refused.value)
        assert moved in str(refused.value)
        assert bare.head(MAIN) == before

    async def test_a_forged_key_on_the_branch_is_not_believed(
        self, git: GitConnector, call: Call, repository: Repository, writer: Credentials
    ) -> None:
        """Whoever writes the branch can write the trailer; only the base's own line counts."""
        bare, _ = repository
        bare.feature()
        bare.change(FEATURE, {"x": "1\n"}, "Mine\n\nGoalkeeper-Key: goal-1.merge.0")
        merged = await merge(git, call, repository, writer)
        assert merged.merged
        assert NEW_GREETING in bare.read("greeter.py")

    async def test_a_commit_with_the_key_that_is_not_our_merge_does_not_count(
        self, git: GitConnector, call: Call, repository: Repository, writer: Credentials
    ) -> None:
        """Somebody copied the message to a commit of their own."""
        bare, _ = repository
        bare.feature()
        bare.change(MAIN, {"x": "1\n"}, "Copied\n\nGoalkeeper-Key: goal-1.merge.0")
        assert (await merge(git, call, repository, writer)).merged
        assert NEW_GREETING in bare.read("greeter.py")

    async def test_a_merge_with_the_key_on_another_branch_does_not_count(
        self, git: GitConnector, call: Call, repository: Repository, writer: Credentials
    ) -> None:
        """It came in with that branch: we did not make it, and may not take it back."""
        bare, _ = repository
        bare.feature()
        who = ("-c", "user.name=x", "-c", "user.email=x@localhost")
        forged = bare.git(
            *who,
            *("commit-tree", f"{FEATURE}^{{tree}}", "-p", MAIN, "-p", FEATURE),
            *("-m", "Merge\n\nGoalkeeper-Key: goal-1.merge.0"),
        )
        bare.git("update-ref", "refs/heads/side", forged)
        before = bare.head(MAIN)
        side = call(
            "git.merge_branch",
            task="side",
            repository=repository[1],
            branch="side",
            expected_commit=forged,
            message="Merge the side",
        )
        brought = (await git.execute(side, writer)).outputs
        assert isinstance(brought, BranchMerged)
        merged = await merge(git, call, repository, writer)
        assert merged == BranchMerged(commit=brought.commit, base_before=before, merged=False)

    async def test_a_merge_conflict_names_the_files(
        self, git: GitConnector, call: Call, repository: Repository, writer: Credentials
    ) -> None:
        """Nothing is pushed."""
        bare, _ = repository
        bare.feature()
        bare.feature(MAIN, "Something else!")
        before = bare.head(MAIN)
        with pytest.raises(Conflict, match=r"'greeter\.py'"):
            await merge(git, call, repository, writer)
        assert bare.head(MAIN) == before

    async def test_a_branch_that_is_in_already_changes_nothing(
        self, git: GitConnector, call: Call, repository: Repository, writer: Credentials
    ) -> None:
        """The answer names the merge that somebody else made, and undoing it does nothing."""
        bare, url = repository
        bare.feature()
        other = await merge(git, call, repository, writer)
        bare.change(MAIN, {"LATER": "1\n"}, "Later")
        head = bare.head(MAIN)
        again = call(
            "git.merge_branch",
            task="another",
            repository=url,
            branch=FEATURE,
            expected_commit=bare.head(FEATURE),
            message="Merge",
        )
        result = (await git.execute(again, writer)).outputs
        assert result == BranchMerged(
            commit=other.commit, base_before=other.base_before, merged=False
        )
        undone = await revert(git, call, url, result, writer)
        assert undone == MergeReverted(commit=head, reverted=False)
        assert bare.head(MAIN) == head

    async def test_a_base_that_moves_meanwhile_is_fetched_again(
        self,
        git: GitConnector,
        call: Call,
        repository: Repository,
        writer: Credentials,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Someone pushes between our fetch and our push; neither change is lost."""
        bare, _ = repository
        bare.feature()
        push, moves = Clone.push, iter(["first", "second"])

        async def push_late(self: Clone, commit: str, branch: str) -> bool:
            if name := next(moves, ""):
                bare.change(MAIN, {name: "1\n"}, f"Move the base: {name}")
            return await push(self, commit, branch)

        monkeypatch.setattr(Clone, "push", push_late)
        merged = await merge(git, call, repository, writer)
        assert merged.commit == bare.head(MAIN)
        assert bare.read("second") == "1\n"
        assert NEW_GREETING in bare.read("greeter.py")

    async def test_a_base_that_never_rests_is_given_up_for_now(
        self,
        git: GitConnector,
        call: Call,
        repository: Repository,
        writer: Credentials,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """After a few tries the activity's own retry policy takes over."""
        bare, _ = repository
        bare.feature()

        async def lose(*_: object) -> bool:
            return False

        async def at_once(_: int) -> None:
            pass

        monkeypatch.setattr(Clone, "push", lose)
        monkeypatch.setattr("connectors.git._spread", at_once)
        with pytest.raises(ServiceUnavailable, match="moved under each"):
            await merge(git, call, repository, writer)

    async def test_a_reader_may_not_merge(
        self, git: GitConnector, call: Call, repository: Repository, reader: Credentials
    ) -> None:
        """The host refuses the push, and the message says that the token lacks the right."""
        repository[0].feature()
        with pytest.raises(CredentialDenied):
            await merge(git, call, repository, reader)

    async def test_a_hook_that_declines_is_a_no(
        self, git: GitConnector, call: Call, repository: Repository, writer: Credentials
    ) -> None:
        """A protected branch is not worth retrying."""
        bare, _ = repository
        bare.feature()
        hooks = bare.path / "hooks"
        hooks.mkdir(exist_ok=True)
        hook = hooks / "pre-receive"
        hook.write_text("#!/bin/sh\necho main is protected >&2\nexit 1\n")
        hook.chmod(0o755)
        with pytest.raises(OperationFailed, match="declined"):
            await merge(git, call, repository, writer)


class TestRevertMerge:
    """Taking a merge back."""

    async def test_a_merge_is_taken_back_and_later_work_stays(
        self, git: GitConnector, call: Call, repository: Repository, writer: Credentials
    ) -> None:
        """A new commit on top; history is never rewritten."""
        bare, url = repository
        before = bare.read("greeter.py")
        bare.feature()
        merged = await merge(git, call, repository, writer)
        later = bare.change(MAIN, {"LATER": "1\n"}, "Later")
        undone = await revert(git, call, url, merged, writer)
        assert undone == MergeReverted(commit=bare.head(MAIN), reverted=True)
        assert bare.read("greeter.py") == before
        assert bare.read("LATER") == "1\n"
        assert bare.git("rev-parse", f"{MAIN}^") == later

    async def test_reverting_again_finds_the_first_revert(
        self, git: GitConnector, call: Call, repository: Repository, writer: Credentials
    ) -> None:
        """A retried compensation does not revert the revert."""
        bare, url = repository
        bare.feature()
        merged = await merge(git, call, repository, writer)
        first = await revert(git, call, url, merged, writer)
        bare.change(MAIN, {"LATER": "1\n"}, "Later")
        assert await revert(git, call, url, merged, writer) == first

    async def test_later_work_on_the_same_lines_is_a_conflict(
        self, git: GitConnector, call: Call, repository: Repository, writer: Credentials
    ) -> None:
        """Nobody's change is thrown away; people are told which file."""
        bare, url = repository
        bare.feature()
        merged = await merge(git, call, repository, writer)
        bare.feature(MAIN, "Built on the new greeting!")
        with pytest.raises(Conflict, match=r"greeter\.py"):
            await revert(git, call, url, merged, writer)

    async def test_a_merge_that_is_not_in_the_base_needs_no_revert(
        self, git: GitConnector, call: Call, repository: Repository, writer: Credentials
    ) -> None:
        """Somebody reset the base: there is nothing to take back."""
        bare, url = repository
        unknown = BranchMerged(commit="a" * 40, base_before="b" * 40, merged=True)
        undone = await revert(git, call, url, unknown, writer)
        assert undone == MergeReverted(commit=bare.head(MAIN), reverted=False)


class TestExport:
    """Sources for sandboxes and images."""

    async def test_a_folder_is_exported_with_names_relative_to_it(
        self, git: GitConnector, repository: Repository
    ) -> None:
        """The tar holds that folder of that commit and nothing else."""
        bare, url = repository
        commit = bare.change("deep", {"a/b/c.txt": "c\n", "a/d.txt": "d\n"}, "Add folders")
        token = SecretStr(READ_TOKEN)
        with tarfile.open(fileobj=io.BytesIO(await git.export(url, commit, "a/b", token))) as tar:
            assert tar.getnames() == ["c.txt"]
        with tarfile.open(fileobj=io.BytesIO(await git.export(url, commit, "", token))) as tar:
            assert {"a/d.txt", "greeter.py"} <= set(tar.getnames())

    async def test_a_folder_that_is_not_there_is_not_found(
        self, git: GitConnector, repository: Repository
    ) -> None:
        """Neither a missing folder nor a file can be exported."""
        for path in ("missing", "greeter.py"):
            with pytest.raises(NotFound, match=path):
                await git.export(repository[1], "HEAD", path, SecretStr(READ_TOKEN))


class TestSecrets:
    """What an attempt leaves behind."""

    async def test_the_token_is_in_no_argument_and_no_file(
        self,
        git: GitConnector,
        call: Call,
        repository: Repository,
        writer: Credentials,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Every git process is looked at as it starts, and its folder after it."""
        repository[0].feature()
        arguments: list[str] = []
        files: list[bytes] = []
        run = GitCli.run

        async def watched(self: GitCli, folder: Path, *given: str, **named: Any) -> object:
            arguments.extend(given)
            finished = await run(self, folder, *given, **named)
            files.extend(f.read_bytes() for f in folder.rglob("*") if f.is_file())  # noqa: ASYNC240 - scratch
            return finished

        monkeypatch.setattr(GitCli, "run", watched)
        await merge(git, call, repository, writer)
        assert arguments
        assert files
        assert not [a for a in arguments if WRITE_TOKEN in a]
        assert not [f for f in files if WRITE_TOKEN.encode() in f]

    @pytest.mark.parametrize("ending", ["success", "failure", "cancelled"])
    async def test_nothing_is_left_behind(
        self,
        git: GitConnector,
        call: Call,
        repository: Repository,
        reader: Credentials,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        ending: str,
    ) -> None:
        """The scratch clone goes on success, on failure and on cancellation."""
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        path = "missing" if ending == "failure" else "README.md"
        asked = call("git.read_file", repository=repository[1], path=path)
        task = asyncio.create_task(git.execute(asked, reader))
        if ending == "cancelled":
            while not os.listdir(tmp_path):  # noqa: ASYNC110 - a folder has no event
                await asyncio.sleep(0.001)
            task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        expected = {"failure": GoalkeeperError, "cancelled": asyncio.CancelledError}
        assert ending == "success" or isinstance(outcome, expected[ending])
        assert not os.listdir(tmp_path)
