"""What users import: `Client`, to submit goals and follow them.

It loads nothing until asked: workflows import `goalkeeper.domain` inside Temporal's sandbox, and
the CLI starts through here.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from goalkeeper.client import Client, Goal, GoalEvent

__version__ = "0.1.0"

_EXPORTS = ("Client", "Goal", "GoalEvent")
__all__ = ["Client", "Goal", "GoalEvent", "__version__"]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        from goalkeeper import client

        return getattr(client, name)
    raise AttributeError(f"module 'goalkeeper' has no attribute '{name}'")
