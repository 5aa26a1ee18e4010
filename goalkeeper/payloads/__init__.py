"""What Temporal stores of a goal's values: sealed, and the large ones kept outside of it.

It knows neither workflows nor activities, and no person; who may read is decided by its callers.
"""

from goalkeeper.payloads.claim_check import ClaimCheck, external_storage
from goalkeeper.payloads.codec import Codec, UnreadablePayloadConverter
from goalkeeper.payloads.keys import KeyRing, PayloadKeys, client_keys

__all__ = [
    "ClaimCheck",
    "Codec",
    "KeyRing",
    "PayloadKeys",
    "UnreadablePayloadConverter",
    "client_keys",
    "external_storage",
]
