from datetime import timedelta

import pytest
from pydantic import TypeAdapter, ValidationError

from connectors.git_models import DescribeBranch, MergeBranch, Path, ReadFile, Ref
from connectors.gitcli import GitCli, failure, last_words
from goalkeeper.domain.errors import (
    CredentialDenied,
    GoalkeeperError,
    InvalidGoal,
    NotFound,
    OperationFailed,
    PolicyDenied,
    RateLimited,
    ServiceUnavailable,
    StoreUnavailable,
)

URL = "https://git.example.org/a.git"


@pytest.mark.parametrize(
    "ref", ["main", "feature/greeting", "v1.2.3", "HEAD", "fix#12", "übung", "refs/tags/v1"]
)
def test_names_that_git_allows_are_taken(ref: str) -> None:
    """People name branches as they like."""
    assert TypeAdapter(Ref).validate_python(ref) == ref


@pytest.mark.parametrize(
    "ref",
    [
        "--upload-pack=touch /tmp/x",
        "-x",
        "+main",
        "a:b",
        "a..b",
        "a b",
        "^main",
        "main~1",
        "a//b",
        "/a",
        "a/",
        ".a",
        "a/.b",
        "a.lock",
        "a@{1}",
        "@",
        "a\nb",
        "a*",
        "",
    ],
)
def test_names_that_could_mean_something_else_are_refused(ref: str) -> None:
    """Options, refspecs, ranges and patterns are no names."""
    with pytest.raises(ValidationError):
        TypeAdapter(Ref).validate_python(ref)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x", "a/../../x", "a//b", "-x", ":x", "a\0b", "a/"]
)
def test_paths_that_leave_the_repository_are_refused(path: str) -> None:
    """Only a plain path inside it is taken."""
    with pytest.raises(ValidationError):
        TypeAdapter(Path).validate_python(path)


@pytest.mark.parametrize(
    "repository",
    ["https://user:secret-canary@git.example.org/a.git", "https://token@git.example.org/a.git"],
)
def test_an_address_with_a_credential_is_refused(repository: str) -> None:
    """It would stand in the plan, in history and on approval cards."""
    with pytest.raises(ValidationError, match="credential instead"):
        ReadFile(repository=repository, path="x")


@pytest.mark.parametrize("repository", ["--upload-pack=x", "https://a b", "https://a\n"])
def test_an_address_that_is_none_is_refused(repository: str) -> None:
    """Options and control characters never reach git."""
    with pytest.raises(ValidationError):
        DescribeBranch(repository=repository, branch="x")


def test_a_merge_message_cannot_pretend_a_trailer() -> None:
    """Else one goal could make another believe that it had merged."""
    with pytest.raises(ValidationError, match="Goalkeeper-"):
        MergeBranch(
            repository=URL,
            branch="x",
            expected_commit="a" * 40,
            message="Merge\n\ngoalkeeper-key: other.merge.0",
        )


def test_an_expected_commit_is_whole() -> None:
    """A short id may come to mean another commit."""
    with pytest.raises(ValidationError):
        MergeBranch(repository=URL, branch="x", expected_commit="abc1234", message="m")


class TestAddresses:
    """Where git may be sent."""

    @pytest.mark.parametrize(
        "url", [URL, "http://127.0.0.1:8080/a.git", "http://localhost/a.git", "http://[::1]/a"]
    )
    def test_https_and_loopback_are_fine(self, url: str) -> None:
        """Plain http stays on this machine."""
        GitCli().check(url)

    @pytest.mark.parametrize(
        "url",
        [
            "http://10.0.0.1/a.git",
            "http://127.0.0.1.example.org/a.git",
            "git://example.org/a.git",
            "ssh://example.org/a.git",
            "example.org:a.git",
            "ext::sh -c id",
            "/srv/git/a.git",
            "file:///srv/git/a.git",
        ],
    )
    def test_everything_else_is_refused_with_what_to_write(self, url: str) -> None:
        """Some transports run commands, some read this machine's files."""
        with pytest.raises(InvalidGoal, match="https://"):
            GitCli().check(url)

    def test_the_allowlist_counts_with_and_without_port(self) -> None:
        """``host`` allows every port, ``host:port`` that one."""
        cli = GitCli(hosts=["git.example.org", "other.example.org:8443"])
        cli.check(URL)
        cli.check("https://GIT.example.org:444/a.git")
        cli.check("https://other.example.org:8443/a.git")
        with pytest.raises(PolicyDenied, match="git_hosts"):
            cli.check("https://other.example.org/a.git")

    def test_files_are_of_this_machine_only(self) -> None:
        """``file://host/…`` would name another."""
        cli = GitCli(allow_file=True)
        cli.check("file:///srv/git/a.git")
        with pytest.raises(InvalidGoal):
            cli.check("file://host/srv/a.git")


@pytest.mark.parametrize(
    ("stderr", "error"),
    [
        ("fatal: Authentication failed for 'https://x'", CredentialDenied),
        ("fatal: could not read Username for 'x': terminal prompts disabled", CredentialDenied),
        ("fatal: unable to access 'x': The requested URL returned error: 403", CredentialDenied),
        ("fatal: unable to access 'x': The requested URL returned error: 503", ServiceUnavailable),
        ("fatal: unable to access 'x': Could not resolve host: x", ServiceUnavailable),
        ("error: RPC failed; curl 56\nfatal: early EOF", ServiceUnavailable),
        ("fatal: couldn't find remote ref nope", NotFound),
        ("fatal: repository 'https://x/' not found", NotFound),
        ("fatal: unable to access 'x': The requested URL returned error: 301", NotFound),
        ("fatal: write error: No space left on device", StoreUnavailable),
        ("fatal: something new", OperationFailed),
        ("", OperationFailed),
    ],
)
def test_what_git_says_becomes_an_error_of_ours(stderr: str, error: type[GoalkeeperError]) -> None:
    """So that retrying happens exactly where it helps."""
    assert type(failure("fetch", URL, stderr)) is error


def test_a_host_that_asks_to_wait_is_waited_for() -> None:
    """Too many requests is a matter of time."""
    error = failure("fetch", URL, "The requested URL returned error: 429")
    assert isinstance(error, RateLimited)
    assert error.retry_after == timedelta(minutes=1)


def test_a_quote_of_git_is_short_and_printable() -> None:
    """A host can answer anything, and terminals obey control characters."""
    quoted = last_words("hint: x\nremote: \x1b[31mred\x1b[0m " + "y" * 5000 + "\n")
    assert len(quoted) <= 300
    assert quoted.isprintable()
    assert quoted.startswith("remote:")
