"""A git host on loopback: asks for a token, then hands the request to ``git http-backend``.

It serves the bare repositories of one folder over git's smart HTTP protocol and is for demos and
tests. Run it as ``python -m deploy.demo.githost --root DIR --port P --token-file FILE``.
"""

import argparse
import asyncio
import base64
import binascii
import hmac
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from deploy.demo.repository import clean_environment

HEALTH_PATH = "/-/health"
_CHUNK = 64 * 1024


class GitHost:
    """Answers git's requests for the repositories below `root`.

    The token file has one token a line, ``read TOKEN`` or ``write TOKEN``, and is read at each
    request, so that a token can be changed while the host runs.
    """

    def __init__(self, root: Path, token_file: Path) -> None:
        self._root = root
        self._token_file = token_file

    async def answer(self, request: Request) -> Response:
        """Check the token, run the backend, pass its answer on."""
        scope = self._scope(request.headers.get("authorization", ""))
        if scope is None:
            challenge = {"WWW-Authenticate": 'Basic realm="git"'}
            return PlainTextResponse("a token is needed\n", 401, headers=challenge)
        if _writes(request) and scope != "write":
            return PlainTextResponse("this token may only read\n", 403)
        return await self._backend(request)

    def _scope(self, header: str) -> str | None:
        """What the presented token may do, or nothing when it is unknown."""
        presented = _presented(header)
        found = None
        for line in self._token_file.read_text().splitlines():
            scope, _, token = line.strip().partition(" ")
            if token and hmac.compare_digest(token.encode(), presented.encode()):
                found = scope
        return found

    async def _backend(self, request: Request) -> Response:
        # The body first, whole: the backend begins to answer before it has read all of it, and
        # from then on the server listens to the client itself.
        with tempfile.TemporaryFile() as body:
            async for chunk in request.stream():
                body.write(chunk)
            length = body.tell()
            body.seek(0)
            process = await asyncio.create_subprocess_exec(
                "git",
                "http-backend",
                stdin=body,
                stdout=asyncio.subprocess.PIPE,
                env=self._cgi(request, length),
            )
        if process.stdout is None:
            raise RuntimeError("git http-backend was started without a pipe")
        status, headers = await _head(process.stdout)
        return StreamingResponse(_rest(process, process.stdout), status, headers)

    def _cgi(self, request: Request, length: int) -> dict[str, str]:
        headers = request.headers
        return {
            **clean_environment(self._root),
            "GIT_PROJECT_ROOT": str(self._root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GATEWAY_INTERFACE": "CGI/1.1",
            "REQUEST_METHOD": request.method,
            "PATH_INFO": request.url.path,
            "QUERY_STRING": request.url.query,
            "REMOTE_ADDR": request.client.host if request.client else "",
            # The backend lets authenticated users push, and nobody else.
            "REMOTE_USER": "token",
            "CONTENT_LENGTH": str(length),
            "CONTENT_TYPE": headers.get("content-type", ""),
            "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
            "GIT_PROTOCOL": headers.get("git-protocol", ""),
        }


def application(root: Path, token_file: Path) -> Starlette:
    """The host as an ASGI application."""
    host = GitHost(root, token_file)

    async def health(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    return Starlette(
        routes=[
            Route(HEALTH_PATH, health),
            Route("/{path:path}", host.answer, methods=["GET", "POST"]),
        ]
    )


def _presented(header: str) -> str:
    """The token of ``Bearer TOKEN``, or the password of ``Basic …``."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _writes(request: Request) -> bool:
    asked = request.query_params.get("service", "")
    return "git-receive-pack" in (asked, request.url.path.rpartition("/")[2])


async def _head(pipe: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """The CGI header: status and header lines up to the empty one."""
    headers: dict[str, str] = {}
    while line := (await pipe.readline()).decode("latin-1").strip():
        name, _, value = line.partition(":")
        headers[name.strip()] = value.strip()
    if not headers:
        return 502, {}
    return int(headers.pop("Status", "200").split()[0]), headers


async def _rest(
    process: asyncio.subprocess.Process, pipe: asyncio.StreamReader
) -> AsyncIterator[bytes]:
    """The body as it comes; a client that goes away ends the backend."""
    try:
        while chunk := await pipe.read(_CHUNK):
            yield chunk
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def main() -> None:
    """Serve until told to stop; listens on loopback only."""
    parser = argparse.ArgumentParser(description="Serve bare git repositories on loopback.")
    parser.add_argument("--root", type=Path, required=True, help="the folder of repositories")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token-file", type=Path, required=True, help="lines 'read|write TOKEN'")
    chosen = parser.parse_args()
    chosen.root.mkdir(parents=True, exist_ok=True)
    app = application(chosen.root.absolute(), chosen.token_file.absolute())
    uvicorn.run(app, host="127.0.0.1", port=chosen.port, log_level="info")


if __name__ == "__main__":
    main()
