"""Temporal's codec protocol over HTTP: the Temporal UI and CLI read and write payloads here.

It lets in people with their token, browsers with a session, and the Temporal UI of this machine;
it keeps nothing of what it opens.
"""

from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from google.protobuf.json_format import MessageToJson, Parse, ParseError
from pydantic import SecretStr
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send
from temporalio.api.common.v1 import Payload, Payloads

from goalkeeper.domain.errors import NotAllowed, NotFound
from goalkeeper.payloads.access import PayloadAccess
from hitl.signin import Parts, Unauthenticated, session_of, token_holder

_log = structlog.get_logger(__name__)

PREFIX = "/codec"

router = APIRouter(prefix=PREFIX, include_in_schema=False)
_bearer = HTTPBearer(auto_error=False)


class Work(StrEnum):
    """What the protocol knows."""

    ENCODE = "encode"
    DECODE = "decode"


class CodecCors:
    """ASGI middleware: CORS for the codec's routes, and for the Temporal UI's origin alone.

    The rest of the gateway answers no other origin at all.
    """

    def __init__(self, app: ASGIApp, access: PayloadAccess) -> None:
        self._app = app
        self._cors = CORSMiddleware(
            app,
            allow_origins=sorted(access.origins),
            allow_methods=["POST"],
            allow_headers=["Authorization", "Content-Type", "X-Namespace"],
            allow_credentials=True,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request through."""
        ours = scope["type"] == "http" and scope["path"].startswith(f"{PREFIX}/")
        await (self._cors if ours else self._app)(scope, receive, send)


def _access(parts: Parts) -> PayloadAccess:
    if parts.payloads is None:
        raise NotFound("this gateway opens no payloads")
    return parts.payloads


Access = Annotated[PayloadAccess, Depends(_access)]


def _person(
    request: Request,
    parts: Parts,
    access: Access,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> str:
    """Whose token or session it is.

    A session counts only from the Temporal UI's own page: browsers send the cookie along from
    every port of this host.

    Raises:
        Unauthenticated: nobody's.
    """
    if credentials is not None:
        return token_holder(parts, request, SecretStr(credentials.credentials)).id
    session = session_of(request, parts)
    if session is not None and request.headers.get("origin") in access.origins:
        return session[1].id
    raise Unauthenticated(
        "Payloads are read in a person's name: `Authorization: Bearer TOKEN`, or in the Temporal "
        "UI with the cookie of a session that was opened in the gateway's console."
    )


def _ui(request: Request, access: Access, token: str) -> str:
    """The Temporal UI that `goalkeeper up` started.

    Raises:
        Unauthenticated: the token is not the one it was given.
        NotAllowed: another page than the UI's uses its token.
    """
    if not access.is_ui(token):
        raise Unauthenticated("This is not the Temporal UI's token of the stack that runs now.")
    if request.headers.get("origin") not in access.origins:
        raise NotAllowed("Only the page of the Temporal UI may use its token.")
    return "temporal-ui"


@router.post("/{work}")
async def for_person(
    work: Work, request: Request, access: Access, reader: Annotated[str, Depends(_person)]
) -> Response:
    """Payloads for the Temporal CLI, in a person's name."""
    return await _answer(work, request, access, reader)


@router.post("/ui/{token}/{work}")
async def for_ui(
    work: Work, request: Request, access: Access, reader: Annotated[str, Depends(_ui)]
) -> Response:
    """Payloads for the embedded stack's Temporal UI, whose requests carry no credentials."""
    return await _answer(work, request, access, reader)


async def _answer(work: Work, request: Request, access: PayloadAccess, reader: str) -> Response:
    namespace = request.headers.get("x-namespace", access.namespace)
    if namespace != access.namespace:
        raise NotFound(
            f"this gateway opens payloads of namespace '{access.namespace}', not '{namespace[:80]}'"
        )
    payloads = _read(await request.body())
    convert: Callable[[Sequence[Payload]], Awaitable[list[Payload]]] = (
        access.encode if work is Work.ENCODE else access.decode
    )
    answer = Payloads(payloads=await convert(payloads))
    _log.info("payloads", work=work.value, reader=reader, count=len(payloads))
    return Response(MessageToJson(answer, indent=None), media_type="application/json")


def _read(body: bytes) -> Sequence[Payload]:
    try:
        return Parse(body, Payloads(), ignore_unknown_fields=True).payloads
    except (ParseError, ValueError, RecursionError):
        # The parser's own words quote the body.
        raise HTTPException(
            HTTPStatus.BAD_REQUEST, 'The body is not {"payloads": […]} as Temporal\'s codec sends.'
        ) from None
