"""Commands on the audit log: list, verify, prove, export.

They open it read-only; the checks themselves are `goalkeeper.audit`'s.
"""

from collections import deque
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from goalkeeper.cli.session import Session, command

if TYPE_CHECKING:
    from goalkeeper.audit import AuditLog

_When = Annotated[datetime | None, typer.Option(help="Local time, if it names no zone.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    audit = typer.Typer(help="The audit log: what happened, and proof of it.", no_args_is_help=True)
    app.add_typer(audit, name="audit", rich_help_panel="Record")

    @command(audit, "list")
    def list_(
        session: Session,
        goal: Annotated[str | None, typer.Option("--goal", metavar="GOAL")] = None,
        limit: Annotated[int, typer.Option("--limit", "-n", min=1)] = 50,
    ) -> None:
        """List the latest entries, oldest first."""
        _list(session, goal, limit)

    @command(audit, "verify")
    def verify(session: Session) -> None:
        """Recompute the whole log; names the first bad entry if there is one."""
        found = open_log(session).verify()
        session.answer(
            found,
            f"the audit log verifies: {found.size} entries, {found.checkpoints} signed "
            f"checkpoints, the newest covers {found.signed}\nroot {found.root}",
        )

    @command(audit, "prove")
    def prove(
        session: Session,
        entry: Annotated[str, typer.Argument(metavar="ENTRY", help="Its number, or its id.")],
    ) -> None:
        """Prove that one entry is in the log, without showing the others.

        The proof is JSON, with all that its reader needs to check it.
        """
        log = open_log(session)
        index = log.entry(int(entry) if entry.isdigit() else entry).index
        # Always JSON: a proof is for programs, whoever asks for it.
        print(log.prove(index).model_dump_json(indent=2))

    @command(audit, "export")
    def export(
        session: Session,
        path: Annotated[Path, typer.Argument(help="A new folder, or a new .zip file.")],
        since: _When = None,
        until: _When = None,
    ) -> None:
        """Write entries, a signed checkpoint and a verifier that works offline."""
        found = open_log(session).export(path, since=_zoned(since), until=_zoned(until))
        whole = "the whole log" if found.complete else "a part of the log, each entry with a proof"
        session.answer(found, f"wrote {found.entries} entries to {found.path}: {whole}")


def _list(session: Session, goal: str | None, limit: int) -> None:
    from goalkeeper.cli.render import columns, plain

    entries = list(deque(open_log(session).entries(goal_id=goal), maxlen=limit))
    table = columns("#", "TIME", "WHAT", "WHO", "GOAL", "TASK", "DETAIL")
    for entry in entries:
        event = entry.event
        detail = ", ".join(f"{k}={v}" for k, v in event.detail.items())
        table.add_row(
            str(entry.index),
            f"{event.time.astimezone():%Y-%m-%d %H:%M:%S}",
            event.kind.value,
            plain(event.actor),
            plain(event.goal_id),
            plain(event.task_id),
            plain(detail, 160),
        )
    session.answer(entries, table if entries else "no entries")


def open_log(session: Session) -> "AuditLog":
    """The audit log, to be read.

    Raises:
        NotFound: there is none yet.
    """
    from goalkeeper.audit import AuditLog
    from goalkeeper.domain.errors import NotFound

    file = session.settings.audit_file
    if not file.exists():
        raise NotFound(
            f"there is no audit log at '{file}' yet: it begins with the first goal of this stack. "
            "Is --state right?"
        )
    return AuditLog.open(file, readonly=True)


def _zoned(moment: datetime | None) -> datetime | None:
    return moment.astimezone() if moment is not None else None
