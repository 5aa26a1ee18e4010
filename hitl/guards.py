"""What stands before every route: headers, sizes, origins, and guessing slowed down.

It knows HTTP and nothing of approvals.
"""

import time
from collections import deque
from collections.abc import Callable
from http import HTTPStatus

from fastapi import HTTPException, Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from goalkeeper.domain.errors import NotAllowed
from hitl.metrics import LATENCY

LARGEST_BODY = 64 * 1024
LARGER_BODIES = {"/codec/": 16 * 1024 * 1024}
"""By the beginning of the path: the Temporal UI sends the payloads of a page of events at once."""

HEADERS = {
    # No script at all: a page that would need one is a page that an injection could use.
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not `no-referrer`: with it browsers send `Origin: null` on a form, and the check of the
    # origin below would refuse every answer.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """ASGI middleware: security headers on every answer, a bounded body, and the time taken."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        await self._app(scope, _bounded(receive, _largest(scope["path"])), sending)
        # The route's pattern, so that neither ids nor inventions become labels.
        route = getattr(scope.get("route"), "path", "other")
        LATENCY.labels(route, status).observe(time.perf_counter() - began)


class Throttle:
    """Counts failed sign-ins of an address within a minute.

    It never refuses a right token: on loopback everybody has the same address, and one program
    that guesses must not be able to keep people from deciding. Tokens are 256 random bits, so
    that guessing is hopeless anyway; what is bounded here is the noise.
    """

    def __init__(
        self, most: int = 20, seconds: float = 60, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._failures: dict[str, deque[float]] = {}

    def failed(self, address: str) -> bool:
        """Note one more failure; True once there are too many."""
        now = self._clock()
        if len(self._failures) > 10_000:
            self._failures.clear()
        failures = self._failures.setdefault(address, deque(maxlen=self._most + 1))
        failures.append(now)
        while failures and failures[0] <= now - self._seconds:
            failures.popleft()
        return len(failures) > self._most


def require_same_origin(request: Request) -> None:
    """Refuse a form that another site, or another port of this host, sent.

    SameSite does not help against another port: ports do not make a site.

    Raises:
        NotAllowed: the browser says that the form is not of this origin, or says nothing.
    """
    origin = request.headers.get("origin")
    expected = f"{request.url.scheme}://{request.headers.get('host', '')}"
    fetched = request.headers.get("sec-fetch-site", "same-origin")
    if origin != expected or fetched != "same-origin":
        raise NotAllowed(
            "This form was not sent from the gateway's own page, so nothing was done. Open the "
            "page again and answer there."
        )


def _largest(path: str) -> int:
    return next((most for p, most in LARGER_BODIES.items() if path.startswith(p)), LARGEST_BODY)


def _bounded(receive: Receive, most: int) -> Receive:
    taken = 0

    async def bounded() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > most:
            text = f"The body is larger than {most} bytes."
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
        return message

    return bounded
