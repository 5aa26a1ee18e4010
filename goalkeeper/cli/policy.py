"""Commands on policy: show, check, test, schema; those on goals are beside it.

They read files and ask no server; what a policy means is for `goalkeeper.policy` to say.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from goalkeeper.cli import policy_goals
from goalkeeper.cli.session import FAILED, Session, command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType
    from rich.table import Table

    from goalkeeper.policy.cases import Tried
    from goalkeeper.policy.checking import Checked, Remark

FileArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="POLICY", help="A Cedar file, or `phase:NAME`; else the one of the settings."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    policy = typer.Typer(
        help="Policy: what goes, what is asked, what is refused.", no_args_is_help=True
    )
    app.add_typer(policy, name="policy", rich_help_panel="Planning")

    @command(policy, "show")
    def show(session: Session, file: FileArgument = None) -> None:
        """Print a policy: the one in force, a file, or a shipped phase.

        The phases are read-only, non-critical-writes and production.

        Example: goalkeeper policy show phase:read-only > mine.cedar
        """
        _show(session, file)

    @command(policy, "check")
    def check(session: Session, file: FileArgument = None) -> None:
        """Say what is wrong with a policy, line by line; else what its rules do.

        Example: goalkeeper policy check mine.cedar
        """
        _check(session, file)

    @command(policy, "test")
    def test(
        session: Session,
        file: FileArgument = None,
        cases: Annotated[
            Path | None,
            typer.Option(
                "--cases",
                metavar="FILE",
                help="The cases; else POLICY with `.cases.yaml` in place of `.cedar`.",
            ),
        ] = None,
    ) -> None:
        """Ask a policy what is written down in cases, and compare its answers.

        Example: goalkeeper policy test mine.cedar --cases mine.cases.yaml
        """
        _test(session, file, cases)

    policy_goals.register(policy)

    @command(policy, "schema")
    def schema(session: Session) -> None:
        """Print the Cedar schema that policies are checked against, for editors.

        Example: goalkeeper policy schema > goalkeeper.cedarschema
        """
        from connectors.registry import known_operations
        from goalkeeper.policy.schema import cedar_schema

        print(cedar_schema(known_operations(session.settings)))


def _show(session: Session, file: Path | None) -> None:
    from goalkeeper.policy.shipped import read_policy

    text, name = read_policy(file or session.settings.policy)
    if session.json:
        session.answer({"name": name, "text": text}, "")
    else:
        print(text, end="")


def _check(session: Session, file: Path | None) -> None:
    from connectors.registry import known_operations
    from goalkeeper.policy.checking import check
    from goalkeeper.policy.shipped import read_policy

    text, name = read_policy(file or session.settings.policy)
    found = check(text, name, known_operations(session.settings), _groups(session))
    session.answer(found, lambda: _checked(found))
    for remark in () if session.json else found.warnings:
        session.remark(_place(found.policy, remark, "warning: "))
    if found.problems:
        raise typer.Exit(FAILED)


def _groups(session: Session) -> "set[str] | None":
    """The groups that have somebody in them; None where nobody is listed yet."""
    known = policy_goals.people(session)
    return None if known is None else {g for groups in known.values() for g in groups}


def _checked(found: "Checked") -> "RenderableType":
    from goalkeeper.cli.explained import does
    from goalkeeper.cli.render import columns, plain

    if found.problems:
        return "\n".join(_place(found.policy, p) for p in found.problems)
    table = columns("LINE", "RULE", "ANSWER", "BECAUSE")
    for rule in found.rules:
        answer = does(rule.effect, rule.requirement)
        table.add_row(str(rule.line), plain(rule.id), answer, plain(rule.because))
    return table


def _place(policy: str, remark: "Remark", kind: str = "") -> str:
    from goalkeeper.cli.render import plain

    rule = f" (rule '{remark.rule}')" if remark.rule else ""
    return plain(f"{policy}:{remark.line}:{remark.column}: {kind}{remark.message}{rule}", 2000)


def _test(session: Session, file: Path | None, cases: Path | None) -> None:
    from connectors.registry import known_operations
    from goalkeeper.policy import PolicyEngine
    from goalkeeper.policy.cases import read_cases, try_case
    from goalkeeper.policy.shipped import read_cases_text

    source = file or session.settings.policy
    policy = PolicyEngine.load(source)
    operations = known_operations(session.settings)
    written = read_cases(*read_cases_text(source, cases), operations)
    tried = [try_case(case, policy, operations) for case in written]
    session.answer(tried, lambda: _tried(tried))
    failed = sum(not t.passed for t in tried)
    if not session.json:
        session.remark(f"{len(tried)} cases, {failed} failed" if failed else f"{len(tried)} passed")
    if failed:
        raise typer.Exit(FAILED)


def _tried(tried: "Sequence[Tried]") -> "Table":
    from rich.text import Text

    from goalkeeper.cli.render import columns, plain

    table = columns("", "CASE", "ANSWER", "WHY")
    for one in tried:
        mark = Text("pass", style="green") if one.passed else Text("FAIL", style="bold red")
        why = "; ".join(filter(None, (one.wrong, *one.reasons)))
        table.add_row(mark, plain(one.name), plain(one.got), plain(why))
    return table
