"""The demo: one real goal on the real stack, told in the terminal from its plan to its proof.

It uses the product as anybody would: the client, the gateway, the audit log. Nothing is canned.
"""

import asyncio
import secrets
import sys
from datetime import timedelta

import httpx
from rich.console import Console
from rich.prompt import Confirm, Prompt
from rich.rule import Rule
from rich.text import Text

from deploy.demo.hosting import DemoHost, running_git_host, store_tokens
from goalkeeper import embedded
from goalkeeper.audit import AuditLog
from goalkeeper.cli.cards import card_view
from goalkeeper.cli.render import goal_state, plain, plan_tree
from goalkeeper.client import Client, Goal
from goalkeeper.client.events import EventKind, GoalEvent
from goalkeeper.contracts.goal import OpenRequest
from goalkeeper.domain.approval import Answer
from goalkeeper.domain.errors import ServiceUnavailable
from goalkeeper.domain.goal import GoalResult
from goalkeeper.domain.plan import GoalState
from goalkeeper.settings import Settings, load_settings
from sandbox.engine import Engine

ASKER, DECIDER = "developer", "operator"
_APP = "greeter"
_START = timedelta(minutes=3)
_WIDTH = 120
"""Of the text, where no terminal says how wide it is."""


async def run(settings: Settings) -> int:
    """Tell the whole story.

    Returns:
        the process's exit code: 0 when the goal succeeded or was denied, else 1.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH
    console.print(Rule("Goalkeeper: one goal, from plan to proof"))
    await _need_engine(settings)
    if not (await embedded.status(settings)).ready:
        await embedded.up(
            settings, wait=_START, progress=lambda line: console.print(f"  {line}", style="dim")
        )
    # Read again: the stack has chosen addresses.
    settings = load_settings(settings.state)
    async with running_git_host(settings.state / "demo") as host:
        await store_tokens(settings, host)
        branch = _branch(host)
        console.print(
            _step(1, f"'{ASKER}' wants the branch '{branch}' of {host.url} in production")
        )
        async with Client.connect(settings, as_person=ASKER) as gk:
            goal = await gk.submit(
                "deploy-branch", repository=host.url, branch=branch, app=_APP, monitor_seconds=5
            )
            console.print(f"  goal {goal.id}\n")
            result = await _carried_out(console, settings, goal)
    return await _told(console, settings, result)


async def _need_engine(settings: Settings) -> None:
    """Tell before anything is started; a goal would wait for the engine.

    Raises:
        EngineUnavailable: it does not answer.
    """
    engine = Engine(settings.docker_host)
    try:
        await engine.ping()
    finally:
        engine.close()


def _branch(host: DemoHost) -> str:
    """A feature branch that is new at each run, so that there is something to merge."""
    mark = secrets.token_hex(2)
    return host.repository.feature(f"feature/greeting-{mark}", f"Good day number {mark}!")


async def _carried_out(console: Console, settings: Settings, goal: Goal) -> GoalResult:
    """Show plan, states and output as they come, and decide when the goal asks."""
    following = asyncio.create_task(_show_output(console, goal))
    planned = False
    try:
        async for look in goal.looks():
            if not planned and look.progress is not None and look.progress.plan is not None:
                planned = True
                console.print(_step(2, "the plan, judged by policy before anything runs"))
                console.print(
                    plan_tree(
                        look.progress.plan,
                        look.progress.verdicts,
                        proven=look.progress.requester.proven,
                    )
                )
                console.print(_step(3, "carrying it out"))
            # What asks comes last: the answer takes a while, and the rest has happened before.
            for event in sorted(look.events, key=lambda e: e.kind is EventKind.APPROVAL_ASKED):
                await _show_event(console, settings, event)
        await asyncio.wait([following], timeout=5)
    finally:
        following.cancel()
    return await goal.result()


async def _show_event(console: Console, settings: Settings, event: GoalEvent) -> None:
    if event.kind is EventKind.APPROVAL_ASKED and event.request is not None:
        await _decide(console, settings, event.request)
    elif event.task is None or event.task.started_at is not None or event.task.ended_at is not None:
        console.print(Text(f"  {plain(event.text, 300)}"))


async def _show_output(console: Console, goal: Goal) -> None:
    async for line in goal.logs(follow=True):
        console.print(Text(f"    {line.task_id} │ {plain(line.text.rstrip(), 200)}", style="dim"))


async def _decide(console: Console, settings: Settings, asked: OpenRequest) -> None:
    """Ask the person at the terminal; without one, decide as the demo's second identity."""
    console.print(_step(4, "the goal waits for people: this is what an approver sees"))
    console.print(card_view(asked))
    if sys.stdin.isatty() and sys.stdout.isatty():
        yes = await asyncio.to_thread(Confirm.ask, f"Approve it as '{DECIDER}'?", console=console)
        reason = "" if yes else await asyncio.to_thread(Prompt.ask, "Why not?", console=console)
    else:
        yes, reason = True, "approved by the demo, which has no terminal"
        console.print(
            f"  No terminal here, so the demo decides as '{DECIDER}', its second identity, "
            "through the same gateway, signature and checks as anybody else."
        )
    async with Client.connect(settings, as_person=DECIDER) as gk:
        await gk.decide(
            asked.request.id,
            Answer.APPROVE if yes else Answer.DENY,
            reason=reason or "denied at the terminal",
            digest=asked.digest,
        )
    console.print(
        f"  '{DECIDER}' said {'yes' if yes else 'no'}: signed by the gateway, on record\n"
    )


async def _told(console: Console, settings: Settings, result: GoalResult) -> int:
    console.print(Text.assemble("\n  the goal ended: ", goal_state(result.state)))
    if result.failure is not None:
        console.print(Text(f"  {plain(result.failure.message)}"))
    if result.state is GoalState.SUCCEEDED:
        console.print(_step(5, "the service, as it answers now"))
        await _ask_service(console, result)
    console.print(_step(6, "the record"))
    # In a thread: it reads every entry.
    await asyncio.to_thread(_verify, console, settings, result.goal_id)
    _where_to_look(console, settings, result.goal_id)
    # Whoever says no at the terminal has seen what they came for, too.
    return 0 if result.state in (GoalState.SUCCEEDED, GoalState.DENIED) else 1


async def _ask_service(console: Console, result: GoalResult) -> None:
    deployed = result.outputs("deploy")
    endpoints = deployed["endpoints"] if isinstance(deployed, dict) else []
    if not isinstance(endpoints, list) or not endpoints:
        raise ServiceUnavailable("the deployment names no endpoint; look at its task's output")
    async with httpx.AsyncClient(timeout=10) as http:
        for endpoint in endpoints:
            answer = await http.get(f"{endpoint}/")
            console.print(
                Text(f"  GET {endpoint}/ → {answer.status_code} {plain(answer.text.strip(), 200)}")
            )


def _verify(console: Console, settings: Settings, goal_id: str) -> None:
    log = AuditLog.open(settings.audit_file, readonly=True)
    found = log.verify()
    console.print(f"  audit log verified: {found.size} entries, root {found.root}")
    for entry in log.entries(goal_id=goal_id):
        event = entry.event
        if event.kind.value.startswith(("approval.", "grant.")):
            console.print(
                Text(
                    f"    {entry.index:>4} {event.kind.value:<20} {event.actor} {event.task_id}",
                    style="dim",
                )
            )


def _where_to_look(console: Console, settings: Settings, goal_id: str) -> None:
    prefix = f"goalkeeper --state {settings.state}"
    console.print(_step(7, "where to look next"))
    for what, where in (
        ("Temporal UI", f"{settings.temporal_ui_url}/namespaces/default/workflows/{goal_id}"),
        (
            "console",
            f"{settings.gateway_url}  (token: {settings.state}/tokens/{DECIDER})",
        ),
        ("the goal", f"{prefix} show {goal_id}"),
        ("its output", f"{prefix} logs {goal_id}"),
        ("the record", f"{prefix} audit list --goal {goal_id}"),
        ("logs", f"{settings.logs_folder}"),
        ("stop it all", f"{prefix} down"),
    ):
        console.print(Text(f"  {what:<12} {where}"), soft_wrap=True)


def _step(number: int, what: str) -> Text:
    return Text(f"\n{number}. {what}", style="bold")
