"""Commands on the stack and its processes: up, down, status, doctor, worker, gateway, and the rest.

They start what other modules are; how a process runs is not known here.
"""

import re
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from goalkeeper import __version__
from goalkeeper.cli.session import FAILED, Session, command

if TYPE_CHECKING:
    from pydantic import SecretStr

    from goalkeeper.embedded import StackStatus

_STACK = "Stack"
_PROCESSES = "Processes"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    _register_stack(app)
    _register_processes(app)
    credential = typer.Typer(help="Secrets of this installation.", no_args_is_help=True)
    app.add_typer(credential, name="credential", rich_help_panel=_STACK)

    @command(credential, "set")
    def set_(
        session: Session,
        role: Annotated[str, typer.Argument(metavar="ROLE", help="Who may read it.")],
    ) -> None:
        """Store a role's secrets: FIELD=VALUE lines on standard input, never arguments.

        Example: echo "token=$TOKEN" | goalkeeper credential set git-writer
        """
        from goalkeeper.embedded import put_credential

        if not _ROLE.fullmatch(role):
            raise typer.BadParameter(
                "a role takes lower-case letters, digits and '-', and begins with a letter",
                param_hint="ROLE",
            )
        fields = _read_fields()
        session.run(put_credential(session.settings, role, fields))
        session.answer(
            {"role": role, "fields": sorted(fields)},
            f"stored {', '.join(sorted(fields))} for role '{role}'",
        )


def _register_stack(app: typer.Typer) -> None:
    @command(app, "up", rich_help_panel=_STACK)
    def up(
        session: Session,
        foreground: Annotated[
            bool, typer.Option("--foreground", help="Stay, and stop the stack on Ctrl-C.")
        ] = False,
        wait: Annotated[
            float, typer.Option("--wait", metavar="SECONDS", min=1, help="For readiness.")
        ] = 120,
    ) -> None:
        """Start the embedded stack: Temporal, OpenBao, a worker and the approval gateway."""
        from goalkeeper import embedded

        status = session.run(
            embedded.up(
                session.settings,
                foreground=foreground,
                wait=timedelta(seconds=wait),
                progress=session.remark,
            )
        )
        if not foreground:
            session.run(_warn_without_engine(session))
            _show_status(session, status)

    @command(app, "down", rich_help_panel=_STACK)
    def down(session: Session) -> None:
        """Stop the embedded stack. Goals go on when it is started again."""
        from goalkeeper import embedded

        session.run(embedded.down(session.settings))
        session.answer({"running": False}, "the stack is down")

    @command(app, "status", rich_help_panel=_STACK)
    def status(session: Session) -> None:
        """Show the processes of the stack; exit code 0 when all of them are well."""
        from goalkeeper import embedded

        _show_status(session, session.run(embedded.status(session.settings)))

    @command(app, "doctor", rich_help_panel=_STACK)
    def doctor(session: Session) -> None:
        """Check everything that the stack needs, and say what to do about what is wrong."""
        _doctor(session)

    @command(app, "demo", rich_help_panel=_STACK)
    def demo(session: Session) -> None:
        """Carry one real goal to its end: plan, sandbox, approval, deployment, proof."""
        from deploy.demo.story import run

        raise typer.Exit(session.run(run(session.settings)))


def _register_processes(app: typer.Typer) -> None:
    @command(app, "worker", rich_help_panel=_PROCESSES)
    def worker(
        session: Session,
        processes: Annotated[
            int | None,
            typer.Option(
                "--processes", metavar="N", min=1, max=64, help="How many processes do the work."
            ),
        ] = None,
        pool: Annotated[
            list[str] | None,
            typer.Option(
                "--pool",
                metavar="POOL",
                help="Serve only this pool: workflows, connectors or sandbox (repeatable), or all.",
            ),
        ] = None,
    ) -> None:
        """Run a worker until it is told to stop; a second signal ends it at once."""
        from goalkeeper.worker import main

        main(session.settings, pools=pool or (), processes=processes)

    @command(app, "gateway", rich_help_panel=_PROCESSES)
    def gateway(session: Session) -> None:
        """Run the approval gateway until it is told to stop."""
        from hitl.gateway import serve

        session.run(serve(session.settings))

    @command(app, "version", rich_help_panel=_STACK)
    def version(session: Session) -> None:
        """Print the version."""
        if session.json:
            session.line({"goalkeeper": __version__, "python": sys.version.split()[0]})
        else:
            # Not through rich: scripts ask this often, and it takes longer to load than the rest.
            print(f"goalkeeper {__version__}")


async def _warn_without_engine(session: Session) -> None:
    """Everything runs without it but what needs a container, so it is said and not refused."""
    from goalkeeper.domain.errors import GoalkeeperError
    from sandbox.engine import ping

    try:
        await ping(session.settings.docker_host)
    except GoalkeeperError as error:
        session.remark(f"warning: {error.message}")


def _show_status(session: Session, status: "StackStatus") -> None:
    from goalkeeper.cli.render import columns, plain

    table = columns("PROCESS", "STATE", "ADDRESS", "PID", "RESTARTS", "SINCE", "LOG")
    for service in status.services:
        state = service.state.value + (f": {plain(service.problem)}" if service.problem else "")
        table.add_row(
            service.name,
            state,
            service.address,
            _pids(service.pid, service.processes),
            str(service.restarts),
            f"{service.since.astimezone():%H:%M:%S}",
            str(service.log),
        )
    session.answer(
        {**status.model_dump(mode="json"), "ready": status.ready},
        table if status.running else f"no stack runs on {status.state}; start it: goalkeeper up",
    )
    if not status.ready:
        raise typer.Exit(FAILED)


def _pids(pid: int | None, working: Sequence[int]) -> str:
    """A parent of several processes is shown with their number."""
    several = f" + {len(working)}" if len(working) > 1 else ""
    return f"{pid or ''}{several}"


def _doctor(session: Session) -> None:
    from rich.console import Group
    from rich.text import Text

    from goalkeeper import embedded
    from goalkeeper.cli.render import plain

    checks = session.run(embedded.doctor(session.settings))
    lines = []
    for check in checks:
        mark, style = ("ok  ", "green") if check.ok else ("FAIL", "bold red")
        lines.append(Text.assemble((mark, style), f"  {check.name}: {plain(check.message, 1000)}"))
        if not check.ok and check.fix:
            lines.append(Text(f"      → {plain(check.fix, 1000)}", style="yellow"))
    session.answer(checks, Group(*lines))
    if not all(c.ok for c in checks):
        raise typer.Exit(FAILED)


def _read_fields() -> "dict[str, SecretStr]":
    """FIELD=VALUE lines; at a terminal, one prompt a field that does not show what is typed."""
    from pydantic import SecretStr

    pairs = (
        _prompted() if sys.stdin.isatty() else [_pair(line) for line in sys.stdin if line.strip()]
    )
    if not pairs:
        raise typer.BadParameter("no fields given: write FIELD=VALUE lines on standard input")
    return {field: SecretStr(value) for field, value in pairs}


def _pair(line: str) -> tuple[str, str]:
    field, separator, value = line.rstrip("\r\n").partition("=")
    if not separator or not _FIELD.fullmatch(field) or not value:
        # The line itself is not quoted: it may be the secret.
        raise typer.BadParameter("a line is not FIELD=VALUE with a name of letters, digits and '_'")
    return field, value


def _prompted() -> list[tuple[str, str]]:
    import getpass

    pairs = []
    while field := input("field (empty to end): ").strip():
        pairs.append(_pair(f"{field}={getpass.getpass(f'{field}: ')}"))
    return pairs


_ROLE = re.compile(r"[a-z][a-z0-9-]{0,62}")
"""What contracts can name."""
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
