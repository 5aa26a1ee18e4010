"""The removal of sandboxed containers: a goal's when it ends, any when they are overdue.

It goes by labels alone, so it needs no memory of what was started.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from goalkeeper.domain.errors import Conflict, NotFound
from sandbox.engine import Engine, labels_filter
from sandbox.spec import LABEL_DEADLINE, LABEL_GOAL, LABEL_INSTALLATION, LABEL_KIND

log = structlog.get_logger(__name__)

KEPT = timedelta(minutes=15)
"""How long after its deadline a container waits to be collected by a retry."""
OVERDUE = timedelta(seconds=30)
"""How long after its deadline a command may still be running."""


async def release(engine: Engine, installation: str, goal_id: str) -> int:
    """Remove every container of a goal, running or not."""
    found = await _list(engine, {LABEL_INSTALLATION: installation, LABEL_GOAL: goal_id})
    await asyncio.gather(*(engine.remove(str(c["Id"])) for c in found))
    return len(found)


async def reap(engine: Engine, installation: str, now: datetime | None = None) -> int:
    """Kill what runs beyond its deadline; remove what ended and was never asked for again."""
    moment = (now or datetime.now(UTC)).timestamp()
    touched = 0
    for container in await _list(engine, {LABEL_INSTALLATION: installation}):
        late = timedelta(seconds=moment - float(container["Labels"][LABEL_DEADLINE]))
        if container["State"] in ("running", "paused"):
            if late > OVERDUE:
                touched += 1
                await _kill(engine, container)
        elif late > KEPT:
            touched += 1
            await engine.remove(str(container["Id"]))
    return touched


async def _kill(engine: Engine, container: dict[str, Any]) -> None:
    log.warning("sandbox.overdue", container=container["Names"][0].lstrip("/"))
    try:
        await engine.call(lambda api: api.kill(container["Id"]))
    except (Conflict, NotFound):
        return  # it has ended meanwhile


async def _list(engine: Engine, labels: dict[str, str]) -> list[dict[str, Any]]:
    wanted = labels_filter({LABEL_KIND: "sandbox", **labels})
    found: list[dict[str, Any]] = await engine.call(
        lambda api: api.containers(all=True, filters=wanted)
    )
    return found
