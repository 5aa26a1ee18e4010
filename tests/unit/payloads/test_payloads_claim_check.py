"""The claim check: large payloads by their digest, and what is said of one that is gone."""

from pathlib import Path

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1.external_storage_pb2 import ExternalStorageReference
from temporalio.converter import (
    JSONProtoPayloadConverter,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
)

from goalkeeper.domain.errors import AuditBroken, NotFound, PayloadUnreadable
from goalkeeper.evidence import EvidenceStore
from goalkeeper.payloads import ClaimCheck
from goalkeeper.payloads.claim_check import NAME

LARGE = Payload(metadata={"encoding": b"binary/encrypted"}, data=b"z" * 300_000)


@pytest.fixture
def claims(tmp_path: Path) -> ClaimCheck:
    """A store of the test's own."""
    return ClaimCheck(EvidenceStore(tmp_path))


async def stored(claims: ClaimCheck) -> StorageDriverClaim:
    """The claim of one payload."""
    (claim,) = await claims.store(StorageDriverStoreContext(), [LARGE])
    return claim


def only_file(folder: Path) -> Path:
    """Where the one payload lies."""
    (file,) = (f for f in folder.rglob("*") if f.is_file())
    return file


def reference(driver: str, claim: dict[str, str]) -> Payload:
    """What history holds instead."""
    made = JSONProtoPayloadConverter().to_payload(
        ExternalStorageReference(driver_name=driver, claim_data=claim)
    )
    assert made is not None
    return made


async def test_what_is_kept_comes_back(claims: ClaimCheck) -> None:
    """By its claim alone."""
    claim = await stored(claims)
    assert await claims.retrieve(StorageDriverRetrieveContext(), [claim]) == [LARGE]


async def test_a_reference_of_a_history_is_resolved(claims: ClaimCheck) -> None:
    """And what is none stays as it is."""
    claim = await stored(claims)
    assert await claims.resolve(reference(NAME, dict(claim.claim_data))) == LARGE
    assert await claims.resolve(LARGE) == LARGE
    elsewhere = reference("s3", {"key": "x"})
    assert await claims.resolve(elsewhere) == elsewhere


async def test_a_missing_payload_is_named_with_what_to_do(
    claims: ClaimCheck, tmp_path: Path
) -> None:
    """The goal waits for it rather than going on without."""
    claim = await stored(claims)
    only_file(tmp_path).unlink()
    with pytest.raises(NotFound, match="bring the evidence folder back") as raised:
        await claims.retrieve(StorageDriverRetrieveContext(), [claim])
    assert claim.claim_data["digest"] in raised.value.message


async def test_a_changed_payload_is_not_used(claims: ClaimCheck, tmp_path: Path) -> None:
    """Its digest says so."""
    claim = await stored(claims)
    only_file(tmp_path).write_bytes(b"other")
    with pytest.raises(AuditBroken):
        await claims.retrieve(StorageDriverRetrieveContext(), [claim])


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "sha256:" + "0" * 63, "\x00"])
async def test_a_claim_that_nobody_wrote_reaches_no_file(claims: ClaimCheck, digest: str) -> None:
    """A digest, or nothing."""
    with pytest.raises(NotFound):
        await claims.retrieve(
            StorageDriverRetrieveContext(), [StorageDriverClaim({"digest": digest})]
        )


async def test_a_reference_that_is_none_is_refused(claims: ClaimCheck) -> None:
    """Its text is anybody's."""
    broken = reference(NAME, {})
    broken.data = b"{"
    with pytest.raises(PayloadUnreadable):
        await claims.resolve(broken)
