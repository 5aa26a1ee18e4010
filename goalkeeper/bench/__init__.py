"""`goalkeeper bench`: what governance costs, against bare Temporal and bare Docker.

It measures and reports; it never judges a run as failed, since a machine may be busy.
"""

from goalkeeper.bench.suite import BENCHMARKS, LONG, ROUNDS, USUAL, run

__all__ = ["BENCHMARKS", "LONG", "ROUNDS", "USUAL", "run"]
