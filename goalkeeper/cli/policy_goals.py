"""Commands on policy and goals: explain for one to come, replay for those of the past.

They change nothing; what policy says and why is for `goalkeeper.policy` to tell.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from goalkeeper.cli.audit import open_log
from goalkeeper.cli.goals import InputsOption, PairsArgument
from goalkeeper.cli.session import DENIED, Session, command

if TYPE_CHECKING:
    from goalkeeper.domain.plan import Plan
    from goalkeeper.policy.replaying import PastGoal

PolicyOption = Annotated[
    Path | None,
    typer.Option(
        "--policy", metavar="POLICY", help="A Cedar file, or `phase:NAME`, to judge by instead."
    ),
]


def register(policy: typer.Typer) -> None:
    """Add the commands to `goalkeeper policy`."""

    @command(policy, "explain")
    def explain(
        session: Session,
        contract: Annotated[
            str,
            typer.Argument(
                metavar="CONTRACT",
                help="A contract's name, a YAML file, or a plan in a JSON file.",
            ),
        ],
        pairs: PairsArgument = None,
        inputs: InputsOption = None,
        policy: PolicyOption = None,
    ) -> None:
        """Say for each task what policy answers, by which rules, and which rules came near.

        `--as PERSON` asks in the name of somebody of the identities file.

        Example: goalkeeper policy explain deploy-branch branch=main app=web --policy mine.cedar
        """
        _explain(session, contract, pairs or [], inputs, policy)

    @command(policy, "replay")
    def replay(
        session: Session,
        since: Annotated[
            str, typer.Option("--since", metavar="7d", help="Goals of the last 30m, 12h, 7d.")
        ] = "7d",
        policy: PolicyOption = None,
        offline: Annotated[
            bool, typer.Option("--offline", help="By the audit log alone, which has no inputs.")
        ] = False,
        limit: Annotated[
            int, typer.Option("--limit", "-n", min=1, help="At most so many, the newest.")
        ] = 500,
    ) -> None:
        """Judge past goals anew, and show what would be answered otherwise.

        Example: goalkeeper policy replay --since 30d --policy mine.cedar
        """
        _replay(session, since, policy, offline, limit)


def _explain(
    session: Session, contract: str, pairs: list[str], file: str | None, policy: Path | None
) -> None:
    from goalkeeper.cli.explained import shown
    from goalkeeper.cli.simulate import who_asks
    from goalkeeper.domain.policy import Effect
    from goalkeeper.policy import PolicyEngine
    from goalkeeper.policy.explaining import explain_plan

    plan = _plan(session, contract, pairs, file)
    engine = PolicyEngine.load(policy or session.settings.policy)
    requester, groups = who_asks(session)
    explained = explain_plan(plan, engine, requester, groups)
    session.answer(
        {"plan_digest": plan.digest, "policy_version": engine.version, "tasks": explained},
        lambda: shown(plan, explained, proven=requester.proven),
    )
    if any(e.verdict.effect is Effect.DENY for e in explained):
        raise typer.Exit(DENIED)


def _plan(session: Session, contract: str, pairs: list[str], file: str | None) -> "Plan":
    """The plan of a contract, or one that `goalkeeper plan --json` has written."""
    from goalkeeper.cli.values import read_inputs
    from goalkeeper.client.submission import find_contract, prepare
    from goalkeeper.domain.errors import InvalidGoal

    if not contract.endswith(".json"):
        found, _ = find_contract(session.settings, contract)
        return prepare(session.settings, contract, read_inputs(pairs, file, found.inputs))[1]
    if pairs or file:
        raise InvalidGoal("a plan has its inputs already: leave them out, or name its contract")
    return _written_plan(contract)


def _written_plan(file: str) -> "Plan":
    import json

    from pydantic import ValidationError

    from goalkeeper.domain.errors import InvalidGoal
    from goalkeeper.domain.plan import Plan

    try:
        found = json.loads(Path(file).read_bytes())
        return Plan.model_validate(found["plan"] if "plan" in found else found)
    except OSError as error:
        raise InvalidGoal(f"cannot read the plan '{file}': {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(p) for p in first["loc"]) or "the whole"
        raise InvalidGoal(f"'{file}' is not a plan: {place}: {first['msg']}") from None
    except (ValueError, TypeError):
        raise InvalidGoal(
            f"'{file}' is not a plan: write it with `goalkeeper plan CONTRACT … --json`"
        ) from None


def _replay(session: Session, since: str, policy: Path | None, offline: bool, limit: int) -> None:
    from datetime import UTC, datetime

    from goalkeeper.cli.past import on_record
    from goalkeeper.cli.replayed import shown, summary
    from goalkeeper.policy import PolicyEngine
    from goalkeeper.policy.replaying import replay
    from goalkeeper.policy.rules import read_duration

    engine = PolicyEngine.load(policy or session.settings.policy)
    begin = datetime.now(UTC) - read_duration(since, "--since")
    goals = on_record(open_log(session), begin, people(session) or {})
    if len(goals) > limit:
        session.remark(f"note: the newest {limit} of {len(goals)} goals; --limit takes more")
        goals = goals[-limit:]
    if not offline:
        goals = session.run(_whole(session, goals))
    found = replay(goals, engine)
    session.answer(found, lambda: shown(found))
    if not session.json:
        session.remark(summary(found))


async def _whole(session: Session, goals: "list[PastGoal]") -> "list[PastGoal]":
    """The goals with their plans, as far as a worker tells them."""
    from goalkeeper.cli.past import with_plans
    from goalkeeper.domain.errors import GoalkeeperError

    missing = len(goals)
    try:
        async with session.client() as client:
            goals, missing = await with_plans(goals, client)
    except GoalkeeperError as error:
        session.remark(f"note: {error.message}")
    if missing:
        session.remark(
            f"note: the plans of {missing} of {len(goals)} goals cannot be had, so they are "
            "judged by the audit log, without their inputs"
        )
    return goals


def people(session: Session) -> "dict[str, tuple[str, ...]] | None":
    """Everybody's groups; None where nobody is listed yet."""
    from goalkeeper.identities import Identities

    file = session.settings.identities_file
    if not file.exists():
        return None
    return {p.id: p.groups for p in Identities.load(file).people()}
