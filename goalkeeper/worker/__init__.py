"""Workers: the processes that serve Temporal's task queues.

A composition root: it wires what activities work with, and decides nothing.
"""

from goalkeeper.worker.pools import ALL_POOLS, running_workers, served
from goalkeeper.worker.start import main

__all__ = ["ALL_POOLS", "main", "running_workers", "served"]
