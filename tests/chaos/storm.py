"""The storm: goals of every shape on a real stack whose processes are killed all the while.

``python -m tests.chaos.storm --kills 200 --seed 7``. It judges by `verdict` alone; when something
is wrong it prints the seed, the time line and the goals in question, and keeps the folder.
"""

import argparse
import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random, SystemRandom

from pydantic import SecretStr

from goalkeeper import embedded
from goalkeeper.audit import AuditLog
from goalkeeper.client import Client, Goal
from goalkeeper.domain.contract import Contract
from goalkeeper.domain.errors import TransientError
from goalkeeper.domain.goal import GoalResult
from goalkeeper.embedded.files import make_folder
from goalkeeper.embedded.own import environment
from goalkeeper.embedded.ports import HOST, Ports
from goalkeeper.embedded.process import Process
from goalkeeper.embedded.state import StackFile, read_status
from goalkeeper.settings import Settings, load_settings
from tests.chaos.contracts import POLICY
from tests.chaos.dockerd import Dockerd
from tests.chaos.killer import VICTIMS, TimeLine, kill_all, planned
from tests.chaos.robot import Approver, submit
from tests.chaos.shapes import ROLE, SHAPES
from tests.chaos.verdict import complaints
from tests.chaos.witness import Book
from tests.chaos.witnessed import BOOK, installed

_AT_A_TIME = 6
_READY = 120.0
_PATIENCE = timedelta(minutes=6)
"""For the goals that are under way when the last kill is done."""


@dataclass
class Storm:
    """One run: its seed, its folder, and what came of it."""

    seed: int
    kills: int
    folder: Path
    shapes: Sequence[str] = tuple(SHAPES)
    goals: dict[str, GoalResult] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    _running: int = 0
    _busy: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while a goal is under way."""
    line: TimeLine = field(init=False)
    book: Book = field(init=False)

    def __post_init__(self) -> None:
        self.line = TimeLine(self.folder / "timeline.txt")
        self.book = Book(self.folder / "book.jsonl")

    async def run(self) -> None:
        """Carry it out; what is wrong afterwards stands in `complaints`."""
        with installed(self.book.file):
            await self._on_a_stack()

    async def _on_a_stack(self) -> None:
        async with _engine(self.folder / "docker", self.shapes, self.line) as engine:
            settings = _settings(self.folder / "state", engine)
            async with _stack(settings, self.book):
                await self._storm(settings, engine)
                self.complaints += await complaints(
                    settings, self.goals, self.book, engine=engine is not None
                )
                self.line.note("judged")
                self._explain(settings)

    async def _storm(self, settings: Settings, engine: Dockerd | None) -> None:
        find: dict[str, Callable[[], int | None]] = {
            name: lambda name=name: _pid(settings, name)  # type: ignore[misc]
            for name in VICTIMS
            if name != "engine"
        }
        if engine is not None:
            find["engine"] = lambda: engine.process.pid
        plan = planned(self.seed, self.kills, {n: w for n, w in VICTIMS.items() if n in find})
        people = asyncio.create_task(Approver(settings, self.book, self.line).run())
        killer = asyncio.create_task(kill_all(plan, find, self._busy.wait, self.line))
        try:
            await self._load(settings, killer)
            await killer
        finally:
            killer.cancel()
            people.cancel()
        self.line.note("every goal has ended")

    async def _load(self, settings: Settings, killer: "asyncio.Task[None]") -> None:
        """Keep some goals going until the last kill, then see each to its end."""
        rng = Random(f"goals {self.seed}")  # noqa: S311 - not a secret
        free = asyncio.Semaphore(_AT_A_TIME)
        under_way: list[asyncio.Task[None]] = []
        while not killer.done():
            shape = self.shapes[len(under_way) % len(self.shapes)]
            goal_id = f"chaos-{self.seed}-{len(under_way):03d}-{shape}"
            contract = SHAPES[shape](rng)
            await free.acquire()

            async def through(goal_id: str = goal_id, contract: Contract = contract) -> None:
                try:
                    goal = await submit(settings, contract, goal_id)
                    await self._seen_through(settings, goal)
                finally:
                    free.release()

            under_way.append(asyncio.create_task(through()))
        _, late = await asyncio.wait(under_way, timeout=_PATIENCE.total_seconds())
        for task in late:
            task.cancel()
        for ended in await asyncio.gather(*under_way, return_exceptions=True):
            if isinstance(ended, Exception):
                self.complaints.append(f"a goal broke: {type(ended).__name__}: {ended}")
        if late:
            self.complaints.append(f"{len(late)} goals did not end within {_PATIENCE}")

    async def _seen_through(self, settings: Settings, goal: Goal) -> None:
        self.line.note(f"submitted {goal.id}")
        self._count(1)
        try:
            self.goals[goal.id] = await _ended(settings, goal)
        finally:
            self._count(-1)
        self.line.note(f"{goal.id} ended {self.goals[goal.id].state}")

    def _count(self, more: int) -> None:
        self._running += more
        if self._running:
            self._busy.set()
        else:
            self._busy.clear()

    def _explain(self, settings: Settings) -> None:
        """What the record says of every goal that a complaint names."""
        audit = AuditLog.open(settings.audit_file, readonly=True)
        named = {
            w.rstrip(":") for c in self.complaints for w in c.split() if w.startswith("chaos-")
        }
        for goal_id in sorted(named):
            result = self.goals.get(goal_id)
            story: dict[str, object] = {
                "result": result.model_dump(mode="json") if result else None,
                "record": [e.event.model_dump(mode="json") for e in audit.entries(goal_id=goal_id)],
                "book": [vars(n) for n in self.book.lines() if n.goal_id == goal_id],
            }
            (self.folder / f"{goal_id}.json").write_text(json.dumps(story, indent=1))

    def report(self) -> str:
        """What is worth telling."""
        states = Counter(result.state.value for result in self.goals.values())
        head = (
            f"seed {self.seed}, {self.kills} kills, {len(self.goals)} goals "
            f"({', '.join(f'{n} {s}' for s, n in sorted(states.items()))}), "
            f"{len(self.book.lines())} side effects"
        )
        if not self.complaints:
            return head
        return "\n".join(
            [
                head,
                *self.line.lines,
                *self.complaints,
                f"the folder is kept: {self.folder}",
                f"again: make chaos KILLS={self.kills} SEED={self.seed}",
            ]
        )


@asynccontextmanager
async def _engine(
    folder: Path, shapes: Sequence[str], line: TimeLine
) -> AsyncIterator[Dockerd | None]:
    """An engine to kill; none where nobody may start one, or nothing needs it."""
    if not Dockerd.possible() or "sandbox" not in shapes:
        yield None
        return
    make_folder(folder)
    engine = Dockerd(folder)
    try:
        await engine.start()
        usual = Settings()
        await engine.load(usual.sandbox_image, usual.docker_host)
        keeping = asyncio.create_task(engine.keep(line))
        try:
            yield engine
        finally:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping
    finally:
        await engine.stop()


def _settings(state: Path, engine: Dockerd | None) -> Settings:
    state.mkdir()
    policy = state / "policy.cedar"
    policy.write_text(POLICY)
    ports = Ports.free()
    return load_settings(
        state,
        environ={},
        policy=policy,
        docker_host=engine.host if engine else Settings().docker_host,
        temporal_address=f"{HOST}:{ports.temporal}",
        temporal_ui_url=f"http://{HOST}:{ports.temporal_ui}",
        vault_address=f"http://{HOST}:{ports.vault}",
        gateway_url=f"http://{HOST}:{ports.gateway}",
        worker_metrics_port=ports.worker,
    )


@asynccontextmanager
async def _stack(settings: Settings, book: Book) -> AsyncIterator[None]:
    """The stack under its supervisor, ready."""
    process = Process(
        "supervisor",
        settings.state / "supervisor.log",
        grace=60,
        environ={**environment(settings), BOOK: str(book.file)},
    )
    await process.spawn(
        (sys.executable, "-m", "tests.chaos.supervised", "--state", str(settings.state))
    )
    try:
        async with asyncio.timeout(_READY):
            while not read_status(settings.state).ready:
                assert process.pid is not None, process.tail(20)
                await asyncio.sleep(0.2)
        await embedded.put_credential(settings, ROLE, {"token": SecretStr("canary-chaos")})
        yield
    finally:
        await process.stop()


def _pid(settings: Settings, name: str) -> int | None:
    record = StackFile.read(settings.state)
    services = record.services if record else ()
    return next((s.pid for s in services if s.name == name), None)


async def _ended(settings: Settings, goal: Goal) -> GoalResult:
    while True:
        try:
            async with Client.connect(settings) as client:
                found = await client.goal(goal.id).result(timeout=20)
                if found is not None:
                    return found
        except TransientError:
            await asyncio.sleep(0.5)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a storm; 1 when something is wrong."""
    parser = argparse.ArgumentParser(prog="tests.chaos.storm", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None, help="random when it is not given")
    parser.add_argument("--shapes", nargs="*", choices=tuple(SHAPES), default=tuple(SHAPES))
    parser.add_argument("--keep", action="store_true", help="keep the folder in any case")
    chosen = parser.parse_args(arguments)
    seed = SystemRandom().randrange(10**6) if chosen.seed is None else chosen.seed
    print(f"seed {seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix=f"goalkeeper-chaos-{seed}-"))
    storm = Storm(seed, chosen.kills, folder, chosen.shapes)
    try:
        asyncio.run(storm.run())
    except BaseException:
        print(storm.report(), f"the folder is kept: {folder}", sep="\n", flush=True)
        raise
    print(storm.report())
    if storm.complaints:
        return 1
    if chosen.keep:
        print(f"the folder is kept: {folder}")
    else:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
