"""The console: signing in, reading, answering, and the ways to abuse a browser."""

import re
from datetime import timedelta
from html import unescape

import httpx
import pytest
from pydantic import SecretStr

from goalkeeper.domain.audit import AuditKind
from goalkeeper.domain.base import Json
from goalkeeper.identities import token_digest
from tests.unit.hitl.conftest import URL, Gateway
from tests.unit.hitl.hitl_fakes import TOKENS, a_request, an_action

OWN = {"Origin": URL, "Sec-Fetch-Site": "same-origin"}
COOKIE = "goalkeeper_session_8400"
PAGE = "/requests/goal-1/approve.0"


async def sign_in(client: httpx.AsyncClient, name: str) -> None:
    """Open a session."""
    answer = await client.post("/login", data={"token": TOKENS[name]}, headers=OWN)
    assert answer.status_code == 303


def hidden(page: str, name: str) -> str:
    """The value of a hidden field."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found is not None
    return unescape(found[1])


async def form_of(client: httpx.AsyncClient, path: str = PAGE) -> dict[str, str]:
    """The hidden fields of a request's form."""
    page = (await client.get(path)).text
    return {"form_token": hidden(page, "form_token"), "digest": hidden(page, "digest")}


@pytest.mark.parametrize("path", ["/", PAGE, "/goals/goal-1", "/decisions/decision-x"])
async def test_every_page_wants_a_sign_in_and_comes_back_after_it(
    api: httpx.AsyncClient, path: str
) -> None:
    """The sign-in leads back to the page that was asked for."""
    answer = await api.get(path)
    assert answer.status_code == 303
    page = await api.get(answer.headers["location"])
    data = {"token": TOKENS["ops"], "next": hidden(page.text, "next")}
    after = await api.post("/login", data=data, headers=OWN)
    assert after.headers["location"] == path


async def test_a_wrong_token_opens_no_session(api: httpx.AsyncClient) -> None:
    """And says so on the page, without repeating it."""
    answer = await api.post("/login", data={"token": "guess-me-not"}, headers=OWN)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "guess-me-not" not in answer.text


async def test_the_cookie_is_opaque_and_out_of_reach_of_scripts(api: httpx.AsyncClient) -> None:
    """HttpOnly, SameSite=Strict, and neither name nor token inside."""
    answer = await api.post("/login", data={"token": TOKENS["ops"]}, headers=OWN)
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKENS["ops"] not in cookie
    assert "ops" not in cookie.split("=")[1].split(";")[0].lower().split("-")


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\nb", "x"]
)
async def test_a_sign_in_never_leads_to_another_site(api: httpx.AsyncClient, target: str) -> None:
    """Whatever `next` says."""
    data = {"token": TOKENS["ops"], "next": target}
    answer = await api.post("/login", data=data, headers=OWN)
    assert answer.headers["location"] == "/"


async def test_a_stolen_cookie_is_worthless_after_sign_out(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """The session ends on the server, not in the browser."""
    gateway.goals.ask(a_request())
    await sign_in(api, "ops")
    stolen, form = api.cookies[COOKIE], await form_of(api)
    await api.post("/logout", data={"form_token": form["form_token"]}, headers=OWN)
    async with gateway.client() as thief:
        thief.cookies.set(COOKIE, stolen)
        assert (await thief.get("/")).status_code == 303
        answer = await thief.post(PAGE, data={**form, "answer": "approve"}, headers=OWN)
    assert answer.headers["location"] == "/login"
    assert gateway.goals.signals == []


async def test_a_session_ends_after_idling_and_at_its_longest(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """Half an hour without a look, twelve hours in any case."""
    await sign_in(api, "ops")
    gateway.clock.forward(timedelta(minutes=31))
    assert (await api.get("/")).status_code == 303
    await sign_in(api, "ops")
    for _ in range(36):
        gateway.clock.forward(timedelta(minutes=20))
        assert (await api.get("/")).status_code == 200
    gateway.clock.forward(timedelta(minutes=1))
    assert (await api.get("/")).status_code == 303


async def test_a_withdrawn_token_ends_the_sessions_it_opened(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """At the next look, without a restart."""
    await sign_in(api, "ops")
    file, old = gateway.identities_file, token_digest(SecretStr(TOKENS["ops"]))
    file.write_text(file.read_text().replace(old, token_digest(SecretStr("a new one"))))
    assert (await api.get("/")).status_code == 303


async def test_a_person_who_left_the_file_is_signed_out(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """Their session is worth nothing, even if somebody else has their place."""
    await sign_in(api, "ops")
    file = gateway.identities_file
    file.write_text(file.read_text().replace("id: ops", "id: successor"))
    assert (await api.get("/")).status_code == 303


async def test_signing_in_again_ends_the_session_before(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """Fixing a session id on somebody gains nothing."""
    await sign_in(api, "ops")
    before = api.cookies[COOKIE]
    await sign_in(api, "root")
    assert api.cookies[COOKIE] != before
    assert gateway.services.sessions.find(before) is None


async def test_the_inbox_lists_what_waits_and_for_how_long(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """With who asks, and whether that is known."""
    gateway.goals.ask(a_request(requester="boss", proven=False))
    await sign_in(api, "ops")
    page = (await api.get("/")).text
    assert "deploy-branch in production: git.merge_branch" in page
    assert "unproven" in page
    assert "4 h left" in page
    assert f'href="{PAGE}"' in page


async def test_a_request_page_shows_exactly_what_would_run(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """Operation, inputs, risk, digests, reasons, preview and the consequences of each answer."""
    request = gateway.goals.ask(a_request(shown={"preview": {"replicas": 3}}))
    await sign_in(api, "ops")
    page = unescape((await api.get(PAGE)).text)
    for expected in (
        "git.merge_branch",
        "c0ffee",
        "write: changes something",
        request.digest,
        request.actions[0].digest,
        "A change in production needs an operator.",
        "replicas",
        "runs exactly these actions",
        "none of these actions runs",
    ):
        assert expected in page


async def test_an_approval_in_the_browser_counts_and_shows_what_was_recorded(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """The page after it is read from the record; loading it again sends nothing."""
    gateway.goals.ask(a_request())
    await sign_in(api, "ops")
    form = {**await form_of(api), "answer": "approve", "reason": "fine <b>by me</b>"}
    answer = await api.post(PAGE, data=form, headers=OWN)
    assert answer.status_code == 303
    for _ in range(2):
        page = (await api.get(answer.headers["location"])).text
        assert "Approval recorded" in page
        assert "fine &lt;b&gt;by me&lt;/b&gt;" in page
    assert gateway.goals.asked["goal-1/approve.0"].closed == "approved"
    event = gateway.log.of_kind(AuditKind.APPROVAL_DECIDED)[0]
    assert event.detail["channel"] == "console"
    assert len(gateway.goals.signals) == 1


async def test_what_was_recorded_is_shown_even_if_the_goal_does_not_answer(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """The page says so and looks again by itself."""
    gateway.goals.ask(a_request())
    await sign_in(api, "ops")
    answer = await api.post(PAGE, data={**await form_of(api), "answer": "approve"}, headers=OWN)
    gateway.goals.silent = {"goal-1"}
    page = (await api.get(answer.headers["location"])).text
    assert "Approval recorded" in page
    assert "does not answer now" in page
    assert 'http-equiv="refresh"' in page


async def test_a_refused_answer_keeps_what_was_typed(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """The page comes back with the reason for the refusal."""
    gateway.goals.ask(a_request(reason_required=True))
    await sign_in(api, "ops")
    form = {**await form_of(api), "answer": "approve", "reason": " "}
    answer = await api.post(PAGE, data=form, headers=OWN)
    assert answer.status_code == 409
    assert "Policy wants a reason" in answer.text


async def test_a_page_shown_before_the_request_changed_approves_nothing(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """The digest in the form is that of what was shown."""
    gateway.goals.ask(a_request("goal-1", an_action(commit="aaa")))
    await sign_in(api, "ops")
    form = await form_of(api)
    gateway.goals.ask(a_request("goal-1", an_action(commit="bbb")))
    answer = await api.post(PAGE, data={**form, "answer": "approve"}, headers=OWN)
    assert answer.status_code == 409
    assert "no longer what you were shown" in answer.text
    assert gateway.goals.signals == []


@pytest.mark.parametrize(
    ("name", "why"), [("dev", "asked for this goal"), ("guest", "none of the groups")]
)
async def test_whoever_may_not_answer_gets_no_form_and_is_refused_without_one(
    gateway: Gateway, api: httpx.AsyncClient, name: str, why: str
) -> None:
    """The page says why; a form made by hand changes nothing."""
    request = gateway.goals.ask(a_request())
    await sign_in(api, name)
    page = (await api.get(PAGE)).text
    assert why in page
    assert 'name="answer"' not in page
    form = {"form_token": hidden(page, "form_token"), "digest": request.digest, "answer": "approve"}
    answer = await api.post(PAGE, data=form, headers=OWN)
    assert answer.status_code == 409
    assert gateway.goals.signals == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://127.0.0.1:9999", "Sec-Fetch-Site": "same-site"},
        {"Origin": URL, "Sec-Fetch-Site": "same-site"},
        {"Origin": "null", "Sec-Fetch-Site": "same-origin"},
    ],
)
async def test_a_form_from_elsewhere_is_refused(
    gateway: Gateway, api: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    """Another site, another port of this host, a sandboxed frame, and no word on where from."""
    gateway.goals.ask(a_request())
    await sign_in(api, "ops")
    form = await form_of(api)
    answer = await api.post(PAGE, data={**form, "answer": "approve"}, headers=headers)
    assert answer.status_code == 403
    assert (await api.post("/logout", data=form, headers=headers)).status_code == 403
    assert (
        await api.post("/login", data={"token": TOKENS["ops"]}, headers=headers)
    ).status_code == 403
    assert gateway.goals.signals == []


async def test_a_form_without_the_sessions_token_is_refused(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """None, an invented one, and that of another person's session."""
    gateway.goals.ask(a_request())
    await sign_in(api, "ops")
    form = await form_of(api)
    async with gateway.client() as other:
        await sign_in(other, "root")
        foreign = (await form_of(other))["form_token"]
    for token in ("", "invented", "ü", foreign):
        data = {**form, "form_token": token, "answer": "approve"}
        assert (await api.post(PAGE, data=data, headers=OWN)).status_code == 403
    assert gateway.goals.signals == []


async def test_a_look_at_a_page_never_answers(gateway: Gateway, api: httpx.AsyncClient) -> None:
    """Only a form's POST does: a link or an image changes nothing."""
    gateway.goals.ask(a_request())
    await sign_in(api, "ops")
    form = await form_of(api)
    answer = await api.get(PAGE, params={**form, "answer": "approve"})
    assert answer.status_code == 200
    assert gateway.goals.signals == []


async def test_markup_in_a_goals_values_stays_text(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """In inputs, keys, previews, reasons and the requester's name."""
    nasty = "<script>alert(1)</script><img src=x onerror=alert(1)>'\"{{ 7*7 }}"
    inputs: dict[str, Json] = {nasty: nasty, "rows": [{nasty: nasty}, {nasty: nasty}]}
    action = an_action().model_copy(update={"inputs": inputs})
    request = a_request("goal-1", action, requester=nasty, shown={"preview": {nasty: nasty}})
    gateway.goals.ask(request.model_copy(update={"reasons": (nasty,)}))
    await sign_in(api, "ops")
    for path in ("/", PAGE, "/goals/goal-1"):
        page = (await api.get(path)).text
        assert "<script" not in page
        assert "<img" not in page
        assert "&lt;script&gt;" in page
        assert path == "/" or "{{ 7*7 }}" in page


async def test_every_answer_forbids_scripts_frames_and_caching(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """Pages, errors and the API alike."""
    for path in ("/login", "/nowhere", "/api/v1/me", "/static/console.css"):
        headers = (await api.get(path)).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "script-src" not in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"


async def test_a_crash_is_answered_without_its_text(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And with the same guards around it."""

    async def crash(_: str) -> None:
        raise RuntimeError("secret inside")

    monkeypatch.setattr(gateway.goals, "progress", crash)
    client = gateway.client()
    client._transport.raise_app_exceptions = False  # type: ignore[attr-defined]
    async with client:
        await sign_in(client, "ops")
        answer = await client.get("/goals/goal-1")
    assert answer.status_code == 500
    assert "secret inside" not in answer.text
    assert "content-security-policy" in answer.headers


async def test_a_link_from_a_chat_finds_the_session_all_the_same(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """The strict cookie does not come along from another site; the page asks once more."""
    answer = await api.get(PAGE, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200
    assert f'content="0;url={PAGE}"' in answer.text


async def test_a_goal_page_shows_its_tasks_and_what_it_waits_for(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """With a link to the open request."""
    gateway.goals.ask(a_request())
    await sign_in(api, "ops")
    page = (await api.get("/goals/goal-1")).text
    assert "sandbox.run" in page
    assert "Succeeded" in page
    assert f'href="{PAGE}"' in page


@pytest.mark.parametrize(
    "path", ["/requests/nowhere/x.0", "/goals/nowhere", "/decisions/none", "/nope"]
)
async def test_what_is_not_there_is_said_on_a_page(api: httpx.AsyncClient, path: str) -> None:
    """404 with a sentence."""
    await sign_in(api, "ops")
    answer = await api.get(path)
    assert answer.status_code == 404
    assert "That did not work" in answer.text
