"""What may be answered to a request, in words: what each answer is called and leads to.

It is pure, and counts nothing: what an answer does is for the goal.
"""

from collections.abc import Sequence

from goalkeeper.domain.approval import Answer, ApprovalRequest, Question, needed_approvals
from goalkeeper.domain.base import Model

_NAMES = 20


class Choice(Model):
    """One of the two answers to a request."""

    answer: Answer
    label: str
    """On the button."""
    leads_to: str
    reason_required: bool
    good: bool
    """Whether it is the answer that lets things go on as they were meant to."""


RECORDED = {
    Answer.APPROVE: "Approval recorded",
    Answer.DENY: "Denial recorded",
    Answer.HAPPENED: "Recorded: it happened",
    Answer.DID_NOT_HAPPEN: "Recorded: it did not happen",
}
"""An answer that is on record, as a heading."""

COUNTED = {
    Answer.APPROVE: "Approved. The goal goes on.",
    Answer.DENY: "Denied. None of the actions runs.",
    Answer.HAPPENED: "It happened: the task has succeeded, and the goal goes on.",
    Answer.DID_NOT_HAPPEN: "It did not happen: the task runs again, as a new action.",
}
"""An answer that the goal has taken in, and that settled the request."""

SILENCE = {
    Question.RUN: "silence until then means no",
    Question.OUTCOME: "after that the task stays Unknown, and the goal fails with nothing undone",
}
"""What happens when nobody answers."""


def choices(request: ApprovalRequest, approved_by: Sequence[str]) -> tuple[Choice, Choice]:
    """The two answers to a request.

    Args:
        request: what is asked.
        approved_by: who has said yes, or has said what happened, so far.
    """
    left = needed_approvals(request) - len(approved_by) - 1
    if request.question is Question.OUTCOME:
        return _outcome(left)
    return _run(request, left)


def names(ids: Sequence[str]) -> str:
    """The ids in a sentence: the first twenty, and how many more."""
    shown = ", ".join(ids[:_NAMES])
    return shown if len(ids) <= _NAMES else f"{shown} and {len(ids) - _NAMES} more"


def _run(request: ApprovalRequest, left: int) -> tuple[Choice, Choice]:
    tasks = names([a.task_id for a in request.actions])
    runs = (
        f"The goal goes on and runs exactly these actions ({tasks}), once. If anything about them "
        "has changed by then, they do not run."
    )
    counted = f"Your approval is counted; {left} more of other people must follow."
    return (
        Choice(
            answer=Answer.APPROVE,
            label="Approve",
            leads_to=counted if left > 0 else runs,
            reason_required=request.requirement.reason_required,
            good=True,
        ),
        Choice(
            answer=Answer.DENY,
            label="Deny",
            leads_to="The goal ends here and none of these actions runs. One denial is enough.",
            reason_required=True,
            good=False,
        ),
    )


def _outcome(left: int) -> tuple[Choice, Choice]:
    more = f" {left} more of other people must say the same first." if left > 0 else ""
    return (
        Choice(
            answer=Answer.HAPPENED,
            label="It happened",
            leads_to="The task counts as Succeeded, without outputs, and the goal goes on. It does "
            f"not run again.{more}",
            reason_required=True,
            good=True,
        ),
        Choice(
            answer=Answer.DID_NOT_HAPPEN,
            label="It did not happen",
            leads_to="The task runs again, as a new action: policy judges it anew, and people are "
            f"asked where it says so.{more}",
            reason_required=True,
            good=False,
        ),
    )
