"""Policy: Cedar files in, verdicts out; and what people need to trust such a file.

It judges; it never looks anything up: who is in which group and what the inputs are is handed in.
"""

from goalkeeper.policy.combining import combine, strictest
from goalkeeper.policy.engine import PolicyEngine, Question

__all__ = ["PolicyEngine", "Question", "combine", "strictest"]
