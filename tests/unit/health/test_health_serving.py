"""The worker's health and metrics, as probes and Prometheus see them."""

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from goalkeeper.domain.errors import InvalidSettings
from goalkeeper.embedded.own import healthz
from goalkeeper.embedded.ports import Ports
from goalkeeper.health import Report, serve_health


@dataclass
class Served:
    """A health endpoint whose report can be changed."""

    port: int
    report: Report

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def served() -> Iterator[Served]:
    """One that is well, with one metric."""
    registry = CollectorRegistry()
    Counter("things", "Things.", registry=registry).inc(3)
    found = Served(Ports.free().worker, Report([11, 12]))
    with serve_health(found.port, lambda: found.report, registry):
        yield found


def get(served: Served, path: str) -> httpx.Response:
    """One answer."""
    return httpx.get(served.address + path, trust_env=False)


async def test_a_worker_that_is_well_says_which_processes_do_its_work(served: Served) -> None:
    """And whoever watches it reads the same."""
    assert get(served, "/healthz").json() == {
        "status": "ok",
        "processes": [11, 12],
        "problem": None,
    }
    found = await healthz("worker", served.address)
    assert found.processes == (11, 12)
    assert found.problem is None


async def test_a_worker_that_is_not_well_says_why(served: Served) -> None:
    """With the status that makes a probe fail."""
    served.report = Report([11], "of 2 worker processes, not ready: 2")
    assert get(served, "/healthz").status_code == 503
    found = await healthz("worker", served.address)
    assert found.processes == (11,)
    assert found.problem == "of 2 worker processes, not ready: 2"


def test_metrics_are_those_that_the_worker_hands_in(served: Served) -> None:
    """Of one process or of several together."""
    assert "things_total 3.0" in get(served, "/metrics").text
    assert get(served, "/else").status_code == 404


def test_a_port_that_is_taken_is_said_with_the_setting_that_names_it(served: Served) -> None:
    """Before the worker takes any work."""
    with (
        pytest.raises(InvalidSettings, match="worker_metrics_port"),
        serve_health(served.port, lambda: served.report),
    ):
        pass
