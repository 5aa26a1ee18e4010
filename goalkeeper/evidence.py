"""Evidence: artifacts in a folder under their SHA-256, and the live output of running tasks.

It stores what it is given and checks it when it is read; it does not redact, and it never deletes.
"""

import asyncio
import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from goalkeeper.domain.base import GoalId, TaskRef
from goalkeeper.domain.errors import AuditBroken, InvalidGoal, NotFound
from goalkeeper.domain.evidence import Evidence
from goalkeeper.output import (
    OUTPUT_LIMIT,
    OutputLine,
    OutputStream,
    Tail,
    make_private,
    unavailable,
)

__all__ = ["EvidenceStore", "OutputLine", "OutputStream"]

_POLL_SECONDS = 0.1
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_GOAL = TypeAdapter(GoalId)
_TASK = TypeAdapter(TaskRef)


class EvidenceStore:
    """The store in one folder; several processes may use it.

    Args:
        folder: created at the first write.
        output_limit: bytes that are kept of one attempt's output.
    """

    def __init__(self, folder: Path, *, output_limit: int = OUTPUT_LIMIT) -> None:
        self._folder = folder
        self._output_limit = output_limit

    async def put(
        self, content: bytes, *, name: str, media_type: str = "text/plain; charset=utf-8"
    ) -> Evidence:
        """Store an artifact, on disk when this returns; the same content is stored once.

        Raises:
            StoreUnavailable: it could not be written, for example because the disk is full.
        """
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        try:
            await asyncio.to_thread(_write_atomically, self._path(digest), content)
        except OSError as error:
            raise unavailable(self._folder, error) from None
        return Evidence(digest=digest, size=len(content), media_type=media_type, name=name)

    async def get(self, digest: str) -> bytes:
        """The artifact with this digest.

        Raises:
            NotFound: there is none.
            AuditBroken: what is stored there is something else.
            StoreUnavailable: it cannot be read.
        """
        if not _DIGEST.fullmatch(digest):
            raise NotFound(f"'{digest[:100]}' is not a digest: it reads sha256: and 64 hex digits")
        path = self._path(digest)
        try:
            content = await asyncio.to_thread(path.read_bytes)
        except FileNotFoundError:
            raise NotFound(f"there is no evidence '{digest}' in '{self._folder}'") from None
        except OSError as error:
            raise unavailable(path, error) from None
        if "sha256:" + hashlib.sha256(content).hexdigest() != digest:
            raise AuditBroken(f"the evidence in '{path}' is not what was stored: it was changed")
        return content

    def stream(self, goal_id: str, task_id: str, generation: int) -> OutputStream:
        """Open the live output of a task.

        Raises:
            InvalidGoal: an id is not one.
            StoreUnavailable: the file cannot be opened.
        """
        file = self._live(goal_id) / f"{_checked(_TASK, task_id)}.{generation:d}.log"
        return OutputStream(file, limit=self._output_limit, keep=self.put)

    async def left(self, goal_id: str, task_id: str, generation: int) -> Evidence | None:
        """What an attempt that was lost had printed, stored as evidence; None: nothing.

        Raises:
            InvalidGoal: an id is not one.
            StoreUnavailable: it cannot be read or stored.
        """
        file = self._live(goal_id) / f"{_checked(_TASK, task_id)}.{generation:d}.log"
        try:
            content = await asyncio.to_thread(file.read_bytes)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unavailable(file, error) from None
        return await self.put(content, name="output.log")

    def read(self, goal_id: str, task_id: str | None = None) -> Iterator[OutputLine]:
        """The output that there is, task after task.

        Raises:
            InvalidGoal: an id is not one.
        """
        for tail in self._tails(goal_id, task_id, {}):
            with contextlib.closing(tail):
                yield from tail.lines()
                yield from tail.rest()

    async def follow(
        self, goal_id: str, task_id: str | None = None, *, stop: Callable[[], bool]
    ) -> AsyncIterator[OutputLine]:
        """The output that there is and what comes, until `stop` says so; tasks as they appear.

        Raises:
            InvalidGoal: an id is not one.
        """
        tails: dict[Path, Tail] = {}
        try:
            while True:
                # Asked before reading: what was written before the end is still delivered.
                ended = stop()
                for tail in self._tails(goal_id, task_id, tails):
                    for line in tail.lines():
                        yield line
                if ended:
                    break
                await asyncio.sleep(_POLL_SECONDS)
            for tail in tails.values():
                for line in tail.rest():
                    yield line
        finally:
            for tail in tails.values():
                tail.close()

    def _tails(self, goal_id: str, task_id: str | None, known: dict[Path, Tail]) -> Iterator[Tail]:
        """The readers of a goal's live files, those in `known` again, new ones added to it."""
        wanted = None if task_id is None else _checked(_TASK, task_id)
        folder = self._live(goal_id)
        if not folder.is_dir():
            return
        for file in sorted(folder.glob("*.log"), key=lambda f: (f.stat().st_mtime_ns, f.name)):
            task = file.name.rsplit(".", 2)[0]
            # An item's task is named TASK.INDEX, and belongs to TASK.
            if wanted in (None, task, task.partition(".")[0]):
                if file not in known:
                    known[file] = Tail(file, task)
                yield known[file]

    def _live(self, goal_id: str) -> Path:
        return self._folder / "live" / _checked(_GOAL, goal_id)

    def _path(self, digest: str) -> Path:
        digits = digest.removeprefix("sha256:")
        return self._folder / "sha256" / digits[:2] / digits


def _write_atomically(path: Path, content: bytes) -> None:
    """Whole or not at all, and on disk: a reference to it goes into history next."""
    if path.exists():
        return
    make_private(path.parent)
    # mkstemp makes it mode 0600.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise


def _checked(adapter: TypeAdapter[str], identifier: str) -> str:
    """Ids become file names: nothing but an id may."""
    try:
        return adapter.validate_python(identifier)
    except ValidationError:
        raise InvalidGoal(f"'{identifier[:100]}' is not the id of a goal or task") from None
