"""The gateway's API as a client sees it: who I am, what is asked, my answers, my submissions.

It holds the person's token and sends it nowhere else.
"""

from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import httpx
from pydantic import ConfigDict, SecretStr, TypeAdapter, ValidationError

from goalkeeper.contracts.goal import OpenRequest
from goalkeeper.domain.approval import Answer
from goalkeeper.domain.base import Model
from goalkeeper.domain.dsse import Envelope
from goalkeeper.domain.errors import NotAllowed, ServiceUnavailable, from_code

T = TypeVar("T")

_PATIENCE = httpx.Timeout(20, connect=5)
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class _Answered(Model):
    """An answer of the gateway: a newer one may say more than we know."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Me(_Answered):
    """The person whose token it is."""

    id: str
    name: str = ""
    groups: tuple[str, ...] = ()


class Decided(_Answered):
    """What became of an answer to an approval request."""

    decision_id: str
    request_id: str
    request_digest: str
    answer: Answer
    person: str
    counted: bool
    """Whether the goal has taken it in already; otherwise it is recorded and will be."""
    approved_by: tuple[str, ...] = ()
    needed: int = 1
    closed: str | None = None
    message: str = ""
    """A sentence for the person."""


class Gateway:
    """A connection to the gateway in one person's name."""

    def __init__(
        self, url: str, token: SecretStr, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.url = url.rstrip("/")
        # A proxy of the environment must not see tokens that are meant for this machine.
        local = urlsplit(url).hostname in _LOOPBACK
        self._http = httpx.AsyncClient(
            base_url=self.url,
            timeout=_PATIENCE,
            trust_env=not local,
            transport=transport,
            headers={"Authorization": f"Bearer {token.get_secret_value()}"},
        )

    async def __aenter__(self) -> "Gateway":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._http.aclose()

    async def me(self) -> Me:
        """Whose token this is."""
        return await self._call("GET", "me", Me)

    async def attest(self, goal_id: str, input_digest: str) -> Envelope:
        """The gateway's signed statement that this person submits exactly this goal."""
        body = {"goal_id": goal_id, "input_digest": input_digest}
        return await self._call("POST", "submissions", Envelope, body)

    async def requests(self) -> tuple[OpenRequest, ...]:
        """The approval requests that wait for somebody."""
        return await self._call("GET", "requests", tuple[OpenRequest, ...])

    async def request(self, request_id: str) -> OpenRequest:
        """One approval request."""
        return await self._call("GET", f"requests/{quote(request_id)}", OpenRequest)

    async def decide(
        self, request_id: str, answer: Answer, *, reason: str = "", digest: str | None = None
    ) -> Decided:
        """Answer a request.

        Args:
            request_id: ``GOAL/TASK.GENERATION``.
            answer: yes or no.
            reason: required for a no.
            digest: what the person has seen; an answer to anything else is refused.

        Raises:
            NotAllowed: the person may not decide this.
            Conflict: it was decided already, or has changed since it was looked at.
        """
        body = {
            "request_id": request_id,
            "request_digest": digest,
            "answer": answer.value,
            "reason": reason,
        }
        return await self._call("POST", "decisions", Decided, body)

    async def _call(self, method: str, path: str, result: type[T], body: Any = None) -> T:
        try:
            response = await self._http.request(method, f"/api/v1/{path}", json=body)
        except httpx.HTTPError:
            raise ServiceUnavailable(
                f"the approval gateway does not answer at {self.url}. Start the stack with "
                "`goalkeeper up`, see `goalkeeper status`, or set GOALKEEPER_GATEWAY_URL."
            ) from None
        if response.is_success:
            try:
                return TypeAdapter(result).validate_json(response.content)
            except ValidationError:
                raise self._strange(response) from None
        raise self._refused(response)

    def _refused(self, response: httpx.Response) -> Exception:
        try:
            answer = response.json()
            code, message = str(answer["code"]), str(answer["message"])
        except (ValueError, KeyError, TypeError):
            if response.status_code == httpx.codes.UNAUTHORIZED:
                return NotAllowed("the gateway does not know this token: it is wrong or withdrawn")
            return self._strange(response)
        return from_code(code, message)

    def _strange(self, response: httpx.Response) -> ServiceUnavailable:
        return ServiceUnavailable(
            f"{self.url} answered with something else (HTTP {response.status_code}): "
            "is it Goalkeeper's gateway, of the same version?"
        )
