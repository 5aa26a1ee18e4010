"""The benchmark on Docker: one `true` in our sandbox, against `docker run` of the same image.

The engine is talked to through `sandbox` and through Docker's own command.
"""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median

from connectors.git import GitConnector
from goalkeeper.bench.measure import Limit, Progress, Row, interleaved, judged, report
from goalkeeper.bench.stand import Stand, finish, new_id
from goalkeeper.contracts.connector import OperationCall
from goalkeeper.domain.contract import Contract
from goalkeeper.domain.errors import EngineUnavailable, InvalidGoal, OperationFailed
from goalkeeper.settings import Settings
from sandbox.engine import Engine
from sandbox.model import SandboxInputs
from sandbox.runner import RUN, SandboxConnector

_RUNS_A_ROUND = 3


async def sandbox(stand: Stand, rounds: int, progress: Progress) -> Row:
    """Seconds for one `sandbox.run` of `true`, until its container is gone again."""
    program = shutil.which("docker")
    if program is None:
        return {"skipped": "the program 'docker' is not on the path: nothing to compare with"}
    async with _connector(stand.settings) as connector:
        try:
            image = str(await connector.pin("image", ""))
        except (EngineUnavailable, InvalidGoal) as error:
            return {"skipped": error.message}
        return await _compared(stand, connector, program, image, rounds, progress)


async def _compared(
    stand: Stand,
    connector: SandboxConnector,
    program: str,
    image: str,
    rounds: int,
    progress: Progress,
) -> Row:
    goals: list[float] = []

    async def ours() -> float:
        began = time.perf_counter()
        await _run(connector, image)
        took = time.perf_counter() - began
        goals.append(await _goal(stand))
        return took

    async def bare() -> float:
        began = time.perf_counter()
        await _docker_run(stand.settings.docker_host, program, image)
        return time.perf_counter() - began

    pairs = await interleaved("sandbox", ours, bare, rounds * _RUNS_A_ROUND, progress)
    row = report(pairs, unit="seconds")
    row["through_goal"] = round(median(goals[1:]), 3)
    return judged(row, Limit("ratio", 1.3))


async def _run(connector: SandboxConnector, image: str) -> None:
    """What the activity does, and the removal that ends a goal: `docker run --rm` removes too."""
    goal_id = new_id("sandbox")
    call = OperationCall(
        goal_id=goal_id,
        task_id="run",
        generation=0,
        attempt=1,
        operation=RUN.name,
        inputs=SandboxInputs(command=("true",), image=image),
        environment="development",
    )
    try:
        await connector.execute(call, {})
    finally:
        await connector.release(goal_id)


async def _goal(stand: Stand) -> float:
    """The same through a whole goal: planning, policy, record, clean-up."""
    task = {"id": "run", "uses": RUN.name, "with": {"command": ["true"]}}
    contract = Contract.model_validate({"name": "bench", "tasks": [task]})
    goal_id = new_id("goal")
    goal = await stand.goal_input(contract, goal_id)
    began = time.perf_counter()
    await finish(await stand.submit(goal, goal_id))
    return time.perf_counter() - began


async def _docker_run(host: str, program: str, image: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(program, "--host", host, "run", "--rm", "--network", "none", image, "true"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise OperationFailed(
            f"`docker run` ended with code {process.returncode}, so there is nothing to compare "
            f"with: {said.decode(errors='replace').strip()[:300]}"
        )


@asynccontextmanager
async def _connector(settings: Settings) -> AsyncIterator[SandboxConnector]:
    engine = Engine(settings.docker_host)
    try:
        yield SandboxConnector(settings, GitConnector(settings).export, engine)
    finally:
        engine.close()
