"""Signing in: a bearer token on the API, a session cookie in a browser.

It finds out who somebody is; what they may do is decided elsewhere.
"""

from typing import Annotated

import structlog
from fastapi import Depends, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr

from goalkeeper.identities import Person
from hitl.metrics import SIGN_IN_FAILURES
from hitl.services import Services
from hitl.sessions import Session

_log = structlog.get_logger(__name__)

_bearer = HTTPBearer(auto_error=False, description="The API token of a person.")


class Unauthenticated(Exception):
    """No valid token or session came with the request."""

    def __init__(self, message: str, *, too_many: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.too_many = too_many


def services(request: Request) -> Services:
    """The parts of the running gateway."""
    found: Services = request.app.state.services
    return found


Parts = Annotated[Services, Depends(services)]


def token_holder(parts: Services, request: Request, token: SecretStr) -> Person:
    """Whose token this is.

    Raises:
        Unauthenticated: nobody's.
    """
    person = parts.identities.by_token(token)
    if person is not None:
        return person
    SIGN_IN_FAILURES.inc()
    address = request.client.host if request.client else "unknown"
    if parts.throttle.failed(address):
        raise Unauthenticated(
            "Too many wrong tokens from this address; wait a minute.", too_many=True
        )
    _log.warning("sign-in failed", address=address)
    raise Unauthenticated("This token is not known here: it is wrong, or was withdrawn.")


def api_person(
    request: Request,
    parts: Parts,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Person:
    """The person behind an API call; a browser's cookie does not count here.

    Raises:
        Unauthenticated: no token, or a wrong one.
    """
    if credentials is None:
        SIGN_IN_FAILURES.inc()
        raise Unauthenticated("This needs a person's token: `Authorization: Bearer TOKEN`.")
    return token_holder(parts, request, SecretStr(credentials.credentials))


ApiPerson = Annotated[Person, Depends(api_person)]


def cookie_name(request: Request) -> str:
    """The session cookie's name.

    Not ``__Host-…``: that prefix wants ``Secure``, which browsers grant to plain HTTP on loopback
    only in part. Cookies are not kept apart by port, so the port is in the name: two gateways on
    one machine would otherwise sign each other's people out.
    """
    return f"goalkeeper_session_{request.url.port or 80}"


def set_cookie(request: Request, response: Response, key: str) -> None:
    """Hand a new session to the browser."""
    response.set_cookie(
        cookie_name(request),
        key,
        path="/",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


def session_of(request: Request, parts: Services) -> tuple[Session, Person] | None:
    """The browser's live session, if it has one."""
    return parts.sessions.find(request.cookies.get(cookie_name(request)))
