"""The audit log: an append-only Merkle log (RFC 6962) with signed checkpoints (C2SP).

It stores, proves and exports events; it knows neither goals nor policy, and redacts nothing.
"""

from goalkeeper.audit.export import Export
from goalkeeper.audit.log import AuditLog
from goalkeeper.audit.proof import (
    ConsistencyProof,
    Entry,
    Proof,
    verify_consistency,
    verify_inclusion,
)
from goalkeeper.audit.verification import Verification

__all__ = [
    "AuditLog",
    "ConsistencyProof",
    "Entry",
    "Export",
    "Proof",
    "Verification",
    "verify_consistency",
    "verify_inclusion",
]
