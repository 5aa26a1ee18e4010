"""The storm's goals: one contract for each shape of plan, made from a seeded random generator.

A shape decides what a goal does; which process dies meanwhile is not its affair.
"""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from goalkeeper.domain.contract import Contract

ROLE = "chaos"
LOCK = "chaos"
_RETRY = {"maximum_attempts": 100, "initial_interval": "PT0.2S", "maximum_interval": "PT2S"}
"""Patient: what is killed here is killed more often than in a year of operation."""
_STRIKES = ("witness.write", "witness.strike", "blind.strike")

Task = dict[str, Any]


def _task(task_id: str, uses: str, rng: Random, **more: Any) -> Task:
    pace = {"before": rng.randrange(600), "after": rng.randrange(600)}
    return {"id": task_id, "uses": uses, "with": pace, "retry": _RETRY, **more}


def _contract(shape: str, tasks: list[Task], **more: Any) -> Contract:
    return Contract.model_validate({"name": f"chaos-{shape}", "tasks": tasks, **more})


def _chain(rng: Random) -> Contract:
    """Effects of every kind, one after the other."""
    tasks = []
    for n in range(rng.randint(3, 6)):
        needs = [f"t{n - 1}"] if n else []
        tasks.append(_task(f"t{n}", rng.choice(_STRIKES), rng, needs=needs))
    return _contract("chain", tasks)


def _fan_out(rng: Random) -> Contract:
    """Many at once, and one when all are done."""
    ids = [f"t{n}" for n in range(rng.randint(6, 14))]
    tasks = [_task(i, "witness.write", rng) for i in ids]
    tasks.append(_task("last", "witness.strike", rng, needs=ids))
    return _contract("fan-out", tasks)


def _items(rng: Random) -> Contract:
    """Once for each of a list that an earlier task answers."""
    first = _task("list", "witness.write", rng)
    first["with"]["value"] = list(range(rng.randint(2, 7)))
    each = _task("each", "witness.strike", rng, for_each="${{ tasks.list.value }}", width=3)
    each["with"]["value"] = "${{ each.item }}"
    return _contract("items", [first, each])


def _gate(rng: Random) -> Contract:
    """Waits for people, and has a credential while it works."""
    tasks = [
        _task("look", "witness.hold", rng, credentials={"token": ROLE}),
        _task("act", rng.choice(_STRIKES), rng, needs=["look"]),
        _task("after", "witness.write", rng, needs=["act"]),
    ]
    return _contract("gate", tasks, environment="production")


def _sandbox(rng: Random) -> Contract:
    """A command in a container between two effects."""
    command = ["sh", "-c", f"echo begun; sleep {rng.uniform(0.2, 2):.2f}; echo ended"]
    run = {
        "id": "run",
        "uses": "sandbox.run",
        "needs": ["before"],
        "with": {"command": command},
        "retry": _RETRY,
    }
    before = _task("before", "witness.write", rng)
    return _contract("sandbox", [before, run, _task("end", "witness.strike", rng, needs=["run"])])


def _undone(rng: Random) -> Contract:
    """Fails in the end, and undoes what it did."""
    tasks = [_task("a", "witness.write", rng), _task("b", "witness.strike", rng, needs=["a"])]
    tasks.append(_task("bad", "witness.fail", rng, needs=["b"]))
    return _contract("undone", tasks)


def _locked(rng: Random) -> Contract:
    """One at a time, people asked in between, and something that runs in any case."""
    tasks = [
        _task("plan", "witness.hold", rng, credentials={"token": ROLE}, lock=LOCK),
        _task("act", "witness.strike", rng, needs=["plan"], lock=LOCK),
    ]
    always = [_task("tidy", "witness.write", rng)]
    return _contract("locked", tasks, environment="production", **{"finally": always})


SHAPES: Mapping[str, Callable[[Random], Contract]] = {
    "chain": _chain,
    "fan-out": _fan_out,
    "items": _items,
    "gate": _gate,
    "sandbox": _sandbox,
    "undone": _undone,
    "locked": _locked,
}
