"""Artifacts under their digest, and output that others follow while it is made."""

import asyncio
import hashlib
import os
import resource
import stat
import threading
from pathlib import Path

import pytest

from goalkeeper.domain.errors import AuditBroken, InvalidGoal, NotFound, StoreUnavailable
from goalkeeper.evidence import EvidenceStore, OutputLine
from goalkeeper.output import RESTARTED


@pytest.fixture
def store(tmp_path: Path) -> EvidenceStore:
    """A store that keeps 1,000 bytes of an attempt's output."""
    return EvidenceStore(tmp_path / "evidence", output_limit=1000)


def live(tmp_path: Path, name: str = "build.0.log") -> str:
    """What is in a live file of goal `goal`."""
    return (tmp_path / "evidence" / "live" / "goal" / name).read_text()


async def test_an_artifact_comes_back_under_its_digest(store: EvidenceStore) -> None:
    """The reference says what it is and how large."""
    content = "plän".encode()
    evidence = await store.put(content, name="preview.json", media_type="application/json")
    assert evidence.digest == "sha256:" + hashlib.sha256(content).hexdigest()
    assert (evidence.size, evidence.name, evidence.media_type) == (
        5,
        "preview.json",
        "application/json",
    )
    assert await store.get(evidence.digest) == content


async def test_an_artifact_is_one_file_for_the_owner_alone(
    store: EvidenceStore, tmp_path: Path
) -> None:
    """Stored twice, by many at once, it is there once, and nothing temporary stays."""
    await asyncio.gather(*[store.put(b"same", name=f"{n}.log") for n in range(20)])
    files = [f for f in (tmp_path / "evidence").rglob("*") if f.is_file()]
    assert len(files) == 1
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600
    assert stat.S_IMODE(files[0].parent.stat().st_mode) == 0o700


async def test_a_changed_artifact_is_not_returned(store: EvidenceStore, tmp_path: Path) -> None:
    """The digest is checked at every read."""
    evidence = await store.put(b"the truth", name="x")
    (file,) = [f for f in (tmp_path / "evidence").rglob("*") if f.is_file()]
    file.write_bytes(b"the lie")
    with pytest.raises(AuditBroken, match="it was changed"):
        await store.get(evidence.digest)


@pytest.mark.parametrize(
    "digest", ["sha256:" + "0" * 64, "sha256:../../etc/passwd", "", "md5:00", "sha256:" + "A" * 64]
)
async def test_what_is_not_there_is_said_not_to_be(store: EvidenceStore, digest: str) -> None:
    """Neither an unknown digest nor something that is none."""
    with pytest.raises(NotFound):
        await store.get(digest)


async def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """A file where the folder should be."""
    (tmp_path / "evidence").write_text("in the way")
    store = EvidenceStore(tmp_path / "evidence")
    with pytest.raises(StoreUnavailable, match="could not be written or read"):
        await store.put(b"x", name="x")
    with pytest.raises(StoreUnavailable):
        store.stream("goal", "build", 0)


@pytest.mark.parametrize("goal", ["../x", "a/b", "", ".", "..", "/etc", "a\x00b", "a\n"])
def test_a_goal_id_cannot_leave_the_folder(store: EvidenceStore, goal: str) -> None:
    """Ids become file names, so nothing but an id is one."""
    with pytest.raises(InvalidGoal):
        store.stream(goal, "build", 0)
    with pytest.raises(InvalidGoal):
        list(store.read(goal))


@pytest.mark.parametrize("task", ["../x", "a.b", "Build", "", "a/b"])
def test_a_task_id_cannot_leave_the_folder(store: EvidenceStore, task: str) -> None:
    """The same for tasks."""
    with pytest.raises(InvalidGoal):
        store.stream("goal", task, 0)
    with pytest.raises(InvalidGoal):
        list(store.read("goal", task))


async def test_output_is_seen_at_once_and_becomes_evidence(
    store: EvidenceStore, tmp_path: Path
) -> None:
    """What was written is readable before the stream ends, parts of lines too."""
    stream = store.stream("goal", "build", 0)
    stream.write("one\ntw")
    assert live(tmp_path) == "one\ntw"
    assert [x.text for x in store.read("goal")] == ["one", "tw"]
    stream.write("o\n")
    evidence = await stream.close()
    assert await store.get(evidence.digest) == b"one\ntwo\n"
    assert evidence.name == "output.log"
    assert list(store.read("goal", "build")) == [
        OutputLine("build", "one"),
        OutputLine("build", "two"),
    ]
    assert list(store.read("goal", "test")) == []
    assert list(store.read("other")) == []


async def test_threads_may_write_at_once(tmp_path: Path) -> None:
    """No line is lost or cut in two."""
    store = EvidenceStore(tmp_path / "evidence")
    stream = store.stream("goal", "build", 0)

    def work(name: int) -> None:
        for number in range(200):
            stream.write(f"{name}:{number}\n")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    await stream.close()
    lines = [x.text for x in store.read("goal")]
    assert sorted(lines) == sorted(f"{n}:{m}" for n in range(4) for m in range(200))


async def test_output_is_bounded_and_what_is_dropped_is_counted(
    store: EvidenceStore, tmp_path: Path
) -> None:
    """One note says that it was cut, between two characters."""
    stream = store.stream("goal", "build", 0)
    stream.write("x" * 999)
    stream.write("ü and more")
    for _ in range(10):
        stream.write("more\n")
    evidence = await stream.close()
    note = "\n--- output is limited to 1000 bytes: the rest is not kept ---\n"
    assert live(tmp_path) == "x" * 999 + note
    assert stream.dropped == len("ü and more".encode()) + 50
    assert evidence.size == 999 + len(note)


async def test_an_attempt_that_repeats_its_predecessor_adds_nothing_twice(
    store: EvidenceStore, tmp_path: Path
) -> None:
    """An adopted container's output is read from the start; it continues where it was cut."""
    first = store.stream("goal", "build", 0)
    first.write("compiling\nlin")
    await first.close()
    second = store.stream("goal", "build", 0)
    second.write("comp")
    assert live(tmp_path) == "compiling\nlin"
    second.write("iling\n")
    second.write("linking\ndone\n")
    await second.close()
    assert live(tmp_path) == "compiling\nlinking\ndone\n"


async def test_an_attempt_that_says_something_else_is_told_apart(
    store: EvidenceStore, tmp_path: Path
) -> None:
    """Both outputs are kept whole, with a line between them; a third is compared to the second."""
    first = store.stream("goal", "build", 0)
    first.write("compiling\n1 s\nfail")
    await first.close()
    second = store.stream("goal", "build", 0)
    second.write("compiling\n")
    second.write("2 s\n")
    second.write("ok\n")
    await second.close()
    expected = "compiling\n1 s\nfail\n" + RESTARTED + "compiling\n2 s\nok\n"
    assert live(tmp_path) == expected
    third = store.stream("goal", "build", 0)
    third.write("compiling\n2 s\nok\n")
    third.write("bye\n")
    await third.close()
    assert live(tmp_path) == expected + "bye\n"


async def test_a_retry_by_a_person_has_an_output_of_its_own(
    store: EvidenceStore, tmp_path: Path
) -> None:
    """Another generation, another file, and both are read."""
    for generation, text in enumerate(("first\n", "second\n")):
        stream = store.stream("goal", "build", generation)
        stream.write(text)
        await stream.close()
    assert live(tmp_path, "build.1.log") == "second\n"
    assert [x.text for x in store.read("goal", "build")] == ["first", "second"]


async def test_a_follower_sees_lines_as_they_come_and_tasks_as_they_appear(
    store: EvidenceStore,
) -> None:
    """It starts before there is anything, and ends with the unfinished last line."""
    ended = False
    seen: asyncio.Queue[OutputLine] = asyncio.Queue()

    async def follow() -> None:
        async for line in store.follow("goal", stop=lambda: ended):
            seen.put_nowait(line)

    async with asyncio.timeout(30):
        task = asyncio.create_task(follow())
        await asyncio.sleep(0)
        build = store.stream("goal", "build", 0)
        build.write("a\nb")
        assert await seen.get() == OutputLine("build", "a")
        test = store.stream("goal", "test", 0)
        test.write("t\n")
        assert await seen.get() == OutputLine("test", "t")
        build.write("c\n")
        assert await seen.get() == OutputLine("build", "bc")
        test.write("the end")
        ended = True
        await task
    assert seen.get_nowait() == OutputLine("test", "the end")
    assert seen.empty()
    await build.close()
    await test.close()


async def test_a_follower_of_one_task_sees_no_other(store: EvidenceStore) -> None:
    """And what was written before the end is delivered though it ends at once."""
    for task in ("build", "test"):
        stream = store.stream("goal", task, 0)
        stream.write(f"{task}\n")
        await stream.close()
    lines = [x async for x in store.follow("goal", "test", stop=lambda: True)]
    assert lines == [OutputLine("test", "test")]


async def test_bytes_that_are_no_text_do_not_stop_the_output(store: EvidenceStore) -> None:
    """Lone surrogates, as a decoder may leave them."""
    stream = store.stream("goal", "build", 0)
    stream.write("bad \ud800 good\n")
    await stream.close()
    assert [x.text for x in store.read("goal")] == ["bad ? good"]


async def test_writing_after_the_end_is_counted_and_harmless(store: EvidenceStore) -> None:
    """A container's reader thread may be late."""
    stream = store.stream("goal", "build", 0)
    await stream.close()
    stream.write("late\n")
    assert stream.dropped == 5
    assert list(store.read("goal")) == []


async def test_output_that_could_not_be_written_is_reported_at_the_end(
    store: EvidenceStore,
) -> None:
    """The task runs on; its evidence is not said to be complete. /dev/full is a full disk."""
    stream = store.stream("goal", "build", 0)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, stream._stream.fileno())
    os.close(full)
    stream.write("lost\n")
    assert stream.dropped == 5
    with pytest.raises(StoreUnavailable, match="disk is full"):
        await stream.close()


async def test_an_artifact_that_does_not_fit_leaves_nothing_behind(
    store: EvidenceStore, tmp_path: Path
) -> None:
    """A write that ends half way is not found under the digest later."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(StoreUnavailable, match="could not be written"):
            await store.put(b"x" * 1000, name="x")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [f for f in (tmp_path / "evidence").rglob("*") if f.is_file()] == []
    evidence = await store.put(b"x" * 1000, name="x")
    assert len(await store.get(evidence.digest)) == 1000
