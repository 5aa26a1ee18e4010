"""The application: its commands put together, and what its errors look like.

Every error ends here as one message and an exit code; nothing else decides either.
"""

import sys
from collections.abc import Sequence

import typer

from goalkeeper.cli import (
    approvals,
    audit,
    bench,
    control,
    goals,
    keys,
    locks,
    planning,
    policy,
    simulate,
    stack,
)
from goalkeeper.cli.session import (
    FAILED,
    USAGE,
    AsOption,
    DebugOption,
    JsonOption,
    Session,
    StateOption,
)

app = typer.Typer(
    name="goalkeeper",
    help="Goals become plans, plans run on Temporal, people approve exactly what will run.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with `goalkeeper up`, then `goalkeeper demo`.",
)


@app.callback()
def _globals(
    ctx: typer.Context,
    state: StateOption = None,
    as_person: AsOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    ctx.obj = Session(state=state, person=as_person, json=as_json, debug=debug)


for part in (stack, keys, bench, goals, control, locks, planning, simulate, policy):
    part.register(app)
for part in (approvals, audit):
    part.register(app)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and answer its exit code; prints at most one error message."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character must not end a command.
        getattr(stream, "reconfigure", lambda **_: None)(errors="replace")
    try:
        return _dispatch(arguments)
    except Exception as error:
        if "--debug" in arguments:
            raise
        return _explain(error)


def _dispatch(arguments: Sequence[str]) -> int:
    try:
        answer = app(args=list(arguments), prog_name="goalkeeper", standalone_mode=True)
    except SystemExit as exit_:
        code = exit_.code
        return code if isinstance(code, int) else 0 if code is None else FAILED
    return int(answer or 0)


def _explain(error: Exception) -> int:
    from goalkeeper.domain.errors import (
        GoalkeeperError,
        InvalidContract,
        InvalidGoal,
        InvalidSettings,
    )

    if isinstance(error, GoalkeeperError):
        print(f"error: {error.message}", file=sys.stderr)
        return (
            USAGE if isinstance(error, InvalidGoal | InvalidContract | InvalidSettings) else FAILED
        )
    if isinstance(error, OSError) and error.strerror:
        where = f" ('{error.filename}')" if error.filename else ""
        print(f"error: {error.strerror}{where}. Mend that and run it again.", file=sys.stderr)
        return FAILED
    print(
        f"error: an unexpected {type(error).__name__}: {str(error)[:300]}. This is a defect of "
        "Goalkeeper; run the command again with --debug to see where, and look into the stack's "
        "logs (`goalkeeper status` says where they are).",
        file=sys.stderr,
    )
    return FAILED
