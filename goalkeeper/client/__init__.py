"""The Python client: submit goals, follow them, decide on what they ask.

It speaks to Temporal and to the gateway; it never signs, leases or executes anything itself.
"""

from goalkeeper.client.client import Client, GoalSummary
from goalkeeper.client.events import ENDED, EventKind, GoalEvent
from goalkeeper.client.gateway import Decided, Gateway
from goalkeeper.client.goal import Goal
from goalkeeper.client.troubles import Trouble

__all__ = [
    "ENDED",
    "Client",
    "Decided",
    "EventKind",
    "Gateway",
    "Goal",
    "GoalEvent",
    "GoalSummary",
    "Trouble",
]
