"""The one place that starts the `git` command: its environment, limits, token and errors.

It knows nothing of merges; it never puts a token into an argument, an address or a file.
"""

import asyncio
import base64
import ipaddress
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from goalkeeper.domain.credential import Redactor
from goalkeeper.domain.errors import (
    Conflict,
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

MIB = 1024 * 1024
_STDERR_LIMIT = 64 * 1024
_QUOTE_LIMIT = 300
_PASSED_ON = (
    "PATH",
    "https_proxy",
    "HTTPS_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)
_CONFIG = {
    # What is written here is thrown away at the end; the host sees to its own disk.
    "core.fsync": "none",
    "core.hooksPath": os.devnull,
    "credential.helper": "",
    "gc.auto": "0",
    "maintenance.auto": "false",
    # A custom header would travel along to wherever the host redirects.
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "30",
    "protocol.version": "2",
    "remote.origin.promisor": "true",
}
_SAYS: Sequence[tuple[tuple[str, ...], type[GoalkeeperError], str]] = (
    (
        (
            "Authentication failed",
            "could not read Username",
            "could not read Password",
            "error: 401",
        ),
        CredentialDenied,
        "the host did not accept the credential; check the token of the task's role",
    ),
    (
        ("error: 403", "not allowed to push", "insufficient permission"),
        CredentialDenied,
        "the credential may not do this; give the token of the task's role the right to",
    ),
    (
        ("couldn't find remote ref", "not our ref", "unadvertised object"),
        NotFound,
        "the repository has no such branch, tag or commit",
    ),
    (
        (
            "error: 404",
            "' not found",
            "Repository not found",
            "repository not found",
            "does not appear to be a git",
        ),
        NotFound,
        "there is no such repository, or this credential may not see it",
    ),
    (
        ("error: 301", "error: 302", "error: 307", "error: 308", "from redirection"),
        NotFound,
        "the repository has moved; use its new address",
    ),
    (
        ("refusing to merge unrelated histories",),
        Conflict,
        "the two branches have no commit in common, so they cannot be merged",
    ),
    (
        ("No space left on device", "Disk quota exceeded"),
        StoreUnavailable,
        "the disk is full; free some space, then retry",
    ),
    (
        (
            "Could not resolve host",
            "Failed to connect",
            "Couldn't connect",
            "Connection refused",
            "Connection reset",
            "timed out",
            "error: 500",
            "error: 502",
            "error: 503",
            "error: 504",
            "early EOF",
            "RPC failed",
            "unexpected disconnect",
            "hung up unexpectedly",
            "Empty reply from server",
            "Operation too slow",
        ),
        ServiceUnavailable,
        "the host does not answer as it should; retrying may help",
    ),
    (
        # Last: git says this too when it could not ask the host for the commit.
        ("Not a valid commit name", "bad object"),
        NotFound,
        "the repository has no such commit",
    ),
)


@dataclass(frozen=True)
class Finished:
    """A git process that has ended."""

    code: int
    stdout: bytes
    stderr: str
    """Redacted and bounded."""

    @property
    def text(self) -> str:
        """The output without the newline at its end."""
        return self.stdout.decode("utf-8", "replace").strip()


class GitCli:
    """Starts git against repositories that the settings allow."""

    def __init__(
        self,
        *,
        hosts: Sequence[str] = (),
        allow_file: bool = False,
        timeout: timedelta = timedelta(minutes=3),
    ) -> None:
        self._hosts = frozenset(h.lower() for h in hosts)
        self._protocols = "https:http:file" if allow_file else "https:http"
        self._allow_file = allow_file
        self._timeout = timeout

    def check(self, repository: str) -> None:
        """Refuse an address that git must not be asked on.

        Raises:
            InvalidGoal: not https, nor http on loopback, nor a folder where those are allowed.
            PolicyDenied: the host is not among the setting ``git_hosts``.
        """
        parts = urlsplit(repository)
        if parts.scheme == "file" and self._allow_file and not parts.netloc:
            return
        if parts.scheme != "https" and not (parts.scheme == "http" and _loopback(parts.hostname)):
            raise InvalidGoal(
                f"repository '{repository}' cannot be used: give an https:// address "
                "(http:// only on this machine; file:// only with the setting git_allow_file)"
            )
        host = parts.netloc.lower()
        if self._hosts and not self._hosts & {host, (parts.hostname or "").lower()}:
            raise PolicyDenied(
                f"git host '{host}' is not among the allowed ones "
                f"({', '.join(sorted(self._hosts))}); the setting git_hosts names them"
            )

    async def run(
        self,
        folder: Path,
        *arguments: str,
        repository: str,
        token: SecretStr | None = None,
        stdin: bytes = b"",
        limit: int = 16 * MIB,
        accept: Sequence[int] = (0,),
    ) -> Finished:
        """Run one git command in a scratch repository and read what it says.

        Args:
            folder: the bare scratch repository.
            arguments: after ``git``; never holds a secret.
            repository: the address that ``origin`` stands for.
            token: what the host wants to see, for example a personal access token.
            stdin: what the command reads.
            limit: how many bytes it may write before it is stopped.
            accept: exit codes that are answers and not failures.

        Raises:
            CredentialDenied: the host refused the token.
            NotFound: no such repository, branch or commit.
            ServiceUnavailable: the host cannot be reached or took too long.
            OperationFailed: anything else that git refuses.
        """
        finished = await self._start(folder, arguments, repository, token, stdin, limit)
        if finished.code not in accept:
            raise failure(arguments[0], repository, finished.stderr)
        return finished

    async def _start(
        self,
        folder: Path,
        arguments: Sequence[str],
        repository: str,
        token: SecretStr | None,
        stdin: bytes,
        limit: int,
    ) -> Finished:
        secrets = _header(token)
        environment = self._environment(folder, repository, secrets)
        try:
            process = await asyncio.create_subprocess_exec(
                "git",
                *arguments,
                cwd=folder,
                env=environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise OperationFailed(
                "the git command is not installed here; install git 2.38 or newer"
            ) from None
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                stdout, stderr = await _communicate(process, stdin, limit)
                await process.wait()
        except TimeoutError:
            raise ServiceUnavailable(
                f"git {arguments[0]} of '{repository}' took longer than {self._timeout}; "
                "retrying may help"
            ) from None
        finally:
            await _end(process)
        redact = Redactor([*secrets, *([token] if token else [])])
        return Finished(
            process.returncode or 0, stdout, redact.text(stderr.decode("utf-8", "replace"))
        )

    def _environment(
        self, folder: Path, repository: str, secrets: Sequence[SecretStr]
    ) -> dict[str, str]:
        """Nothing of the caller's but the way to programs, proxies and certificates.

        The token goes in as configuration by environment: only this user can read that, it ends
        with the process, and git hands it to the one host that it is scoped to.
        """
        config = {**_CONFIG, "remote.origin.url": repository}
        parts = urlsplit(repository)
        for secret in secrets:
            scope = f"http.{parts.scheme}://{parts.netloc}/.extraHeader"
            config[scope] = f"Authorization: Basic {secret.get_secret_value()}"
        return {
            **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            "HOME": str(folder),
            "LC_ALL": "C.UTF-8",
            "LANGUAGE": "C",
            "GIT_ALLOW_PROTOCOL": self._protocols,
            "GIT_ASKPASS": "",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_LITERAL_PATHSPECS": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_AUTHOR_NAME": "Goalkeeper",
            "GIT_AUTHOR_EMAIL": "goalkeeper@localhost",
            "GIT_COMMITTER_NAME": "Goalkeeper",
            "GIT_COMMITTER_EMAIL": "goalkeeper@localhost",
            **_numbered(config),
        }


def failure(command: str, repository: str, stderr: str) -> GoalkeeperError:
    """Ours for what git wrote: the most telling first."""
    where = f"git {command} of '{repository}' failed: "
    if "error: 429" in stderr:
        return RateLimited(
            f"{where}the host asks to wait a minute", retry_after=timedelta(minutes=1)
        )
    for needles, error, meaning in _SAYS:
        if any(needle in stderr for needle in needles):
            return error(where + meaning)
    return OperationFailed(f"{where}{last_words(stderr)}")


def last_words(stderr: str) -> str:
    """The line that says why, bounded and without control characters."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "remote:", "!"))]
    text = (telling or lines or ["git gave no reason"])[-1]
    return "".join(c if c.isprintable() else " " for c in text)[:_QUOTE_LIMIT]


def _header(token: SecretStr | None) -> list[SecretStr]:
    if token is None or not token.get_secret_value():
        return []
    # The user name that GitHub wants for an App's token; other hosts take any.
    pair = f"x-access-token:{token.get_secret_value()}"
    return [SecretStr(base64.b64encode(pair.encode()).decode())]


def _numbered(config: Mapping[str, str]) -> dict[str, str]:
    numbered = {"GIT_CONFIG_COUNT": str(len(config))}
    for number, (key, value) in enumerate(config.items()):
        numbered[f"GIT_CONFIG_KEY_{number}"] = key
        numbered[f"GIT_CONFIG_VALUE_{number}"] = value
    return numbered


def _loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


async def _communicate(
    process: asyncio.subprocess.Process, stdin: bytes, limit: int
) -> tuple[bytes, bytes]:
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise OperationFailed("git was started without pipes")
    async with asyncio.TaskGroup() as group:
        group.create_task(_feed(process.stdin, stdin))
        stdout = group.create_task(_read(process.stdout, limit))
        stderr = group.create_task(_read(process.stderr, _STDERR_LIMIT))
    if len(stdout.result()) > limit:
        raise OperationFailed(
            f"git answered with more than {limit // 1024} KiB, which is the limit here"
        )
    return stdout.result(), stderr.result()


async def _feed(pipe: asyncio.StreamWriter, content: bytes) -> None:
    try:
        pipe.write(content)
        await pipe.drain()
        pipe.close()
        await pipe.wait_closed()
    except (BrokenPipeError, ConnectionResetError, RuntimeError):
        # git ended without reading; its exit code says why. The RuntimeError ("the handler is
        # closed") is uvloop's word for it, on which the worker runs.
        pass


async def _read(pipe: asyncio.StreamReader, limit: int) -> bytes:
    """Up to a little more than `limit`; the rest is read and dropped, so that git can end."""
    kept = bytearray()
    while chunk := await pipe.read(64 * 1024):
        if len(kept) <= limit:
            kept += chunk
    return bytes(kept)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill git and whatever it started, and wait until it is gone."""
    if process.returncode is not None:
        return
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    await process.wait()
