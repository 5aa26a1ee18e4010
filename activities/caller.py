"""Who calls: the workflow that an activity runs for, as Temporal itself has it.

It believes nothing that the workflow says about itself.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TypeVar

from temporalio import activity

from goalkeeper.domain.errors import GrantMismatch, NotFound
from goalkeeper.histories import Family, family, input_of
from goalkeeper.temporal import first_run

T = TypeVar("T")

_REMEMBERED = 512


class Callers:
    """Asks Temporal once for each run, since none of the answers changes."""

    def __init__(self) -> None:
        self._first_runs: OrderedDict[str, str] = OrderedDict()
        self._families: OrderedDict[str, Family] = OrderedDict()
        self._siblings: OrderedDict[str, bool] = OrderedDict()
        self._undone: OrderedDict[str, str | None] = OrderedDict()

    async def check(self, goal_id: str, run: str) -> None:
        """What a workflow asks for is of the goal that it is, in the chain of runs that it is in.

        Raises:
            GrantMismatch: another workflow asks, which could reuse what this goal was granted.
        """
        check_goal(goal_id)
        if run != this_run() and run != await self._first_run(this_run()):
            raise GrantMismatch(f"it is said to belong to another run of goal '{goal_id}'")

    async def family(self) -> Family:
        """Whose child this workflow is."""
        return await _once(self._families, this_run(), lambda: family(this_goal(), this_run()))

    async def rolls_back(self) -> str | None:
        """Which goal this workflow was started to roll back."""

        async def asked() -> str | None:
            return (await input_of(this_goal(), this_run())).rollback

        return await _once(self._undone, this_run(), asked)

    async def is_sibling(self, goal_id: str) -> bool:
        """Whether the same goal, in the same chain of runs, started this workflow and another."""

        async def asked() -> bool:
            ours = await self.family()
            try:
                theirs = await family(goal_id)
            except NotFound:
                return False
            if ours.parent is None or ours.parent != theirs.parent:
                return False
            one, other = ours.parent_run or "", theirs.parent_run or ""
            return await first_run(ours.parent, one) == await first_run(ours.parent, other)

        return await _once(self._siblings, this_run(), asked)

    async def _first_run(self, run: str) -> str:
        return await _once(self._first_runs, run, lambda: first_run(this_goal(), run))


def check_goal(goal_id: str) -> None:
    """An activity acts for the goal whose workflow asks.

    Raises:
        GrantMismatch: another workflow asks.
    """
    if this_goal() != goal_id:
        raise GrantMismatch(f"it belongs to goal '{goal_id}', not to this workflow")


def this_run() -> str:
    """The run id of the workflow that this activity runs for."""
    return activity.info().workflow_run_id or "no-run"


def this_goal() -> str:
    """The id of the goal whose workflow asks."""
    return activity.info().workflow_id or ""


async def _once(known: "OrderedDict[str, T]", run: str, ask: Callable[[], Awaitable[T]]) -> T:
    if run in known:
        return known[run]
    answer = known[run] = await ask()
    if len(known) > _REMEMBERED:
        known.popitem(last=False)
    return answer
