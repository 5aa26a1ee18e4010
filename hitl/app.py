"""The gateway's ASGI application: API, console, health and metrics behind one set of guards.

It is put together here from `Services`, and starts nothing.
"""

import asyncio
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp

from goalkeeper.domain import errors
from hitl import api, codec, console
from hitl.guards import Guard
from hitl.services import Services
from hitl.signin import Parts, Unauthenticated

_STATUS: tuple[tuple[type[errors.GoalkeeperError], HTTPStatus], ...] = (
    (errors.RateLimited, HTTPStatus.TOO_MANY_REQUESTS),
    (errors.TransientError, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.NotFound, HTTPStatus.NOT_FOUND),
    (errors.NotAllowed, HTTPStatus.FORBIDDEN),
    (errors.Conflict, HTTPStatus.CONFLICT),
    (errors.ApprovalExpired, HTTPStatus.GONE),
    # The gateway's own login was refused: nothing that the person could change.
    (errors.CredentialDenied, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.PermanentError, HTTPStatus.BAD_REQUEST),
)


def create_app(services: Services, url: str) -> ASGIApp:
    """The application.

    Args:
        services: what the routes work with.
        url: the gateway's own URL: requests for another host are refused, so that a name which
            an attacker points at loopback reaches nothing.
    """
    app = FastAPI(
        title="Goalkeeper approval gateway",
        version="1",
        # Both pages load scripts from a CDN.
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
    )
    app.state.services = services
    app.add_api_route("/healthz", healthz, include_in_schema=False)
    app.add_api_route("/metrics", metrics, include_in_schema=False)
    app.include_router(api.router)
    app.include_router(codec.router)
    app.include_router(console.router)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    app.add_exception_handler(errors.GoalkeeperError, _refused)
    app.add_exception_handler(Unauthenticated, _unauthenticated)
    app.add_exception_handler(console.SignInFirst, _sign_in_first)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(StarletteHTTPException, _http)
    app.add_exception_handler(Exception, _broken)
    hosts = {urlsplit(url).hostname or "127.0.0.1", "127.0.0.1", "localhost"}
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=sorted(hosts))
    # Around everything, the answer to a crash included, which middleware of the app does not see.
    return Guard(codec.CodecCors(app, services.payloads) if services.payloads else app)


async def healthz(parts: Parts) -> Response:
    """Whether Temporal and Vault answer."""
    temporal, vault = await asyncio.gather(parts.goals.reachable(), parts.vault_healthy())
    healthy = temporal and vault
    status = HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE
    body = {"healthy": healthy, "temporal": temporal, "vault": vault}
    return JSONResponse(body, status)


async def metrics() -> Response:
    """The metrics in Prometheus' text form."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.GoalkeeperError)
    status = next(s for kind, s in _STATUS if isinstance(error, kind))
    headers = {}
    if isinstance(error, errors.RateLimited):
        headers["retry-after"] = str(int(error.retry_after.total_seconds()) + 1)
    return _answer(request, status, error.code, error.message, headers)


async def _unauthenticated(request: Request, error: Exception) -> Response:
    assert isinstance(error, Unauthenticated)
    if error.too_many:
        headers = {"retry-after": "60"}
        return _answer(request, HTTPStatus.TOO_MANY_REQUESTS, "RateLimited", error.message, headers)
    headers = {"www-authenticate": "Bearer"}
    return _answer(request, HTTPStatus.UNAUTHORIZED, "NotAllowed", error.message, headers)


async def _sign_in_first(request: Request, _: Exception) -> Response:
    return console.sign_in_first(request)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # Where and what, never the value: it may be a token in the wrong place.
    first = error.errors()[0]
    where = ".".join(str(p) for p in first["loc"])
    message = f"The request is wrong at '{where[:200]}': {first['msg'][:300]}."
    return _answer(request, HTTPStatus.UNPROCESSABLE_ENTITY, "InvalidRequest", message)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    status = HTTPStatus(error.status_code)
    code = "".join(word.capitalize() for word in status.phrase.split())
    message = f"There is nothing at '{request.url.path[:200]}'." if status == 404 else error.detail
    return _answer(request, status, code, message, dict(error.headers or {}))


async def _broken(request: Request, _: Exception) -> Response:
    # Starlette raises it again afterwards, and the server logs it.
    message = "Something went wrong in the gateway; its log says what. Nothing more was done."
    return _answer(request, HTTPStatus.INTERNAL_SERVER_ERROR, "InternalError", message)


def _answer(
    request: Request,
    status: HTTPStatus,
    code: str,
    message: str,
    headers: dict[str, str] | None = None,
) -> Response:
    if request.url.path.startswith(("/api/", f"{codec.PREFIX}/")):
        return JSONResponse({"code": code, "message": message}, status, headers)
    response = console.problem_page(request, status, message)
    response.headers.update(headers or {})
    return response
