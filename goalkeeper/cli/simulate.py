"""The command `simulate`: a goal on paper, carried out by the real interpreter in no time.

It reads what should go otherwise and shows what came of it; what happens is for
`goalkeeper.simulation` to say.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from goalkeeper.cli.goals import ContractArgument, InputsOption, PairsArgument
from goalkeeper.cli.session import DENIED, FAILED, Session, command

if TYPE_CHECKING:
    from goalkeeper.domain.approval import Requester
    from goalkeeper.simulation.planning import RealPlanning
    from goalkeeper.simulation.scenario import Scenario

UNPROVEN = "unproven"
"""With `--as`: nobody has proved who asks."""

ApproveOption = Annotated[
    list[str] | None,
    typer.Option("--approve", metavar="TASK[=PT5M]", help="People approve it, after so long."),
]
DenyOption = Annotated[
    list[str] | None,
    typer.Option("--deny", metavar="TASK[=PT5M]", help="Somebody denies it, after so long."),
]
SilentOption = Annotated[
    list[str] | None, typer.Option("--silent", metavar="TASK", help="Nobody answers it.")
]
FailOption = Annotated[
    list[str] | None,
    typer.Option("--fail", metavar="TASK[=CODE]", help="It fails, with this error's code."),
]
LoseOption = Annotated[
    list[str] | None,
    typer.Option(
        "--lose",
        metavar="TASK[=happened|did_not_happen|silence]",
        help="Its first attempt is lost, and this is what people say became of it.",
    ),
]
DurationOption = Annotated[
    list[str] | None,
    typer.Option("--duration", metavar="TASK=PT5M", help="An attempt at it takes so long."),
]
OutputOption = Annotated[
    list[str] | None,
    typer.Option("--output", metavar="TASK=JSON", help="It answers this, not an example."),
]
EventOption = Annotated[
    list[str] | None,
    typer.Option("--event", metavar="NAME[=JSON]", help="An event carries this."),
]
UnheardOption = Annotated[
    list[str] | None,
    typer.Option("--unheard", metavar="NAME", help="An event that never comes."),
]


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "simulate", rich_help_panel="Planning")
    def simulate(
        session: Session,
        contract: ContractArgument,
        pairs: PairsArgument = None,
        inputs: InputsOption = None,
        approve: ApproveOption = None,
        deny: DenyOption = None,
        silent: SilentOption = None,
        fail: FailOption = None,
        lose: LoseOption = None,
        durations: DurationOption = None,
        outputs: OutputOption = None,
        events: EventOption = None,
        unheard: UnheardOption = None,
        what_if: Annotated[
            bool, typer.Option(help="Also try what each failure and denial would lead to.")
        ] = True,
    ) -> None:
        """Carry a goal out on paper: what happens when, who is asked, and what if. Runs nothing.

        Example: goalkeeper simulate deploy-branch branch=feature --deny approve
        """
        said = {
            "answers": {**_answers(approve, "approve"), **_answers(deny, "deny"), **_no(silent)},
            "failures": dict(_halves(fail, "OperationFailed")),
            "lost": [task for task, _ in _halves(lose, "")],
            "outcomes": dict(_outcomes(lose)),
            "durations": dict(_pairs(durations, "--duration TASK=PT5M")),
            "outputs": {k: _json(v) for k, v in _pairs(outputs, "--output TASK=JSON")},
            "events": {k: _json(v) for k, v in _halves(events, "null")},
            "unheard": unheard or [],
        }
        _simulate(session, contract, pairs or [], inputs, said, what_if)


def _simulate(
    session: Session,
    contract: str,
    pairs: list[str],
    file: str | None,
    said: dict[str, Any],
    with_what_if: bool,
) -> None:
    from goalkeeper.cli.simulated import shown
    from goalkeeper.cli.values import read_inputs
    from goalkeeper.client.submission import find_contract, prepare
    from goalkeeper.domain.plan import GoalState
    from goalkeeper.simulation.scenario import Scenario, check_scenario
    from goalkeeper.simulation.simulate import Simulated
    from goalkeeper.simulation.simulate import simulate as run
    from goalkeeper.simulation.what_if import what_if

    scenario = _scenario(said)
    found, _ = find_contract(session.settings, contract)
    goal, plan = prepare(session.settings, contract, read_inputs(pairs, file, found.inputs))
    check_scenario(scenario, plan)
    planning = _planning(session)

    def once(varied: Scenario) -> Simulated:
        return run(goal, planning, varied, planning.operations)

    base = once(scenario)
    table = what_if(once, scenario, base) if with_what_if else ()
    verdicts = planning.verdicts(plan, "simulated")
    session.answer(
        {"simulation": base, "verdicts": verdicts, "what_if": table},
        lambda: shown(base, plan, verdicts, table, proven=planning.requester.proven),
    )
    if base.state is GoalState.SUCCEEDED:
        return
    refused = base.failure is not None and base.failure.code == "PolicyDenied"
    raise typer.Exit(DENIED if base.state is GoalState.DENIED or refused else FAILED)


def _scenario(said: dict[str, Any]) -> "Scenario":
    from pydantic import ValidationError

    from goalkeeper.domain.errors import InvalidGoal, all_errors
    from goalkeeper.simulation.scenario import Scenario

    try:
        scenario = Scenario.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        place = ": ".join(str(p) for p in first["loc"] if p != "[key]")
        raise InvalidGoal(f"the simulation's options are wrong: {place}: {first['msg']}") from None
    unknown = sorted(set(scenario.failures.values()) - set(all_errors()))
    if unknown:
        raise InvalidGoal(
            f"there is no error '{unknown[0]}'; there are {', '.join(sorted(all_errors()))}"
        )
    return scenario


def _planning(session: Session) -> "RealPlanning":
    from connectors.registry import known_operations
    from goalkeeper.catalogue import Catalogue
    from goalkeeper.policy import PolicyEngine
    from goalkeeper.simulation.planning import RealPlanning

    requester, groups = who_asks(session)
    return RealPlanning(
        operations=known_operations(session.settings),
        catalogue=Catalogue.load(session.settings),
        policy=PolicyEngine.load(session.settings.policy),
        requester=requester,
        groups=groups,
        window=session.settings.window,
    )


def who_asks(session: Session) -> "tuple[Requester, tuple[str, ...]]":
    """Who would ask: nothing runs, so a name of the identities file is enough, without a token.

    Raises:
        InvalidSettings: there is no such person.
    """
    from goalkeeper.client.people import local_user
    from goalkeeper.domain.approval import Requester
    from goalkeeper.domain.errors import InvalidSettings
    from goalkeeper.identities import Identities

    file = session.settings.identities_file
    if session.person in (None, UNPROVEN):
        return Requester(id=local_user()), ()
    people = Identities.load(file).people() if file.exists() else ()
    person = next((p for p in people if p.id == session.person), None)
    if person is None:
        known = ", ".join(p.id for p in people) or "nobody yet: `goalkeeper up` writes a first one"
        raise InvalidSettings(
            f"there is no person '{session.person}' in '{file}'; there is {known}. "
            f"`--as {UNPROVEN}` asks as nobody in particular."
        )
    return Requester(id=person.id, proven=True), person.groups


def _halves(given: list[str] | None, otherwise: str) -> Iterator[tuple[str, str]]:
    for text in given or []:
        key, separator, value = text.partition("=")
        yield key, value if separator else otherwise


def _pairs(given: list[str] | None, usage: str) -> Iterator[tuple[str, str]]:
    from goalkeeper.domain.errors import InvalidGoal

    for text in given or []:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise InvalidGoal(f"'{text}' says nothing to simulate: write {usage}")
        yield key, value


def _answers(given: list[str] | None, answer: str) -> dict[str, dict[str, Any]]:
    halves = dict(_halves(given, ""))
    return {t: {"answer": answer, **({"after": a} if a else {})} for t, a in halves.items()}


def _no(given: Iterable[str] | None) -> dict[str, dict[str, Any]]:
    return {task: {"answer": None} for task in given or []}


def _outcomes(given: list[str] | None) -> Iterator[tuple[str, dict[str, Any]]]:
    for task, said in _halves(given, "happened"):
        yield task, {"answer": None if said == "silence" else said}


def _json(text: str) -> Any:
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text
