"""The codec server: who may have payloads opened, from where, and in which form."""

import base64
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.protobuf.json_format import MessageToDict
from pydantic import SecretStr
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import DataConverter

from goalkeeper.payloads.access import PayloadAccess, payload_access, ui_token_file
from goalkeeper.settings import Settings
from goalkeeper.temporal import sealed
from hitl.guards import LARGER_BODIES
from tests.support.keys import LocalKeys
from tests.unit.hitl.conftest import Gateway, bearer

CANARY = "canary-3e77"
UI = "http://127.0.0.1:8233"
TOKEN = "t" * 43  # the UI's


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of an installation whose stack has given its UI a token."""
    file = ui_token_file(tmp_path)
    file.parent.mkdir()
    file.write_text(TOKEN)
    return Settings(state=tmp_path)


@pytest.fixture
def keys() -> LocalKeys:
    """The installation's."""
    return LocalKeys()


@pytest.fixture
def access(settings: Settings, keys: LocalKeys) -> PayloadAccess:
    """What the gateway makes of them."""
    return payload_access(settings, keys.process())


@pytest.fixture
def converter(settings: Settings, keys: LocalKeys) -> DataConverter:
    """A worker's."""
    return sealed(settings, keys.process())


@pytest.fixture
async def http(gateway: Gateway, access: PayloadAccess) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token or a session."""
    gateway.services = replace(gateway.services, payloads=access)
    async with gateway.client() as client:
        yield client


async def body(converter: DataConverter, *values: Any) -> dict[str, Any]:
    """Values as they stand in history, as the protocol sends them."""
    found: dict[str, Any] = MessageToDict(Payloads(payloads=await converter.encode(values)))
    assert CANARY not in str(found)
    return found


def opened(answer: httpx.Response) -> list[Any]:
    """The values of an answer."""
    payloads = [
        Payload(
            metadata={k: _bytes(v) for k, v in p["metadata"].items()}, data=_bytes(p.get("data"))
        )
        for p in answer.json()["payloads"]
    ]
    return DataConverter.default.payload_converter.from_payloads(payloads)


def _bytes(text: str | None) -> bytes:
    return base64.b64decode(text or "")


async def test_a_person_s_token_opens_payloads(
    http: httpx.AsyncClient, converter: DataConverter
) -> None:
    """As `temporal --codec-endpoint … --codec-auth "Bearer …"` sends it."""
    answer = await http.post(
        "/codec/decode",
        json=await body(converter, CANARY, {"n": 1}),
        headers={**bearer("ops"), "X-Namespace": "default"},
    )
    assert answer.status_code == 200
    assert opened(answer) == [CANARY, {"n": 1}]


async def test_what_lies_outside_of_history_is_opened_too(
    http: httpx.AsyncClient, converter: DataConverter
) -> None:
    """Three megabytes by their reference."""
    text = os.urandom(1_500_000).hex()
    answer = await http.post(
        "/codec/decode", json=await body(converter, text), headers=bearer("ops")
    )
    assert opened(answer) == [text]


async def test_plain_text_is_sealed_for_a_person(
    http: httpx.AsyncClient, converter: DataConverter
) -> None:
    """So that what the CLI starts is sealed as well; what comes back opens again."""
    plain = MessageToDict(Payloads(payloads=await DataConverter.default.encode([CANARY])))
    answer = await http.post("/codec/encode", json=plain, headers=bearer("ops"))
    assert CANARY not in answer.text
    again = await http.post("/codec/decode", json=answer.json(), headers=bearer("ops"))
    assert opened(again) == [CANARY]


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic b3BzOg==", "Bearer "])
@pytest.mark.parametrize("work", ["decode", "encode"])
async def test_nobody_gets_in_without_a_right_token(
    http: httpx.AsyncClient, converter: DataConverter, work: str, header: str | None
) -> None:
    """401, and nothing of the payload."""
    answer = await http.post(
        f"/codec/{work}",
        json=await body(converter, CANARY),
        headers={"Authorization": header} if header else {},
    )
    assert answer.status_code == 401
    assert answer.json()["code"] == "NotAllowed"
    assert CANARY not in answer.text


async def test_a_session_counts_from_the_temporal_ui_s_page_alone(
    gateway: Gateway, http: httpx.AsyncClient, converter: DataConverter
) -> None:
    """The browser sends the cookie along from every port of this host."""
    key = gateway.services.sessions.open(gateway.person("ops"))
    http.cookies.set("goalkeeper_session_8400", key)
    sent = await body(converter, CANARY)
    for origin, status in ((UI, 200), ("http://127.0.0.1:9999", 401), (None, 401)):
        headers = {"Origin": origin} if origin else {}
        answer = await http.post("/codec/decode", json=sent, headers=headers)
        assert answer.status_code == status
    answer = await http.post("/codec/decode", json=sent, headers={"Origin": UI})
    assert answer.headers["access-control-allow-origin"] == UI
    assert answer.headers["access-control-allow-credentials"] == "true"


@pytest.mark.parametrize("origin", [UI, "http://localhost:8233"])
async def test_the_ui_opens_payloads_with_the_token_it_was_given(
    http: httpx.AsyncClient, converter: DataConverter, origin: str
) -> None:
    """By either name of this machine; its requests carry nothing else."""
    answer = await http.post(
        f"/codec/ui/{TOKEN}/decode",
        json=await body(converter, CANARY),
        headers={"Origin": origin, "X-Namespace": "default"},
    )
    assert opened(answer) == [CANARY]
    assert answer.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize(
    ("token", "origin", "status"),
    [
        ("wrong", UI, 401),
        (TOKEN + "x", UI, 401),
        (TOKEN, "http://evil.example", 403),
        (TOKEN, "http://127.0.0.1:8234", 403),
        (TOKEN, "null", 403),
        (TOKEN, None, 403),
    ],
)
async def test_nobody_else_uses_the_ui_s_door(
    http: httpx.AsyncClient,
    converter: DataConverter,
    token: str,
    origin: str | None,
    status: int,
) -> None:
    """A wrong token, or another page with the right one."""
    answer = await http.post(
        f"/codec/ui/{token}/decode",
        json=await body(converter, CANARY),
        headers={"Origin": origin} if origin else {},
    )
    assert answer.status_code == status
    assert CANARY not in answer.text
    if origin != UI:
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("setting", [{"ui_payloads": False}, {"state": Path("/nowhere")}])
async def test_without_a_token_the_ui_s_door_is_shut(
    gateway: Gateway,
    settings: Settings,
    keys: LocalKeys,
    converter: DataConverter,
    setting: dict[str, Any],
) -> None:
    """An empty one does not open it either."""
    shut = payload_access(settings.model_copy(update=setting), keys.process())
    gateway.services = replace(gateway.services, payloads=shut)
    sent = await body(converter, CANARY)
    async with gateway.client() as client:
        for token in (TOKEN, "%20"):
            answer = await client.post(
                f"/codec/ui/{token}/decode", json=sent, headers={"Origin": UI}
            )
            assert answer.status_code == 401


@pytest.mark.parametrize(("origin", "allowed"), [(UI, True), ("http://evil.example", False)])
async def test_a_browser_is_told_beforehand_whether_it_may_ask(
    http: httpx.AsyncClient, origin: str, allowed: bool
) -> None:
    """The preflight: for the Temporal UI's page, and for no other."""
    answer = await http.options(
        f"/codec/ui/{TOKEN}/decode",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,x-namespace",
        },
    )
    assert (answer.headers.get("access-control-allow-origin") == origin) is allowed
    assert answer.is_success is allowed


async def test_the_rest_of_the_gateway_answers_no_other_origin(http: httpx.AsyncClient) -> None:
    """CORS ends with the codec's routes."""
    for path in ("/api/v1/me", "/", "/healthz"):
        answer = await http.get(path, headers={**bearer("ops"), "Origin": UI})
        assert "access-control-allow-origin" not in answer.headers


async def test_what_does_not_open_stays_ciphertext_and_hides_no_other(
    http: httpx.AsyncClient, converter: DataConverter, settings: Settings
) -> None:
    """Sealed with a key from elsewhere, or lost."""
    foreign = (await body(sealed(settings, LocalKeys().process()), CANARY))["payloads"]
    own = (await body(converter, CANARY))["payloads"]
    answer = await http.post(
        "/codec/decode", json={"payloads": [*foreign, *own]}, headers=bearer("ops")
    )
    assert answer.json()["payloads"][0] == foreign[0]
    assert CANARY in str(
        opened(httpx.Response(200, json={"payloads": answer.json()["payloads"][1:]}))
    )


async def test_a_large_payload_that_was_damaged_hides_no_other(
    http: httpx.AsyncClient, converter: DataConverter, settings: Settings
) -> None:
    """It stays the reference that it is."""
    large = (await body(converter, os.urandom(500_000).hex()))["payloads"]
    (file,) = [f for f in (settings.evidence_folder / "payloads").rglob("*") if f.is_file()]
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:-1])
    own = (await body(converter, CANARY))["payloads"]
    answer = await http.post(
        "/codec/decode", json={"payloads": [*large, *own]}, headers=bearer("ops")
    )
    assert answer.status_code == 200
    assert answer.json()["payloads"][0] == large[0]
    assert CANARY in str(
        opened(httpx.Response(200, json={"payloads": answer.json()["payloads"][1:]}))
    )


async def test_another_namespace_is_refused(http: httpx.AsyncClient) -> None:
    """This gateway has keys for its own."""
    answer = await http.post(
        "/codec/decode", json={"payloads": []}, headers={**bearer("ops"), "X-Namespace": "other"}
    )
    assert answer.status_code == 404
    assert "'default', not 'other'" in answer.json()["message"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b"\xff\xfe",
        b'{"payloads": 1}',
        b'{"payloads": [{"data": 5}]}',
        b"[" * 5000,
    ],
)
async def test_a_body_that_is_none_is_refused(http: httpx.AsyncClient, content: bytes) -> None:
    """With a sentence, and without what was in it."""
    answer = await http.post("/codec/decode", content=content, headers=bearer("ops"))
    assert answer.status_code == 400
    assert "payloads" in answer.json()["message"]


async def test_a_body_is_bounded(http: httpx.AsyncClient) -> None:
    """Larger than elsewhere, since a page of events comes at once."""
    most = LARGER_BODIES["/codec/"]
    answer = await http.post("/codec/decode", content=b"x" * (most + 1), headers=bearer("ops"))
    assert answer.status_code == 413


async def test_while_vault_is_away_it_says_so(
    http: httpx.AsyncClient, converter: DataConverter, keys: LocalKeys
) -> None:
    """503: worth trying again."""
    sent = await body(converter, CANARY)
    keys.away = True
    answer = await http.post("/codec/decode", json=sent, headers=bearer("ops"))
    assert answer.status_code == 503
    assert answer.json()["code"] == "VaultUnavailable"


async def test_a_gateway_without_keys_has_no_codec(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """It says that there is nothing."""
    answer = await api.post("/codec/decode", json={"payloads": []}, headers=bearer("ops"))
    assert answer.status_code == 404


def test_the_ui_s_token_does_not_show(access: PayloadAccess) -> None:
    """Neither in a log line nor in a traceback."""
    assert isinstance(access.ui_token, SecretStr)
    assert TOKEN not in repr(access)
