import io
import subprocess
import sys
import tarfile
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from connectors.git import GitConnector
from deploy.demo.repository import FEATURE, MAIN, NEW_GREETING, DemoRepository, clean_environment
from tests.integration.connectors.conftest import READ_TOKEN, WRITE_TOKEN, Host

Repository = tuple[DemoRepository, str]


class TestGitHost:
    """What git and others see."""

    @pytest.mark.parametrize("header", ["", "Bearer wrong", "Basic !!", "Basic dXNlcjp3cm9uZw=="])
    def test_nobody_gets_in_without_a_token(self, repository: Repository, header: str) -> None:
        """The challenge tells git to ask for one."""
        url = repository[1] + "/info/refs?service=git-upload-pack"
        answer = httpx.get(url, headers={"Authorization": header}, trust_env=False)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic")

    @pytest.mark.parametrize(
        ("token", "service", "status"),
        [
            (READ_TOKEN, "git-upload-pack", 200),
            (READ_TOKEN, "git-receive-pack", 403),
            (WRITE_TOKEN, "git-upload-pack", 200),
            (WRITE_TOKEN, "git-receive-pack", 200),
        ],
    )
    def test_a_reader_cannot_write(
        self, repository: Repository, token: str, service: str, status: int
    ) -> None:
        """Whichever way the token comes."""
        url = f"{repository[1]}/info/refs?service={service}"
        bearer = httpx.get(url, headers={"Authorization": f"Bearer {token}"}, trust_env=False)
        basic = httpx.get(url, auth=("anyone", token), trust_env=False)
        assert bearer.status_code == basic.status_code == status

    @pytest.mark.parametrize("path", ["/../tokens", "/%2e%2e/tokens", "/greeter.git/../../tokens"])
    def test_files_beside_the_repositories_are_not_served(self, host: Host, path: str) -> None:
        """The token file stands one folder above."""
        answer = httpx.get(host.url + path, auth=("x", WRITE_TOKEN), trust_env=False)
        assert answer.status_code >= 400
        assert WRITE_TOKEN not in answer.text

    async def test_a_large_push_and_clone_pass_through(
        self, repository: Repository, tmp_path: Path, git: GitConnector
    ) -> None:
        """More than git sends in one piece, so the body comes in chunks."""
        bare, url = repository
        content = "".join(f"{n * 2654435761 % 2**32:08x}\n" for n in range(400_000))
        authed = url.replace("http://", f"http://x:{WRITE_TOKEN}@")

        def run(*arguments: str) -> None:
            who = ["-c", "user.name=x", "-c", "user.email=x@localhost"]
            subprocess.run(
                ["git", *who, *arguments],
                cwd=tmp_path,
                env=clean_environment(tmp_path),
                check=True,
                capture_output=True,
            )

        run("clone", "--quiet", authed, "work")
        (tmp_path / "work" / "large.txt").write_text(content)
        run("-C", "work", "add", ".")
        run("-C", "work", "commit", "--quiet", "-m", "Add a large file")
        run("-C", "work", "push", "--quiet", "origin", "HEAD:refs/heads/large")
        tar = await git.export(url, bare.head("large"), "", SecretStr(READ_TOKEN))
        with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
            assert opened.getmember("large.txt").size == len(content)


class TestDemoRepository:
    """The branches that demos and tests ask for."""

    def test_creating_it_again_keeps_what_is_there(self, tmp_path: Path) -> None:
        """A second start of the demo goes on with the first one's history."""
        first = DemoRepository.create(tmp_path)
        changed = first.change(MAIN, {"x": "1\n"}, "Change")
        assert DemoRepository.create(tmp_path).head(MAIN) == changed

    @pytest.mark.parametrize(
        ("kind", "passes"),
        [("main", True), ("feature", True), ("failing_test", False), ("unhealthy", True)],
    )
    def test_the_tests_of_each_branch_pass_or_fail_as_they_should(
        self, tmp_path: Path, kind: str, passes: bool
    ) -> None:
        """The sandbox runs the same command."""
        bare = DemoRepository.create(tmp_path)
        branch = MAIN if kind == "main" else getattr(bare, kind)()
        bare.git("clone", "--quiet", "--branch", branch, ".", str(tmp_path / "work"))
        tested = subprocess.run(
            [sys.executable, "-m", "unittest", "-q"], cwd=tmp_path / "work", capture_output=True
        )
        assert (tested.returncode == 0) is passes, tested.stderr.decode()

    def test_a_feature_changes_the_greeting_and_nothing_else(self, tmp_path: Path) -> None:
        """One line of one file."""
        bare = DemoRepository.create(tmp_path)
        bare.feature()
        assert NEW_GREETING in bare.read("greeter.py", FEATURE)
        assert bare.git("diff", "--shortstat", MAIN, FEATURE).startswith(" 1 file changed, 1 ins")
