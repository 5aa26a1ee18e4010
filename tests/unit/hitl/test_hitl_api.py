"""The JSON API: who gets in, what they get, and how errors look."""

from datetime import timedelta

import httpx
import pytest
from structlog.testing import capture_logs

from goalkeeper.contracts.goal import OpenRequest
from goalkeeper.domain.approval import SUBMISSION_TYPE, Submission
from goalkeeper.domain.dsse import Envelope, open_envelope
from goalkeeper.domain.errors import VaultUnavailable
from tests.unit.hitl.conftest import Gateway, bearer
from tests.unit.hitl.hitl_fakes import TOKENS, ZERO, a_request

PATHS = [
    ("GET", "/api/v1/me"),
    ("GET", "/api/v1/requests"),
    ("GET", "/api/v1/requests/goal-1/approve.0"),
    ("POST", "/api/v1/decisions"),
    ("POST", "/api/v1/submissions"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize(
    "header",
    [
        None,
        "Bearer wrong",
        f"Bearer {TOKENS['ops']}x",
        f"Basic {TOKENS['ops']}",
        "Bearer ",
        "Bearer \xff",
    ],
)
async def test_nobody_gets_in_without_a_right_token(
    gateway: Gateway, api: httpx.AsyncClient, method: str, path: str, header: str | None
) -> None:
    """Every route answers 401 in the same form, and nothing happens."""
    gateway.goals.ask(a_request())
    body = {"request_id": "goal-1/approve.0", "answer": "approve"}
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    answer = await api.request(method, path, headers=headers, json=body)  # type: ignore[arg-type]
    assert answer.status_code == 401
    assert answer.json()["code"] == "NotAllowed"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert gateway.goals.signals == []


async def test_a_browser_session_does_not_open_the_api(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """Otherwise a page could make a browser call it."""
    key = gateway.services.sessions.open(gateway.person("ops"))
    api.cookies.set("goalkeeper_session_8400", key)
    assert (await api.get("/")).status_code == 200
    assert (await api.get("/api/v1/requests")).status_code == 401


async def test_guessing_is_answered_ever_less_and_never_locks_people_out(
    api: httpx.AsyncClient,
) -> None:
    """After some failures the answer is 429; a right token still works."""
    with capture_logs() as logs:
        codes = [
            (await api.get("/api/v1/me", headers={"Authorization": f"Bearer {i}"})).status_code
            for i in range(40)
        ]
    assert (codes[0], codes[-1]) == (401, 429)
    assert len(logs) < 40
    assert (await api.get("/api/v1/me", headers=bearer("ops"))).status_code == 200


async def test_me_is_the_person_of_the_token(api: httpx.AsyncClient) -> None:
    """Id, name and groups as the identities file has them."""
    answer = await api.get("/api/v1/me", headers=bearer("ops"))
    assert answer.json() == {"id": "ops", "name": "Ops", "groups": ["operators"]}


async def test_open_requests_come_the_most_urgent_first(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """Closed and expired ones, and goals that do not answer, are left out."""
    gateway.goals.ask(a_request("goal-1"))
    gateway.goals.ask(a_request("goal-2", expires_in=timedelta(hours=1)))
    gateway.goals.ask(a_request("goal-3", expires_in=timedelta(seconds=0)))
    gateway.goals.ask(a_request("goal-4"))
    gateway.goals.asked["goal-4/approve.0"].closed = "denied"
    gateway.goals.ask(a_request("goal-5"))
    gateway.goals.silent = {"goal-5"}
    answer = await api.get("/api/v1/requests", headers=bearer("ops"))
    found = [OpenRequest.model_validate(r) for r in answer.json()]
    assert [r.request.goal_id for r in found] == ["goal-2", "goal-1"]


async def test_an_inbox_in_which_no_goal_answers_is_an_error_and_not_empty(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """An empty inbox would say that nothing waits."""
    gateway.goals.ask(a_request())
    gateway.goals.silent = {"goal-1"}
    answer = await api.get("/api/v1/requests", headers=bearer("ops"))
    assert (answer.status_code, answer.json()["code"]) == (503, "ServiceUnavailable")


async def test_one_request_is_found_by_its_id(gateway: Gateway, api: httpx.AsyncClient) -> None:
    """The id has a slash, and the digest is that of the request."""
    request = gateway.goals.ask(a_request())
    answer = await api.get("/api/v1/requests/goal-1/approve.0", headers=bearer("ops"))
    found = OpenRequest.model_validate(answer.json())
    assert found.request.digest == request.digest == found.digest


async def test_a_decision_is_taken_with_the_digest_that_was_seen(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """The answer says who, what and whether it counts."""
    request = gateway.goals.ask(a_request())
    body = {
        "request_id": request.id,
        "request_digest": request.digest,
        "answer": "approve",
        "reason": "fine",
    }
    answer = await api.post("/api/v1/decisions", json=body, headers=bearer("ops"))
    assert answer.status_code == 200
    assert answer.json()["person"] == "ops"
    assert answer.json()["counted"] is True


@pytest.mark.parametrize(
    ("person", "body", "status", "code"),
    [
        ("guest", {"answer": "approve"}, 403, "NotAllowed"),
        ("dev", {"answer": "approve"}, 403, "NotAllowed"),
        ("ops", {"answer": "deny"}, 403, "NotAllowed"),
        ("ops", {"answer": "approve", "request_digest": ZERO}, 409, "Conflict"),
        ("ops", {"answer": "approve", "request_id": "goal-9/x.0"}, 404, "NotFound"),
        ("ops", {"answer": "maybe"}, 422, "InvalidRequest"),
        ("ops", {"answer": "approve", "request_digest": "sha256:short"}, 422, "InvalidRequest"),
        ("ops", {"answer": "approve", "as": "root"}, 422, "InvalidRequest"),
        ("ops", {"answer": "deny", "reason": "x" * 2001}, 422, "InvalidRequest"),
    ],
)
async def test_a_wrong_answer_is_refused_with_a_code_and_a_sentence(
    gateway: Gateway,
    api: httpx.AsyncClient,
    person: str,
    body: dict[str, str],
    status: int,
    code: str,
) -> None:
    """And the goal hears nothing."""
    gateway.goals.ask(a_request())
    call = {"request_id": "goal-1/approve.0", **body}
    answer = await api.post("/api/v1/decisions", json=call, headers=bearer(person))
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert set(answer.json()) == {"code", "message"}
    assert gateway.goals.signals == []


async def test_an_expired_request_is_gone(gateway: Gateway, api: httpx.AsyncClient) -> None:
    """With a status of its own, so that a client can tell it from a conflict."""
    gateway.goals.ask(a_request())
    gateway.clock.forward(timedelta(hours=5))
    body = {"request_id": "goal-1/approve.0", "answer": "approve"}
    answer = await api.post("/api/v1/decisions", json=body, headers=bearer("ops"))
    assert (answer.status_code, answer.json()["code"]) == (410, "ApprovalExpired")


async def test_a_body_over_the_limit_is_not_read(gateway: Gateway, api: httpx.AsyncClient) -> None:
    """Whether it declares its length or not."""

    async def endless() -> object:
        while True:
            yield b"x" * 10_000

    for content in (b"x" * 100_000, endless()):
        answer = await api.post("/api/v1/decisions", content=content, headers=bearer("ops"))  # type: ignore[arg-type]
        assert answer.status_code == 413
    assert gateway.goals.signals == []


async def test_a_value_in_the_wrong_place_is_not_echoed(api: httpx.AsyncClient) -> None:
    """It may be a token."""
    answer = await api.post(
        "/api/v1/decisions", json={"request_id": [TOKENS["ops"]]}, headers=bearer("ops")
    )
    assert answer.status_code == 422
    assert TOKENS["ops"] not in answer.text


async def test_a_submission_is_attested_in_the_name_of_the_token(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """The signed statement holds person, goal, digest and time."""
    body = {"goal_id": "goal-7", "input_digest": ZERO}
    answer = await api.post("/api/v1/submissions", json=body, headers=bearer("dev"))
    envelope = Envelope.model_validate(answer.json())
    statement = open_envelope(envelope, Submission, SUBMISSION_TYPE, gateway.signer.keys)
    assert (statement.person, statement.goal_id, statement.input_digest) == ("dev", "goal-7", ZERO)
    assert statement.at == gateway.clock()


async def test_nobody_is_attested_as_somebody_else(api: httpx.AsyncClient) -> None:
    """The person is the token's, and cannot be named in the body."""
    body = {"goal_id": "goal-7", "input_digest": ZERO, "person": "root"}
    answer = await api.post("/api/v1/submissions", json=body, headers=bearer("dev"))
    assert answer.status_code == 422


async def test_a_sealed_vault_is_said_and_nothing_is_recorded(
    gateway: Gateway, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503: the same answer may be given again."""

    async def sealed(_: bytes) -> None:
        raise VaultUnavailable("Vault is sealed")

    gateway.goals.ask(a_request())
    monkeypatch.setattr(gateway.signer, "sign", sealed)
    body = {"request_id": "goal-1/approve.0", "answer": "approve"}
    answer = await api.post("/api/v1/decisions", json=body, headers=bearer("ops"))
    assert (answer.status_code, answer.json()["code"]) == (503, "VaultUnavailable")
    assert gateway.log.events == []


async def test_a_name_pointed_at_loopback_reaches_nothing(api: httpx.AsyncClient) -> None:
    """DNS rebinding: requests for another host are refused before anything else."""
    headers = {**bearer("ops"), "Host": "evil.example:8400"}
    assert (await api.get("/api/v1/me", headers=headers)).status_code == 400


async def test_health_tells_what_is_missing(gateway: Gateway, api: httpx.AsyncClient) -> None:
    """Without a token, and without details."""
    assert (await api.get("/healthz")).json() == {"healthy": True, "temporal": True, "vault": True}
    gateway.goals.temporal_down = True
    answer = await api.get("/healthz")
    assert answer.status_code == 503
    assert answer.json()["temporal"] is False


async def test_metrics_count_answers_without_naming_anybody(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """Routes are patterns; ids and people are no labels."""
    gateway.goals.ask(a_request())
    await api.get("/api/v1/requests/goal-1/approve.0", headers=bearer("ops"))
    await api.get("/api/v1/requests/goal-1/approve.0", headers=bearer("guest"))
    text = (await api.get("/metrics")).text
    assert 'route="/api/v1/requests/{request_id:path}",status="200"' in text
    assert "goal-1" not in text
    assert "guest" not in text


async def test_the_api_describes_itself(api: httpx.AsyncClient) -> None:
    """OpenAPI lists the API and not the pages."""
    paths = (await api.get("/api/v1/openapi.json")).json()["paths"]
    assert {"/api/v1/me", "/api/v1/requests", "/api/v1/decisions"} <= set(paths)
    assert "/login" not in paths
