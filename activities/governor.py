"""The governor: whether exactly this may run now.

It trusts nothing that the workflow says and nothing that it remembers: it recomputes the digest
from what is about to run, asks policy again and verifies every signature.
"""

from collections import OrderedDict
from datetime import UTC, datetime, timedelta

from activities.caller import Callers, this_run
from activities.parts import Parts
from activities.undoing import undone_effect
from goalkeeper.contracts.activities import Asker, GoalOnRecord
from goalkeeper.domain.approval import (
    SUBMISSION_TYPE,
    Action,
    Answer,
    Decision,
    Grant,
    Requester,
    Submission,
    verify_grant,
    verify_outcome,
)
from goalkeeper.domain.dsse import Envelope, PublicKeys, open_envelope
from goalkeeper.domain.errors import ApprovalNeeded, GrantMismatch, PolicyDenied
from goalkeeper.domain.operation import Operation
from goalkeeper.domain.policy import Effect, Requirement, Verdict
from goalkeeper.policy import Question

_REMEMBERED = 512


class Governor:
    """Judges actions just before they run."""

    def __init__(self, parts: Parts, callers: Callers) -> None:
        self._parts = parts
        self._callers = callers
        self._keys: dict[str, str] = {}
        self._proven: OrderedDict[str, Submission] = OrderedDict()
        self._planned: OrderedDict[tuple[str, str], GoalOnRecord] = OrderedDict()

    async def keys(self, *, fresh: bool = False) -> PublicKeys:
        """The gateway's public keys; read again when `fresh` or not known yet."""
        if fresh or not self._keys:
            # Merged: what was signed with a key that Vault has dropped since still verifies here.
            self._keys.update(await self._parts.vault.public_keys())
        return self._keys

    async def submission(self, envelope: Envelope) -> Submission:
        """The gateway's statement about who submitted.

        Raises:
            GrantMismatch: the gateway did not sign it.
        """
        ident = envelope.payload
        known = self._proven.get(ident)
        if known is None:
            known = open_envelope(
                envelope, Submission, SUBMISSION_TYPE, await self._keys_for(envelope)
            )
            self._proven[ident] = known
            if len(self._proven) > _REMEMBERED:
                self._proven.popitem(last=False)
        return known

    def actual(self, action: Action, operation: Operation) -> Action:
        """The action as this worker would run it: its digest is the one that must be approved."""
        undo = operation.compensation.operation if operation.compensation else None
        return action.model_copy(update={"risk": operation.risk, "compensation": undo})

    async def judge(self, action: Action, asker: Asker, *, compensating: bool = False) -> Verdict:
        """Policy's verdict on resolved inputs.

        Args:
            action: what would run.
            asker: on whose behalf.
            compensating: it undoes what this goal did itself. A rollback is the same for policy
                if a goal undoes its own child by it, or the requester is proven: else whoever
                reaches Temporal could take back what others approved.

        Raises:
            GrantMismatch: the requester is said to be proven, and is not; or the action is said
                to undo something, and would not.
        """
        requester = await self.believed(asker, action.goal_id)
        if action.undoes is not None:
            await undone_effect(self._parts, self._callers, action)
            compensating = requester.proven or await self._own_child()
        named = action.inputs.get("environment")
        if isinstance(named, str) and named != action.environment:
            # Policy judges the goal's environment; an operation must not act on another.
            return Verdict(
                effect=Effect.DENY,
                reasons=(
                    f"it would act on environment '{named}', and the goal is for "
                    f"'{action.environment}'",
                ),
            )
        return self._parts.policy.judge(
            Question(
                requester=requester,
                groups=self.groups(asker.requester),
                operation=action.operation,
                risk=action.risk,
                environment=action.environment,
                contract=asker.contract,
                roles=tuple(sorted(action.credentials.values())),
                inputs=action.inputs,
                compensating=compensating,
            )
        )

    def groups(self, requester: Requester) -> tuple[str, ...]:
        """The groups of a proven requester, as the identities file has them now."""
        person = self._parts.identities.get(requester.id) if requester.proven else None
        return person.groups if person else ()

    async def allow(self, action: Action, asker: Asker, grant: Grant | None, holder: str) -> bool:
        """Let the action pass, and spend its grant.

        Returns:
            Whether it passes by the grant, which an earlier attempt may have spent already.

        Raises:
            PolicyDenied: policy refuses it.
            ApprovalNeeded: policy asks, and there is no grant.
            GrantMismatch: the grant does not cover exactly this.
            GrantSpent: it covers it, and something else has used it.
        """
        verdict = await self.judge(action, asker)
        if verdict.effect is Effect.DENY:
            raise PolicyDenied(f"policy refuses '{action.operation}': {'; '.join(verdict.reasons)}")
        if verdict.requirement is None:
            return False
        if grant is None:
            raise ApprovalNeeded(f"policy asks for people: {'; '.join(verdict.reasons)}")
        if action.policy_version != self._parts.policy.version:
            raise GrantMismatch(
                f"policy has changed since '{grant.request.id}' was approved, so the approval is "
                "void. Submit the goal again."
            )
        _check_request(grant, action, asker, verdict.requirement)
        keys = await self._keys_for(*grant.decisions)
        decisions = verify_grant(grant, action, keys)
        earlier = await self._parts.ledger.spent(grant.id, action.digest)
        if earlier is None:
            _check_age(grant, decisions)
        await self._parts.ledger.spend(grant.id, action.digest, holder)
        return True

    async def answer(self, action: Action, asker: Asker, grant: Grant) -> Answer:
        """What people say became of a lost attempt.

        Raises:
            GrantMismatch: the grant does not say so, or fewer answered than policy wants to
                approve such an action.
        """
        verdict = await self.judge(action, asker)
        _check_request(grant, action, asker, verdict.requirement)
        return verify_outcome(grant, action, await self._keys_for(*grant.decisions))

    async def _keys_for(self, *envelopes: Envelope) -> PublicKeys:
        known = await self.keys()
        if all(s.keyid in known for e in envelopes for s in e.signatures):
            return known
        return await self.keys(fresh=True)

    async def _own_child(self) -> bool:
        undone = await self._callers.rolls_back()
        return undone is not None and await self._callers.is_sibling(undone)

    async def believed(self, asker: Asker, goal_id: str) -> Requester:
        """The requester, once what is said of them is proved.

        A child goal acts on the attestation of the goal at the top, if Temporal itself says that
        this is its root. Whoever reaches Temporal could run a workflow of their own under that
        id, once it is free, and start a child of it: the power that the id itself gives.

        Raises:
            GrantMismatch: the gateway's proof is missing, or for another goal or person.
        """
        if not asker.requester.proven:
            return asker.requester
        attestation = asker.attestation or (await self.planned(goal_id)).asker.attestation
        if attestation is None:
            raise GrantMismatch("the requester is said to be proven, without the gateway's proof")
        submission = await self.submission(attestation)
        top = submission.goal_id
        covered = goal_id == top or (
            goal_id.startswith(f"{top}--") and (await self._callers.family()).root == top
        )
        if not covered or submission.person != asker.requester.id:
            raise GrantMismatch(
                "the gateway's proof of the requester is for another goal or person"
            )
        return asker.requester

    async def planned(self, goal_id: str) -> GoalOnRecord:
        """What the goal of this workflow was planned with.

        Raises:
            GrantMismatch: it was not planned here, or for another run of its id.
        """
        # By run: a goal id may be used again, and is planned anew then.
        at = (goal_id, this_run())
        known = self._planned.get(at)
        if known is None:
            known = await self._parts.ledger.goal(goal_id)
            if known is None:
                raise GrantMismatch(f"goal '{goal_id}' was never planned by this installation")
            self._planned[at] = known
            if len(self._planned) > _REMEMBERED:
                self._planned.popitem(last=False)
        return known


def _check_request(grant: Grant, action: Action, asker: Asker, wanted: Requirement | None) -> None:
    request = grant.request
    if request.goal_id != action.goal_id or request.requester != asker.requester:
        raise GrantMismatch(f"the approval '{request.id}' belongs to another goal or requester")
    if wanted is None:
        return
    asked = request.requirement
    weaker = asked.approvals < wanted.approvals or (
        wanted.groups and not (asked.groups and set(asked.groups) <= set(wanted.groups))
    )
    if weaker or (wanted.reason_required and not asked.reason_required):
        raise GrantMismatch(f"the approval '{request.id}' asked for less than policy wants")


def _check_age(grant: Grant, decisions: tuple[Decision, ...]) -> None:
    last = max(d.decided_at for d in decisions)
    valid: timedelta = grant.request.requirement.valid_for
    if datetime.now(UTC) > last + valid:
        raise GrantMismatch(
            f"the approval '{grant.request.id}' was given at "
            f"{last.isoformat(timespec='seconds')} and was good for {valid}; it has aged out. "
            "Submit the goal again to ask again."
        )
