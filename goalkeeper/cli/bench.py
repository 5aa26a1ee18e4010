"""The command `bench`: which benchmarks to run, and their report as a table or as JSON.

It measures nothing itself.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from goalkeeper.cli.session import Session, command

_PANEL = "Processes"


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "bench", rich_help_panel=_PANEL)
    def bench(
        session: Session,
        names: Annotated[
            list[str] | None, typer.Argument(metavar="NAME…", help="Only these benchmarks.")
        ] = None,
        everything: Annotated[
            bool,
            typer.Option("--all", help="Also storm, size and 10,000 waiting goals."),
        ] = False,
        rounds: Annotated[
            int | None, typer.Option("--rounds", min=1, max=1000, help="Pairs of each comparison.")
        ] = None,
        waiting: Annotated[
            int | None,
            typer.Option("--waiting", min=1, max=100_000, help="Goals that wait at once."),
        ] = None,
    ) -> None:
        """Measure against bare Temporal and bare Docker; takes about six minutes."""
        from goalkeeper import bench

        only = bench.BENCHMARKS if everything else tuple(names or ())
        found = session.run(
            bench.run(
                session.settings,
                rounds=rounds or bench.ROUNDS,
                only=only,
                waiting=waiting,
                progress=session.remark,
            )
        )
        _show(session, found)


def _show(session: Session, found: Mapping[str, Mapping[str, Any]]) -> None:
    from goalkeeper.cli.render import columns

    table = columns("WHAT", "OURS", "BARE", "RATIO", "UNIT", "LIMIT", "WITHIN")
    for name, row in found.items():
        if "skipped" in row:
            table.add_row(name, f"skipped: {row['skipped']}")
            continue
        numbers = (_number(row.get(k)) for k in ("ours", "bare", "ratio"))
        table.add_row(name, *numbers, row["unit"], row["limit"], "yes" if row["within"] else "no")
    session.answer(found, table)


def _number(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, int | float) else "-"
