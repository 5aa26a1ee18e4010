"""What the client makes of the gateway's answers."""

from collections.abc import Callable

import httpx
import pytest
from pydantic import SecretStr

from goalkeeper.client.gateway import Gateway
from goalkeeper.domain.approval import Answer
from goalkeeper.domain.errors import Conflict, NotAllowed, ServiceUnavailable
from tests.unit.client.conftest import Samples

Handler = Callable[[httpx.Request], httpx.Response]


def _gateway(handler: Handler) -> Gateway:
    return Gateway(
        "http://127.0.0.1:8400", SecretStr("s3cret"), transport=httpx.MockTransport(handler)
    )


async def test_a_decision_carries_the_token_and_exactly_what_was_seen() -> None:
    """The token in the header alone; the digest as shown to the person."""
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(
            200,
            json={
                "decision_id": "d" * 8,
                "request_id": "g/approve.0",
                "request_digest": "sha256:x",
                "answer": "approve",
                "person": "operator",
                "counted": True,
                "said_by_a_newer_gateway": 1,
            },
        )

    async with _gateway(handler) as gateway:
        decided = await gateway.decide(
            "g/approve.0", Answer.APPROVE, reason="ok", digest="sha256:x"
        )
    assert decided.person == "operator"
    [request] = seen
    assert request.headers["authorization"] == "Bearer s3cret"
    assert b"s3cret" not in request.content
    assert b'"request_digest":"sha256:x"' in request.content


async def test_the_gateways_refusal_arrives_as_the_error_it_was() -> None:
    """With its code and its sentence."""
    body = {"code": "Conflict", "message": "was already approved by amy"}
    async with _gateway(lambda _: httpx.Response(409, json=body)) as gateway:
        with pytest.raises(Conflict, match="already approved by amy"):
            await gateway.decide("g/a.0", Answer.DENY, reason="no")


@pytest.mark.parametrize(
    ("response", "error", "says"),
    [
        (httpx.Response(401, text="no"), NotAllowed, "token"),
        (httpx.Response(502, text="<html>"), ServiceUnavailable, "HTTP 502"),
        (httpx.Response(200, text="<html>login page"), ServiceUnavailable, "is it Goalkeeper"),
        (httpx.Response(200, json={"what": "ever"}), ServiceUnavailable, "same version"),
    ],
)
async def test_an_answer_that_is_not_the_gateways_is_said_so(
    response: httpx.Response, error: type[Exception], says: str
) -> None:
    """Behind a proxy, anything may answer; its body is not quoted."""
    async with _gateway(lambda _: response) as gateway:
        with pytest.raises(error, match=says) as caught:
            await gateway.me()
    assert "<html>" not in str(caught.value)


async def test_a_gateway_that_is_away_is_named_with_what_to_do() -> None:
    """The address, and the command that starts it."""

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    async with _gateway(refuse) as gateway:
        with pytest.raises(ServiceUnavailable, match=r"127\.0\.0\.1:8400.*goalkeeper up"):
            await gateway.requests()


async def test_a_request_id_with_its_slash_reaches_the_gateway_whole(samples: Samples) -> None:
    """``GOAL/TASK.GENERATION`` is one id, not two path segments to be encoded apart."""
    asked = samples.request()

    def handler(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/api/v1/requests/g/approve.0"
        return httpx.Response(200, content=asked.model_dump_json())

    async with _gateway(handler) as gateway:
        assert await gateway.request("g/approve.0") == asked
