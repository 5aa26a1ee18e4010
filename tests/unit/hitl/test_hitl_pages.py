"""The console's pages on outcome questions, changed requests, many actions and large goals."""

from html import unescape

import httpx

from goalkeeper.domain.approval import Change
from goalkeeper.domain.evidence import Evidence
from goalkeeper.domain.goal import TaskStatus
from goalkeeper.domain.plan import TaskState
from tests.unit.hitl.conftest import Gateway
from tests.unit.hitl.hitl_fakes import ZERO, a_request, an_action, an_outcome
from tests.unit.hitl.test_hitl_console import OWN, PAGE, form_of, sign_in
from tests.unit.hitl.test_hitl_overview import a_goal, a_task, stands

LOST = "/requests/goal-1/merge.0.outcome"


async def test_a_lost_attempt_is_answered_in_the_browser(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """With two buttons of its own, and what was recorded on the page after it."""
    gateway.goals.ask(an_outcome())
    await sign_in(api, "ops")
    assert "outcome unknown" in (await api.get("/")).text
    page = unescape((await api.get(LOST)).text)
    for expected in ("did git.merge_branch happen?", "Exactly this was attempted", "How you know"):
        assert expected in page
    assert 'value="approve"' not in page
    assert page.count("formnovalidate") == 0
    form = {**await form_of(api, LOST), "answer": "happened", "reason": "it is on main"}
    answer = await api.post(LOST, data=form, headers=OWN)
    assert "Recorded: it happened" in (await api.get(answer.headers["location"])).text
    assert gateway.goals.asked["goal-1/merge.0.outcome"].closed == "answered"


async def test_evidence_is_shown_as_text_and_only_what_the_request_names(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """Whatever a task wrote, it is no page of this site; other artifacts stay out of reach."""
    other = "sha256:" + "1" * 64
    gateway.evidence.stored = {ZERO: b"<script>alert(1)</script>", other: b"not for you"}
    kept = Evidence(digest=ZERO, size=25, name="output.log", media_type="text/html")
    gateway.goals.ask(an_outcome().model_copy(update={"evidence": (kept,)}))
    link = f"/evidence/{ZERO}/goal-1/merge.0.outcome"
    assert (await api.get(link)).status_code == 303
    await sign_in(api, "ops")
    assert f'href="{link}"' in (await api.get(LOST)).text
    answer = await api.get(link)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.content == b"<script>alert(1)</script>"
    assert (await api.get(f"/evidence/{other}/goal-1/merge.0.outcome")).status_code == 404


async def test_what_has_changed_since_the_request_before_is_a_table(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """Hostile values included."""
    change = Change(task_id="merge", place="/inputs/branch", before="main", after="<b>x</b>")
    gateway.goals.ask(
        a_request().model_copy(update={"replaces": "goal-1/approve.9", "changes": (change,)})
    )
    await sign_in(api, "ops")
    page = (await api.get(PAGE)).text
    assert "<td>main</td><td>&lt;b&gt;x&lt;/b&gt;</td>" in page
    assert "goal-1/approve.9" in page
    assert "asked anew" in (await api.get("/")).text


async def test_every_one_of_many_actions_is_in_the_page(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """Twenty at once, the others to be unfolded."""
    actions = [an_action(f"deploy.{i}", host=f"web-{i}") for i in range(45)]
    request = gateway.goals.ask(a_request("goal-1", *actions))
    await sign_in(api, "ops")
    page = (await api.get(PAGE)).text
    assert "And 25 more: all of them are part of this request" in page
    assert all(a.digest in page for a in request.actions)
    assert '<span class="number">45</span>' in page


async def test_the_page_of_a_goal_of_ten_thousand_tasks_stays_small(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """And leads with what failed."""
    plan = [a_task(f"t{i}") for i in range(10_000)]
    tasks = [stands(f"t{i}", TaskState.SUCCEEDED) for i in range(10_000)]
    tasks[9_000] = stands("t9000", TaskState.FAILED)
    gateway.goals.standing = a_goal(plan, tasks)
    gateway.goals.locks = ("prod",)
    await sign_in(api, "ops")
    page = unescape((await api.get("/goals/goal-1")).text)
    assert len(page) < 100_000
    assert page.index("t9000") < page.index("<td>t0</td>")
    assert "9800 more tasks are only counted" in page
    assert "Waits for the lock 'prod'." in page


async def test_items_are_folded_and_open_where_one_failed(
    gateway: Gateway, api: httpx.AsyncClient
) -> None:
    """Nobody has to unfold what needs a look."""
    items = [TaskStatus(id=f"each.{i}", operation="core.noop") for i in range(30)]
    gateway.goals.standing = a_goal([a_task("each")], [stands("each", TaskState.RUNNING), *items])
    await sign_in(api, "ops")
    page = (await api.get("/goals/goal-1")).text
    assert "<summary>30 Pending</summary>" in page
    assert "and 10 more" in page
    assert "<details>" in page
    items[3] = stands("each.3", TaskState.FAILED)
    gateway.goals.standing = a_goal([a_task("each")], [stands("each", TaskState.RUNNING), *items])
    assert "<details open>" in (await api.get("/goals/goal-1")).text
