"""Several answers made into one: always the strictest.

It knows verdicts and requirements, and no policy.
"""

from collections.abc import Iterable

from goalkeeper.domain.policy import Effect, Requirement, Verdict


def strictest(requirements: Iterable[Requirement]) -> Requirement | None:
    """One requirement that satisfies all; None when their groups have nobody in common."""
    every = list(requirements)
    named = [set(r.groups) for r in every if r.groups]
    common = set.intersection(*named) if named else set()
    if named and not common:
        return None
    return Requirement(
        approvals=max(r.approvals for r in every),
        groups=tuple(sorted(common)),
        expires_in=min(r.expires_in for r in every),
        valid_for=min(r.valid_for for r in every),
        reason_required=any(r.reason_required for r in every),
    )


def combine(verdicts: Iterable[Verdict]) -> Verdict:
    """One verdict for several actions that stand or fall together: the strictest."""
    every = list(verdicts)
    reasons = tuple(dict.fromkeys(r for v in every for r in v.reasons))
    if any(v.effect is Effect.DENY for v in every):
        denied = tuple(
            dict.fromkeys(r for v in every if v.effect is Effect.DENY for r in v.reasons)
        )
        return Verdict(effect=Effect.DENY, reasons=denied)
    asking = [v.requirement for v in every if v.requirement is not None]
    if not asking:
        return Verdict(effect=Effect.ALLOW, reasons=reasons)
    combined = strictest(asking)
    if combined is None:
        return Verdict(
            effect=Effect.DENY, reasons=(*reasons, "nobody may approve all of these at once")
        )
    asked = tuple(dict.fromkeys(r for v in every if v.requirement is not None for r in v.reasons))
    return Verdict(effect=Effect.ASK, reasons=asked, requirement=combined)
