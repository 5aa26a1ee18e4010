"""A gateway over stand-ins, in this process."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from goalkeeper.identities import Identities, Person
from hitl.app import create_app
from hitl.decisions import Decisions
from hitl.services import Services, assemble
from tests.unit.hitl.hitl_fakes import (
    TOKENS,
    Clock,
    FakeEvidence,
    FakeGoals,
    FakeLog,
    LocalSigner,
    write_identities,
)

URL = "http://127.0.0.1:8400"


@dataclass
class Gateway:
    """The parts that tests look at."""

    services: Services
    goals: FakeGoals
    log: FakeLog
    signer: LocalSigner
    clock: Clock
    identities_file: Path
    evidence: FakeEvidence

    @property
    def decisions(self) -> Decisions:
        """The path of every answer."""
        return self.services.decisions

    def person(self, name: str) -> Person:
        """Somebody, as their token finds them."""
        found = self.services.identities.by_token(SecretStr(TOKENS[name]))
        assert found is not None
        return found

    def client(self) -> httpx.AsyncClient:
        """A new browser or program."""
        app = create_app(self.services, URL)
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=URL)


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    """Everything but Temporal, Vault and the audit log is real."""
    signer, log, clock, evidence = LocalSigner(), FakeLog(), Clock(), FakeEvidence()
    goals = FakeGoals(signer.keys)
    file = write_identities(tmp_path / "identities.yaml")

    async def healthy() -> bool:
        return True

    services = assemble(
        identities=Identities.load(file),
        goals=goals,
        log=log,
        signer=signer,
        vault_healthy=healthy,
        evidence=evidence,
        now=clock,
        patience=timedelta(milliseconds=400),
        backoff=(0.001,),
    )
    return Gateway(services, goals, log, signer, clock, file, evidence)


@pytest.fixture
async def api(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token or a session."""
    async with gateway.client() as client:
        yield client


def bearer(name: str) -> dict[str, str]:
    """A person's token as a header."""
    return {"Authorization": f"Bearer {TOKENS[name]}"}
