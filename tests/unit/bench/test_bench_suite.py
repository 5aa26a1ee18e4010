"""What the benchmarks ask of an installation, without a server."""

from pathlib import Path

import pytest

from connectors.registry import known_operations
from goalkeeper.bench import BENCHMARKS, LONG, USUAL, run
from goalkeeper.bench.stand import stand_settings
from goalkeeper.bench.work import READ, WRITE, contract_of
from goalkeeper.domain.compiler import compile_contract
from goalkeeper.domain.errors import InvalidSettings
from goalkeeper.embedded import Ports
from goalkeeper.settings import load_settings


async def test_an_unknown_benchmark_is_refused_with_those_that_exist(tmp_path: Path) -> None:
    """Before anything is started."""
    with pytest.raises(InvalidSettings) as caught:
        await run(load_settings(tmp_path, environ={}), only=["chian"])
    assert "'chian'" in caught.value.message
    assert "chain, chain_read, chain_stock, fan_out, sandbox, decision" in caught.value.message


def test_the_benchmarks_are_those_that_the_report_promises() -> None:
    """Scripts read these keys; what takes long is run when it is asked for."""
    assert list(USUAL) == [
        *("chain", "chain_read", "chain_stock", "fan_out", "sandbox", "decision"),
        *("history", "replay"),
    ]
    assert LONG == ("storm", "size")
    assert BENCHMARKS == (*USUAL, *LONG, "waiting")


def test_the_stand_shares_no_store_server_or_person_with_the_installation(tmp_path: Path) -> None:
    """A benchmark must not write to a real audit log or spend a real login."""
    theirs = load_settings(
        tmp_path / "theirs",
        environ={},
        identities=tmp_path / "people.yaml",
        policy=tmp_path / "own.cedar",
        docker_host="unix:///run/other.sock",
        sandbox_image="other:1",
    )
    mine = stand_settings(theirs, tmp_path / "mine", Ports.free())
    for file in (mine.audit_file, mine.ledger_file, mine.evidence_folder, mine.identities_file):
        assert file.is_relative_to(tmp_path / "mine")
    for name in ("temporal_address", "vault_address", "worker_metrics_port"):
        assert getattr(mine, name) != getattr(theirs, name)
    assert mine.policy != theirs.policy
    assert (mine.docker_host, mine.sandbox_image) == ("unix:///run/other.sock", "other:1")


def test_a_chain_needs_one_task_after_the_other_and_a_fan_out_nothing() -> None:
    """Both are writes, so that every part of the governance is in the way."""
    chain = compile_contract(contract_of(3, chained=True), {}, known_operations())
    assert [t.needs for t in chain.tasks] == [(), ("t0",), ("t1",)]
    wide = compile_contract(contract_of(3, chained=False), {}, known_operations())
    assert [t.needs for t in wide.tasks] == [(), (), ()]
    assert {t.risk.value for t in wide.tasks} == {"write"}
    assert not any(t.quick for t in wide.tasks)


def test_the_read_only_chain_is_of_tasks_that_run_as_local_activities() -> None:
    """Nothing but reading, declared quick by its connector; the other work is neither."""
    reading = compile_contract(contract_of(3, chained=True, uses=READ), {}, known_operations())
    assert {t.risk.value for t in reading.tasks} == {"read"}
    assert all(t.quick for t in reading.tasks)
    assert WRITE != READ
