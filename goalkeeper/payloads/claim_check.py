"""The claim check: large payloads lie in the evidence store, and history holds their digests.

The codec has run before anything comes here, so that with encryption on the disk sees ciphertext
alone; it neither opens nor deletes what it keeps.
"""

from collections.abc import Sequence

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1.external_storage_pb2 import ExternalStorageReference
from temporalio.converter import (
    ExternalStorage,
    JSONProtoPayloadConverter,
    StorageDriver,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
)

from goalkeeper.domain.errors import NotFound, PayloadUnreadable
from goalkeeper.evidence import EvidenceStore
from goalkeeper.settings import Settings

THRESHOLD = 256 * 1024
"""Bytes of a payload, packed and sealed, from which on it lies outside of history."""
NAME = "goalkeeper.evidence"
_DIGEST = "digest"
_REFERENCE = ExternalStorageReference.DESCRIPTOR.full_name.encode()
_references = JSONProtoPayloadConverter()


class ClaimCheck(StorageDriver):
    """Keeps payloads under their SHA-256, on disk before the reference is used."""

    def __init__(self, store: EvidenceStore) -> None:
        self._store = store

    def name(self) -> str:
        """See base class; part of every reference in history."""
        return NAME

    def type(self) -> str:
        """See base class."""
        return NAME

    async def store(
        self, context: StorageDriverStoreContext, payloads: Sequence[Payload]
    ) -> list[StorageDriverClaim]:
        """Keep them.

        Raises:
            StoreUnavailable: the disk is full, or the folder cannot be written.
        """
        kept = [
            await self._store.put(
                p.SerializeToString(), name="payload", media_type="application/x-protobuf"
            )
            for p in payloads
        ]
        return [StorageDriverClaim({_DIGEST: evidence.digest}) for evidence in kept]

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        """Fetch them.

        Raises:
            NotFound: one of them is not in the store.
            PayloadUnreadable: what lies there is not a payload.
            AuditBroken: what lies there is something else than what was kept.
            StoreUnavailable: the store cannot be read.
        """
        return [await self._fetch(claim.claim_data.get(_DIGEST, "")) for claim in claims]

    async def resolve(self, payload: Payload) -> Payload:
        """What a payload of a history stands for: itself, or what it refers to.

        Raises:
            As `retrieve` does.
        """
        if payload.metadata.get("messageType") != _REFERENCE:
            return payload
        try:
            found: ExternalStorageReference = _references.from_payload(
                payload, ExternalStorageReference
            )
        except Exception:
            # Whatever the parser raises: the text is anybody's.
            raise PayloadUnreadable("a payload refers to the store in a way nobody wrote") from None
        if found.driver_name != NAME:
            return payload
        return await self._fetch(found.claim_data.get(_DIGEST, ""))

    async def _fetch(self, digest: str) -> Payload:
        try:
            content = await self._store.get(digest)
        except NotFound as error:
            raise NotFound(
                f"a large payload of this goal is missing: {error.message}. The goal cannot go on "
                "without it: bring the evidence folder back (from a backup, or by mounting the one "
                "that all processes share); Temporal tries again by itself"
            ) from None
        try:
            return Payload.FromString(content)
        except DecodeError:
            raise PayloadUnreadable(f"what is stored as '{digest}' is not a payload") from None


def claim_check(settings: Settings) -> ClaimCheck:
    """The installation's, apart from the evidence itself: it must live as long as histories."""
    return ClaimCheck(EvidenceStore(settings.evidence_folder / "payloads"))


def external_storage(settings: Settings) -> ExternalStorage:
    """What the SDK asks where a payload is large."""
    return ExternalStorage(drivers=[claim_check(settings)], payload_size_threshold=THRESHOLD)
