"""The benchmark of a goal's size: what one task costs in small goals and in very large ones.

It looks at Goalkeeper alone: bare Temporal has no goal of that size in one piece.
"""

from collections.abc import Sequence
from statistics import median

from goalkeeper.bench.measure import Limit, Progress, Row, judged, rounded
from goalkeeper.bench.stand import Stand
from goalkeeper.bench.work import contract_of, goal_seconds

SIZES = (100, 1_000, 10_000)
_TASKS_A_SIZE = 10_000
"""Small goals are repeated, so that each size has as many tasks behind its number."""
_REPEATED = 10


async def size(stand: Stand, sizes: Sequence[int], progress: Progress) -> Row:
    """Milliseconds a task, at each size of the goal; the largest of them over the smallest."""
    await goal_seconds(stand, contract_of(sizes[0], chained=False))
    cost: dict[str, float] = {}
    for tasks in sizes:
        contract = contract_of(tasks, chained=False)
        rounds = min(_REPEATED, max(1, _TASKS_A_SIZE // tasks))
        took = [await goal_seconds(stand, contract) * 1000 / tasks for _ in range(rounds)]
        cost[str(tasks)] = rounded(median(took))
        progress(f"size: {tasks} tasks a goal: {cost[str(tasks)]} ms a task")
    row: Row = {
        "ours": cost[str(sizes[-1])],
        "ratio": rounded(max(cost.values()) / min(cost.values())),
        "unit": f"ms a task at {sizes[-1]:,}; most over least",
        "sizes": dict(cost),
    }
    return judged(row, Limit("ratio", 1.3))
