"""Commands that run nothing: plan and schema.

The plan is compiled and judged as the worker would, from the same files.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from goalkeeper.cli.goals import ContractArgument, InputsOption, PairsArgument
from goalkeeper.cli.session import DENIED, Session, command

if TYPE_CHECKING:
    from goalkeeper.domain.approval import Requester
    from goalkeeper.domain.plan import Plan
    from goalkeeper.domain.policy import Verdict

_GROUP = "Planning"


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @command(app, "plan", rich_help_panel=_GROUP)
    def plan(
        session: Session,
        contract: ContractArgument,
        pairs: PairsArgument = None,
        inputs: InputsOption = None,
    ) -> None:
        """Show what a goal would do, what policy says and who would be asked. Runs nothing.

        Example: goalkeeper plan read-file repository=https://… path=README.md
        """
        _plan(session, contract, pairs or [], inputs)

    @command(app, "schema", rich_help_panel=_GROUP)
    def schema(
        session: Session,
        name: Annotated[str | None, typer.Argument(metavar="NAME", help="One schema's.")] = None,
    ) -> None:
        """Print JSON Schemas: their names, or one of them.

        Example: goalkeeper schema contract > contract.schema.json
        """
        _schema(session, name)


def _plan(session: Session, contract: str, pairs: list[str], file: str | None) -> None:
    from goalkeeper.cli.render import plan_tree
    from goalkeeper.cli.values import read_inputs
    from goalkeeper.client.submission import find_contract, prepare
    from goalkeeper.domain.policy import Effect

    found, _ = find_contract(session.settings, contract)
    _, plan = prepare(session.settings, contract, read_inputs(pairs, file, found.inputs))
    verdicts = _verdicts(session, plan)
    session.answer(
        {"plan": plan, "digest": plan.digest, "verdicts": verdicts},
        lambda: plan_tree(plan, verdicts, proven=_requester(session)[0].proven),
    )
    if any(v.effect is Effect.DENY for v in verdicts.values()):
        raise typer.Exit(DENIED)


def _verdicts(session: Session, plan: "Plan") -> "dict[str, Verdict]":
    """What the worker will say to each task before anything runs; of a gate, to what it covers."""
    from connectors.registry import known_operations
    from goalkeeper.catalogue import Catalogue
    from goalkeeper.policy import PolicyEngine
    from goalkeeper.simulation.planning import RealPlanning

    requester, groups = _requester(session)
    planning = RealPlanning(
        operations=known_operations(session.settings),
        catalogue=Catalogue(),  # No contract is looked up: the plan is there.
        policy=PolicyEngine.load(session.settings.policy),
        requester=requester,
        groups=groups,
    )
    return planning.verdicts(plan, "planned")


def _requester(session: Session) -> "tuple[Requester, tuple[str, ...]]":
    """Who would ask: the person of the token at hand, or the local user's claim."""
    from goalkeeper.client.people import find_token, local_user
    from goalkeeper.domain.approval import Requester
    from goalkeeper.identities import Identities

    token = find_token(session.settings, as_person=session.person)
    file = session.settings.identities_file
    person = Identities.load(file).by_token(token) if token and file.exists() else None
    if person is None:
        return Requester(id=local_user()), ()
    return Requester(id=person.id, proven=True), person.groups


def _schema(session: Session, name: str | None) -> None:
    import json

    from connectors.registry import known_operations
    from goalkeeper.domain.errors import NotFound
    from goalkeeper.schema import schemas

    every = schemas(known_operations(session.settings))
    if name is None:
        session.answer(sorted(every), "\n".join(sorted(every)))
        return
    if name not in every:
        raise NotFound(f"there is no schema '{name}'; there are {', '.join(sorted(every))}")
    print(json.dumps(every[name], indent=2, ensure_ascii=False))
