"""What every command shares: the global options, the settings they lead to, and the output.

It knows no command in particular.
"""

import functools
import inspect
import json
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from goalkeeper.client import Client
    from goalkeeper.settings import Settings

T = TypeVar("T")
_PANEL = "Global options"

FAILED = 1
"""Exit code: it did not work, or the goal did not succeed."""
USAGE = 2
"""Exit code: what was asked is wrong, and nothing was done."""
DENIED = 3
"""Exit code: people or policy said no."""

StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state", metavar="DIR", help="The state folder of the stack.", rich_help_panel=_PANEL
    ),
]
AsOption = Annotated[
    str | None,
    typer.Option(
        "--as",
        metavar="PERSON",
        help="Speak as this person of the identities file.",
        rich_help_panel=_PANEL,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON for scripts.", rich_help_panel=_PANEL)
]
DebugOption = Annotated[
    bool,
    typer.Option("--debug", help="Log more, and show tracebacks.", rich_help_panel=_PANEL),
]


@dataclass
class Session:
    """One run of the command line."""

    state: Path | None = None
    person: str | None = None
    json: bool = False
    debug: bool = False

    @functools.cached_property
    def settings(self) -> "Settings":
        """The settings of the chosen installation.

        Raises:
            InvalidSettings: a file or variable is wrong.
        """
        from goalkeeper.settings import load_settings

        _log_to_stderr("DEBUG" if self.debug else "ERROR")
        return load_settings(self.state)

    @functools.cached_property
    def out(self) -> "Console":
        """Where answers go."""
        return _console(sys.stdout)

    @functools.cached_property
    def err(self) -> "Console":
        """Where remarks go."""
        return _console(sys.stderr)

    def client(self) -> "Client":
        """A client in the person's name."""
        from goalkeeper.client import Client

        return Client.connect(self.settings, as_person=self.person)

    def answer(self, value: Any, shown: "RenderableType | Callable[[], RenderableType]") -> None:
        """Print one answer: `value` as JSON where that is wanted, otherwise `shown`."""
        if self.json:
            print(json.dumps(plain_json(value), indent=2, ensure_ascii=False))
        else:
            self.out.print(shown() if callable(shown) else shown)

    def line(self, value: Any) -> None:
        """Print one JSON object of a stream."""
        print(json.dumps(plain_json(value), ensure_ascii=False), flush=True)

    def remark(self, text: str) -> None:
        """Tell the person something that is not the answer."""
        from rich.text import Text

        self.err.print(Text(text, style="yellow"), soft_wrap=True)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end; an interrupt cancels it first."""
        import asyncio

        return asyncio.run(work)


def plain_json(value: Any) -> Any:
    """A model, or a container of models, as JSON values."""
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value, by_alias=True)


def _log_to_stderr(level: str) -> None:
    """Standard output is for answers: log lines, ours and the libraries', go elsewhere."""
    import logging

    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=level, stream=sys.stderr)


def _console(file: Any) -> "Console":
    from rich.console import Console

    terminal = bool(getattr(file, "isatty", lambda: False)())
    # Piped output is for other programs: no folding at an imagined width of 80.
    return Console(
        file=file, highlight=False, markup=False, emoji=False, width=None if terminal else 200
    )


def command(app: typer.Typer, name: str, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Register a command that takes a `Session` first, and give it the global options.

    The options are accepted before and after the command's name; after wins.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(function, eval_str=True)
        own = list(signature.parameters.values())[1:]

        @functools.wraps(function)
        def run(
            _ctx: typer.Context,
            _state: Path | None,
            _as: str | None,
            _json: bool,
            _debug: bool,
            **values: Any,
        ) -> Any:
            session = merged(_ctx.obj, state=_state, person=_as, json=_json, debug=_debug)
            # The error handler needs to know what the command was told.
            _ctx.find_root().obj = session
            return function(session, **values)

        keyword = inspect.Parameter.KEYWORD_ONLY
        added = [
            inspect.Parameter("_ctx", keyword, annotation=typer.Context),
            inspect.Parameter("_state", keyword, default=None, annotation=StateOption),
            inspect.Parameter("_as", keyword, default=None, annotation=AsOption),
            inspect.Parameter("_json", keyword, default=False, annotation=JsonOption),
            inspect.Parameter("_debug", keyword, default=False, annotation=DebugOption),
        ]
        every = [p.replace(kind=keyword) for p in own] + added
        run.__signature__ = signature.replace(parameters=every)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in every}
        app.command(name, **options)(run)
        return function

    return register


def merged(base: Session | None, **given: Any) -> Session:
    """The session with what was given after the command's name."""
    return replace(base or Session(), **{k: v for k, v in given.items() if v})
