"""The order of a plan's tasks: topological order, circles, and who comes before whom.

It knows tasks only as numbers, their positions in the contract.
"""

import heapq
from collections.abc import Sequence


def topological_order(needs: Sequence[Sequence[int]]) -> list[int]:
    """Needs first, ties by position (Kahn's algorithm); what a circle holds up is left out."""
    waiting = [len(n) for n in needs]
    followers: list[list[int]] = [[] for _ in needs]
    for node, before in enumerate(needs):
        for other in before:
            followers[other].append(node)
    ready = [node for node, count in enumerate(waiting) if count == 0]
    order = []
    while ready:
        node = heapq.heappop(ready)
        order.append(node)
        for follower in followers[node]:
            waiting[follower] -= 1
            if waiting[follower] == 0:
                heapq.heappush(ready, follower)
    return order


def find_circle(needs: Sequence[Sequence[int]], order: Sequence[int]) -> list[int]:
    """One circle among the nodes that `order` leaves out: each needs the next, the last the first.

    Whatever is left out needs something else that is left out, so following needs must return.
    """
    left = set(range(len(needs))) - set(order)
    seen: dict[int, int] = {}
    node = min(left)
    while node not in seen:
        seen[node] = len(seen)
        node = next(n for n in needs[node] if n in left)
    path = list(seen)
    return path[seen[node] :]


def ancestors(needs: Sequence[Sequence[int]], order: Sequence[int]) -> list[int]:
    """For each node, everything that runs before it, as a bit set (bit n: node n)."""
    found = [0] * len(needs)
    for node in order:
        for other in needs[node]:
            found[node] |= found[other] | (1 << other)
    return found
