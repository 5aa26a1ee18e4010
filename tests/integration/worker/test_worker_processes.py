"""One worker that is several processes: they share the work, come back, and end together."""

import os
import signal

import psutil

from goalkeeper.domain.plan import GoalState
from tests.integration.worker.conftest import Installation

NOOP = {"uses": "core.noop"}


async def test_two_processes_do_the_work_of_one_worker(installation: Installation) -> None:
    """One address answers for both: their health, and their metrics added up."""
    started = await installation.start("--processes", "2")
    health = await started.until(lambda h: len(h["processes"]) == 2)
    assert started.process.pid not in health["processes"]
    for _ in range(3):
        goal = await installation.submit({"id": "a", **NOOP}, {"id": "b", **NOOP})
        assert (await goal.result())["state"] == GoalState.SUCCEEDED
    attempts = 'goalkeeper_task_attempts_total{operation="core.noop",outcome="succeeded"}'
    assert f"{attempts} 6.0" in await started.metrics()
    for pid in health["processes"]:
        said = psutil.Process(pid)
        assert "token" not in " ".join([*said.cmdline(), *map(str, said.environ())]).lower()


async def test_a_process_that_dies_is_replaced(installation: Installation) -> None:
    """Meanwhile the worker says that it is not whole, and the other one works."""
    started = await installation.start("--processes", "2")
    first, second = (await started.until(lambda h: len(h["processes"]) == 2))["processes"]
    os.kill(first, signal.SIGKILL)
    missing = await started.until(lambda h: first not in h["processes"])
    whole = await started.until(lambda h: h["status"] == "ok" and first not in h["processes"])
    assert second in whole["processes"]
    assert missing["status"] == "degraded" or len(missing["processes"]) == 2
    assert '"exit_code": -9' in started.process.log.read_text()


async def test_told_to_end_all_processes_drain_and_the_worker_ends_well(
    installation: Installation,
) -> None:
    """Exit code 0, and nothing is left."""
    started = await installation.start("--processes", "2")
    health = await started.until(lambda h: len(h["processes"]) == 2)
    children = [psutil.Process(p) for p in health["processes"]]
    started.process.signal(signal.SIGTERM)
    assert await started.process.wait() == 0
    assert not [c for c in children if c.is_running()]
    assert started.process.log.read_text().count('"exit_code": 0') == 2


async def test_processes_do_not_outlive_their_parent(installation: Installation) -> None:
    """Even one that was killed: somebody may start the worker again."""
    started = await installation.start("--processes", "2")
    health = await started.until(lambda h: len(h["processes"]) == 2)
    children = [psutil.Process(p) for p in health["processes"]]
    await started.process.kill()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


async def test_a_worker_whose_processes_cannot_start_ends_and_says_why(
    installation: Installation,
) -> None:
    """Rather than trying for ever what cannot succeed."""
    policy = installation.settings.state / "broken.cedar"
    policy.write_text("permit everything")
    broken = installation.with_settings(policy=policy)
    started = await broken.start("--processes", "2", ready=False)
    assert await started.process.wait() == 1
    assert "broken.cedar" in started.process.log.read_text()


async def test_a_pool_without_a_queue_of_its_own_is_refused(installation: Installation) -> None:
    """With the setting that gives it one."""
    started = await installation.start("--pool", "sandbox", ready=False)
    assert await started.process.wait() == 2
    assert 'pools = ["sandbox"]' in started.process.tail()
