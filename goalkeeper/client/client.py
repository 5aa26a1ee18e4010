"""`Client`: the way into one installation of Goalkeeper.

It makes its connections at first use and closes what it opened; it keeps no state between calls.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import temporalio.client
from pydantic import SecretStr

from goalkeeper.client.failures import mapped
from goalkeeper.client.gateway import Decided, Gateway
from goalkeeper.client.goal import Goal
from goalkeeper.client.locks import break_lock, list_locks
from goalkeeper.client.people import find_token, local_user, needs_person
from goalkeeper.client.starting import AT_ONCE, new_id, start, valid_id
from goalkeeper.contracts.goal import WORKFLOW, OpenRequest
from goalkeeper.contracts.locks import LockView
from goalkeeper.domain.approval import Answer
from goalkeeper.domain.base import Json, Model
from goalkeeper.domain.contract import Contract
from goalkeeper.domain.errors import InvalidGoal
from goalkeeper.domain.plan import GoalState
from goalkeeper.settings import Settings, load_settings
from goalkeeper.temporal import connect

if TYPE_CHECKING:
    from goalkeeper.evidence import EvidenceStore


class GoalSummary(Model):
    """One goal in a list."""

    id: str
    contract: str = ""
    state: GoalState
    environment: str = ""
    requester: str = ""
    started_at: datetime
    ended_at: datetime | None = None


class Client:
    """One installation, in the name of one person or of nobody in particular.

    ::

        async with Client.connect(as_person="developer") as gk:
            goal = await gk.submit("read-file", repository="https://…", path="README.md")
            print((await goal.result()).outputs("read"))
    """

    def __init__(self, settings: Settings, token: SecretStr | None = None) -> None:
        self.settings = settings
        self.patience = timedelta(minutes=1)
        """How long `Goal.events` bears with a Temporal or worker that does not answer."""
        self.starting = asyncio.Semaphore(AT_ONCE)
        """Taken for each goal that is being started."""
        self._person = ""
        self._token = token
        self._temporal: temporalio.client.Client | None = None
        self._gateway: Gateway | None = None

    @classmethod
    def connect(
        cls,
        settings: Settings | None = None,
        *,
        state: Path | str | None = None,
        token: SecretStr | str | None = None,
        as_person: str | None = None,
    ) -> "Client":
        """A client to use in ``async with``.

        Args:
            settings: where everything is; read from `state` and the environment when None.
            state: the state folder of an embedded stack.
            token: a person's API token; else that of `as_person`, else ``GOALKEEPER_TOKEN``.
            as_person: a person whose token is in the state folder's ``tokens``.

        Raises:
            InvalidSettings: a setting is wrong, or the person's token is not there.
        """
        chosen = settings or load_settings(Path(state) if state is not None else None)
        return cls(chosen, find_token(chosen, token=token, as_person=as_person))

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close what was opened."""
        if self._gateway is not None:
            await self._gateway.aclose()
            self._gateway = None
        self._temporal = None

    @property
    def has_person(self) -> bool:
        """Whether a person's token is at hand."""
        return self._token is not None

    async def who(self) -> str:
        """The person, or the local user's name as a claim where no token is at hand.

        Raises:
            NotAllowed: the gateway does not know the token.
        """
        if self._token is None:
            return local_user()
        if not self._person:
            self._person = (await self.gateway().me()).id
        return self._person

    async def submit(
        self,
        contract: str | Path | Contract,
        *,
        inputs: Mapping[str, Json] | None = None,
        goal_id: str | None = None,
        **values: Json,
    ) -> Goal:
        """Ask for a goal.

        With a person's token, the gateway attests who asks. Without one the requester is only
        a claim, and whatever needs approval needs one more person.

        Args:
            contract: a contract's name, a YAML file, or a contract.
            inputs: its inputs; together with `values`, which are the same by keyword.
            goal_id: makes the call repeatable: the same id with the same inputs is the same goal.
            values: inputs by keyword.

        Raises:
            InvalidGoal: an input is missing, misspelt or wrong.
            InvalidContract: the contract does not compile.
            NotFound: there is no contract of that name.
            Conflict: `goal_id` is already in use for something else.
            ServiceUnavailable: Temporal, or the gateway that would attest, does not answer.
        """
        # The compiler and the connectors are for this method alone: an inbox opens faster without.
        from goalkeeper.client.submission import prepare

        twice = sorted(set(inputs or {}) & set(values))
        if twice:
            raise InvalidGoal(f"input '{twice[0]}' is given twice, in `inputs` and by keyword")
        goal, plan = prepare(self.settings, contract, {**(inputs or {}), **values})
        chosen = valid_id(goal_id or new_id(plan.contract))
        await start(self, goal, chosen)
        return Goal(self, chosen)

    def goal(self, goal_id: str) -> Goal:
        """A goal by its id; whether it exists shows at the first call on it."""
        return Goal(self, goal_id)

    async def goals(
        self, *, state: GoalState | str | None = None, limit: int = 100
    ) -> AsyncIterator[GoalSummary]:
        """The goals of this installation, the latest first.

        Args:
            state: only those in this state.
            limit: at most so many.
        """
        query = f'WorkflowType = "{WORKFLOW}"'
        if state is not None:
            query += f' AND GoalState = "{_state(state).value}"'
        temporal = await self.temporal()
        with mapped(self.settings):
            async for found in temporal.list_workflows(query, limit=limit):
                yield _summary(found)

    async def inbox(self) -> tuple[OpenRequest, ...]:
        """The approval requests that wait for an answer, the most urgent first.

        Raises:
            NotAllowed: no person's token is at hand.
        """
        return await self.gateway().requests()

    async def decide(
        self,
        request_id: str,
        answer: Answer | Literal["approve", "deny", "happened", "did_not_happen"],
        reason: str = "",
        *,
        digest: str | None = None,
    ) -> Decided:
        """Answer an approval request in the person's name.

        Args:
            request_id: ``GOAL/TASK.GENERATION``.
            answer: ``approve`` or ``deny``; where the question is what became of a lost attempt,
                ``happened`` or ``did_not_happen``.
            reason: required for all but an approval.
            digest: what the person has seen; then an answer to anything else is refused.

        Raises:
            NotAllowed: the person may not decide this, or no token is at hand.
            Conflict: it was decided already, or has changed since it was looked at.
            InvalidGoal: it is no answer, or none to this request's question.
        """
        if answer not in tuple(Answer):
            words = ", ".join(f"'{a}'" for a in Answer)
            raise InvalidGoal(f"'{answer}' is no answer; there are {words}")
        return await self.gateway().decide(request_id, Answer(answer), reason=reason, digest=digest)

    async def locks(self) -> tuple[LockView, ...]:
        """The named locks of this installation, held ones first.

        Raises:
            ServiceUnavailable: Temporal or the worker does not answer; retrying helps.
        """
        return await list_locks(self)

    async def break_lock(self, name: str, *, reason: str) -> LockView:
        """Take a lock from the goal that has it, which is not stopped, and give it to the next.

        Raises:
            InvalidGoal: no reason is given, or no lock can have this name.
            NotFound: no goal has ever asked for a lock of this name.
            Conflict: it is free already.
            ServiceUnavailable: Temporal or the worker does not answer.
        """
        return await break_lock(self, name, reason)

    def gateway(self) -> Gateway:
        """The gateway, in the person's name.

        Raises:
            NotAllowed: no person's token is at hand.
        """
        if self._gateway is None:
            if self._token is None:
                raise needs_person(self.settings)
            self._gateway = Gateway(self.settings.gateway_url, self._token)
        return self._gateway

    async def temporal(self) -> temporalio.client.Client:
        """The connection to Temporal, made at the first call.

        Raises:
            ServiceUnavailable: nothing answers at the configured address.
        """
        if self._temporal is None:
            self._temporal = await connect(self.settings)
        return self._temporal

    def evidence(self) -> "EvidenceStore":
        """The evidence store of this installation."""
        from goalkeeper.evidence import EvidenceStore

        return EvidenceStore(self.settings.evidence_folder)


def _state(state: GoalState | str) -> GoalState:
    for known in GoalState:
        if str(state).casefold() == known.value.casefold():
            return known
    raise InvalidGoal(
        f"there is no state '{state}'; there are {', '.join(s.value for s in GoalState)}"
    )


def _summary(found: temporalio.client.WorkflowExecution) -> GoalSummary:
    attributes = {p.key.name: str(p.value) for p in found.typed_search_attributes}
    return GoalSummary(
        id=found.id,
        contract=attributes.get("GoalContract", ""),
        state=_true_state(attributes.get("GoalState", ""), found.status),
        environment=attributes.get("GoalEnvironment", ""),
        requester=attributes.get("GoalRequester", ""),
        started_at=found.start_time,
        ended_at=found.close_time,
    )


def _true_state(
    attribute: str, status: temporalio.client.WorkflowExecutionStatus | None
) -> GoalState:
    """The state that the goal itself recorded, unless its workflow ended without a last word."""
    known = GoalState(attribute) if attribute in set(GoalState) else GoalState.PLANNING
    closed = temporalio.client.WorkflowExecutionStatus
    if status is closed.CANCELED:
        return GoalState.CANCELLED
    if status in (closed.FAILED, closed.TERMINATED, closed.TIMED_OUT):
        return known if known in _FAILURES else GoalState.FAILED
    return known


_FAILURES = {GoalState.DENIED, GoalState.ROLLED_BACK, GoalState.CANCELLED}
