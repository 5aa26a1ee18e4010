"""The web console: pages rendered on the server, without a script.

It shows cards and passes answers on to `hitl.decisions`; it decides nothing.
"""

from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import PlainTextResponse, RedirectResponse, Response
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import SecretStr

from goalkeeper.contracts.goal import OpenRequest, Progress
from goalkeeper.domain.approval import Answer, objection
from goalkeeper.domain.base import iso
from goalkeeper.domain.errors import GoalkeeperError, NotAllowed, NotFound, ServiceUnavailable
from goalkeeper.identities import Person
from hitl.cards import ACTIONS_SHOWN, card, headline, who
from hitl.choices import RECORDED
from hitl.decisions import outcome
from hitl.guards import require_same_origin
from hitl.overview import counts_text, overview
from hitl.services import Services
from hitl.sessions import Session, form_token_holds
from hitl.signin import (
    Parts,
    Unauthenticated,
    cookie_name,
    services,
    session_of,
    set_cookie,
    token_holder,
)
from hitl.text import plain, section

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters.update(
    plain=plain, iso=iso, counts=counts_text, path=lambda text: quote(text, safe="/")
)
_environment.globals.update(who=who, section=section)
_templates = Jinja2Templates(env=_environment)

_LONGEST_NEXT = 500
_LARGE = 1000


class SignInFirst(Exception):
    """A page was asked for without a session."""


class Visit:
    """One signed-in look at the console."""

    def __init__(self, request: Request, parts: Services, session: Session, person: Person) -> None:
        self.request = request
        self.parts = parts
        self.session = session
        self.person = person

    def page(self, name: str, status: HTTPStatus = HTTPStatus.OK, **context: Any) -> Response:
        """Render a template for this person."""
        shared = {"person": self.person, "form_token": self.session.form_token}
        return _templates.TemplateResponse(
            self.request, name, {**shared, **context}, status_code=status
        )


def visit(request: Request, parts: Annotated[Services, Depends(services)]) -> Visit:
    """The signed-in visit.

    Raises:
        SignInFirst: there is no live session.
    """
    found = session_of(request, parts)
    if found is None:
        raise SignInFirst
    return Visit(request, parts, *found)


Visiting = Annotated[Visit, Depends(visit)]
Text = Annotated[str, Form()]

router = APIRouter(include_in_schema=False)


@router.get("/login")
async def login_page(request: Request, next: str = "/") -> Response:
    """The form for a token."""
    return _login(request, next)


@router.post("/login")
async def log_in(request: Request, parts: Parts, token: Text = "", next: Text = "/") -> Response:
    """Open a session for whoever holds the token.

    There is no form token yet: the origin is what keeps another site from signing a browser in as
    somebody else.
    """
    require_same_origin(request)
    try:
        person = token_holder(parts, request, SecretStr(token.strip()))
    except Unauthenticated as error:
        status = HTTPStatus.TOO_MANY_REQUESTS if error.too_many else HTTPStatus.UNAUTHORIZED
        return _login(request, next, problem=error.message, status=status)
    # A session that was open in this browser ends: its id may be known to somebody else.
    parts.sessions.close(request.cookies.get(cookie_name(request)))
    response = RedirectResponse(_local(next), HTTPStatus.SEE_OTHER)
    set_cookie(request, response, parts.sessions.open(person))
    return response


@router.post("/logout")
async def log_out(here: Visiting, form_token: Text = "") -> Response:
    """End the session on the server; its cookie is worthless from now on."""
    _require_own_form(here, form_token)
    here.parts.sessions.close(here.request.cookies.get(cookie_name(here.request)))
    response = RedirectResponse("/login", HTTPStatus.SEE_OTHER)
    response.delete_cookie(cookie_name(here.request), path="/")
    return response


@router.get("/")
async def inbox_page(here: Visiting) -> Response:
    """Everything that waits for people."""
    now = here.parts.now()
    found = await here.parts.inbox.open_requests()
    rows = [
        {
            "card": headline(r.request, now),
            "requester": r.request.requester,
            "approved_by": r.approved_by,
            "needed": r.needed,
            "why_not": _why_not(here, r),
            "soon": (r.request.expires_at - now).total_seconds() < 900,
        }
        for r in found
    ]
    return here.page("inbox.html", rows=rows)


@router.get("/requests/{request_id:path}")
async def request_page(here: Visiting, request_id: str) -> Response:
    """One request, and the form to answer it."""
    return _request(here, await here.parts.inbox.find(request_id))


@router.post("/requests/{request_id:path}")
async def answer_request(
    here: Visiting,
    request_id: str,
    answer: Annotated[Answer, Form()],
    digest: Text,
    form_token: Text = "",
    reason: Text = "",
) -> Response:
    """Pass an answer on, then show what was recorded."""
    _require_own_form(here, form_token)
    try:
        decided = await here.parts.decisions.decide(
            here.person,
            request_id,
            digest=digest,
            answer=answer,
            reason=reason,
            channel="console",
        )
    except GoalkeeperError as error:
        if error.retryable:
            raise
        found = await here.parts.inbox.find(request_id)
        return _request(
            here, found, problem=error.message, reason=reason, status=HTTPStatus.CONFLICT
        )
    # Reloading the page that follows must not send the answer again.
    return RedirectResponse(f"/decisions/{decided.decision_id}", HTTPStatus.SEE_OTHER)


@router.get("/decisions/{decision_id}")
async def decision_page(here: Visiting, decision_id: str) -> Response:
    """What the audit log holds of an answer, and whether the goal has counted it."""
    recorded = await here.parts.record.find(decision_id)
    try:
        decided = outcome(recorded, await here.parts.inbox.find(recorded.request_id))
    except (NotFound, ServiceUnavailable):
        # What was recorded is shown whether or not the goal can say what came of it.
        decided = None
    heading = RECORDED[recorded.answer]
    return here.page("decision.html", decision=recorded, decided=decided, heading=heading)


@router.get("/evidence/{digest}/{request_id:path}")
async def evidence_page(here: Visiting, digest: str, request_id: str) -> Response:
    """An artifact that a request names, and no other: the store holds more than people may see."""
    found = await here.parts.inbox.find(request_id)
    if digest not in {e.digest for e in found.request.evidence}:
        raise NotFound(f"request '{request_id[:200]}' names no evidence '{digest[:80]}'")
    # Always as text: what a task has written is not a page of this site.
    return PlainTextResponse(await here.parts.evidence.get(digest))


@router.get("/goals/{goal_id}")
async def goal_page(here: Visiting, goal_id: str) -> Response:
    """How a goal stands."""
    progress = await here.parts.goals.progress(goal_id)
    summary = await here.parts.goals.summary(goal_id)
    url = here.parts.workflow_url.format(quote(goal_id, safe=""))
    return here.page(
        "goal.html",
        goal=progress,
        shown=overview(progress, summary),
        open=[r for r in progress.requests if r.closed is None],
        plan_digest=_digest(progress),
        workflow_url=url,
    )


def sign_in_first(request: Request) -> Response:
    """Where somebody without a session is sent.

    A link from a chat arrives without the cookie, since it is SameSite=Strict. The page that is
    shown then loads itself again, this time as the same site and with the cookie if there is one.
    """
    if request.method != "GET":
        return RedirectResponse("/login", HTTPStatus.SEE_OTHER)
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if request.headers.get("sec-fetch-site") == "cross-site":
        return _templates.TemplateResponse(request, "again.html", {"here": _local(here)})
    return RedirectResponse(f"/login?next={quote(_local(here), safe='')}", HTTPStatus.SEE_OTHER)


def problem_page(request: Request, status: int, message: str) -> Response:
    """An error as a page."""
    context = {"person": None, "form_token": "", "message": message, "status": status}
    return _templates.TemplateResponse(request, "problem.html", context, status_code=status)


def _request(
    here: Visit,
    found: OpenRequest,
    *,
    problem: str = "",
    reason: str = "",
    status: HTTPStatus = HTTPStatus.OK,
) -> Response:
    shown = card(
        found.request, here.parts.now(), approved_by=found.approved_by, closed=found.closed
    )
    return here.page(
        "request.html",
        status,
        card=shown,
        first=ACTIONS_SHOWN,
        approved_by=found.approved_by,
        needed=found.needed,
        why_not=_why_not(here, found),
        problem=problem,
        reason=reason,
    )


def _why_not(here: Visit, found: OpenRequest) -> str | None:
    """Why this person cannot answer, or nothing."""
    if found.closed is not None:
        return f"This request is closed: {found.closed}."
    return objection(here.person.id, here.person.groups, here.parts.now(), found.request)


def _digest(progress: Progress) -> str:
    """The plan's digest; of a large plan, taking it would keep everybody else waiting."""
    plan = progress.plan
    return plan.digest if plan is not None and len(plan.tasks) <= _LARGE else ""


def _require_own_form(here: Visit, form_token: str) -> None:
    require_same_origin(here.request)
    if not form_token_holds(here.session, form_token):
        raise NotAllowed(
            "This form is not of your session, so nothing was done. Open the page again."
        )


def _login(
    request: Request, next: str, *, problem: str = "", status: HTTPStatus = HTTPStatus.OK
) -> Response:
    context = {"person": None, "form_token": "", "next": _local(next), "problem": problem}
    return _templates.TemplateResponse(request, "login.html", context, status_code=status)


def _local(target: str) -> str:
    """A path of this site, whatever was asked for."""
    harmless = target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if harmless and target.isprintable() and len(target) <= _LONGEST_NEXT else "/"
