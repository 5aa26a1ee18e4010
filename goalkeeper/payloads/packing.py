"""Making payloads small before they are sealed: DEFLATE with the words that ours begin with.

History's bytes are dear, and a payload of a kilobyte is mostly field names; a dictionary that both
sides know halves what is left of it. It knows nothing of keys.
"""

import zlib

from goalkeeper.domain.errors import PayloadUnreadable

LARGEST = 64 * 1024 * 1024
"""Bytes of one payload: few bytes can stand for very many, and must not unpack without bound."""
_RAW, _PACKED = b"\0", b"\1"
_SMALL = 4096
"""Bytes; up to here a small window serves, which takes half the time to set up."""

# Never edit it: payloads in history open with this one and no other. A better one gets a flag of
# its own beside it. What is most frequent stands at the end, where it takes fewest bits to name.
DICTIONARY_1 = (
    b'"maximum_attempts":10,"initial_interval":"PT1S","backoff_coefficient":2,'
    b'"maximum_interval":"PT1M","non_retryable":[]},"start_to_close_timeout":"PT10M",'
    b'"schedule_to_close_timeout":null,"priority":3,"run":"all_succeeded","when":null,'
    b'"for_each":null,"width":10,"on_failure":"roll_back","lock":null,"always":false,'
    b'"compensation":null,"undoes":null,"covers":[],"show":[]},'
    b'{"contract":null,"definition":{"version":"1","name":"","description":"","inputs":{},'
    b'"tasks":[{"id":"","uses":"","summary":"","with":{},"needs":[],"credentials":{},"retry":{'
    b'"finally":[]},"requester":"","parent":null,"rerun":null,"rollback":null,"carried":null}'
    b'{"plan":{"schema_version":1,"contract":"","contract_digest":"sha256:","bindings":{},'
    b'"nullable":[],"idempotent":true,"idempotent":false,"quick":false,"quick":true,'
    b'"verdicts":{"effect":"allow","reasons":["requirement":{"approvals":1,"groups":["operators"],'
    b'"requirement":null},"decision_keys":{"decisions:v1":"},"window":200,"pools":[],"reused":[]}'
    b'{"envelope":{"payloadType":"application/vnd.goalkeeper.decision+json","payload":"'
    b'"request":{"id":"approve.0","requested_at":"2026-","expires_at":"2026-","actions":['
    b'"event":{"id":"/","time":"2026-","kind":"task.outcome","actor":"person:","detail":{'
    b'"failure":{"code":"OperationFailed","message":"state":"Failed","state":"Skipped",'
    b'"state":"AwaitingApproval","state":"Cancelled","skipped":null,"reason":"","reused":false,'
    b'"state":"Succeeded","generation":0,"outputs":{},"evidence":[],"failure":null,'
    b'"started_at":"2026-","ended_at":"2026-"digest":"sha256:","size":,"media_type":"text/plain",'
    b'{"message":"Encoded failure","stack_trace":""}'
    b'{"attempt":1,"activity_id":"","activity_type":"","complete_time":{"seconds":17,"nanos":}'
    b'\n\x16\n\x08encoding\x12\njson/plain\x12{"outputs":{"value":null},"evidence":[],'
    b'"compensable":false}'
    b'\n\x16\n\x08encoding\x12\njson/plain\x12{"action":{"goal_id":"","task_id":"","generation":0,'
    b'"plan_digest":"sha256:","operation":"","inputs":{"value":"environment":"production",'
    b'"environment":"development","risk":"read","risk":"write","credentials":{},"egress":[],'
    b'"compensation":null,"undoes":null,"policy_version":"sha256:"},"asker":{"requester":{"id":"",'
    b'"proven":false},"proven":true},"attestation":null,"attestation":{"payloadType":'
    b'"application/vnd.goalkeeper.submission+json","payload":"eyJhdCI6IjIwMjYtMTItMDFUMTA6'
    b"WiIsImdvYWxfaWQiOiIiLCJpbnB1dF9kaWdlc3QiOiJzaGEyNTY6ImlucHV0X2RpZ2VzdCI6InNoYTI1NjpiZWYw"
    b'IiwicGVyc29uIjoi","signatures":[{"keyid":"decisions:v1","sig":"=="}]},"contract":"",'
    b'"run":"01a1"},"grant":null}'
    b'{"action":{"task_id":"","operation":"apps.monitor","operation":"apps.restore","operation":'
    b'"apps.preview","operation":"apps.deploy","operation":"git.revert_merge","operation":"git.'
    b'describe_branch","operation":"git.merge_branch","operation":"git.read_file","operation":"'
    b'notify.send","operation":"sandbox.run","inputs":{"command":["'
    b'\n\x16\n\x08encoding\x12\njson/plain\x12{"action":{"task_id":"t1","operation":"core.echo",'
    b'"operation":"core.noop","inputs":{"value":null}}}'
)


def pack(plain: bytes) -> bytes:
    """The same in fewer bytes, where that can be; a first byte says which."""
    bits, memory = (-12, 5) if len(plain) <= _SMALL else (-15, 8)
    packer = zlib.compressobj(1, zlib.DEFLATED, bits, memory, zlib.Z_DEFAULT_STRATEGY, DICTIONARY_1)
    smaller = packer.compress(plain) + packer.flush()
    return _PACKED + smaller if len(smaller) < len(plain) else _RAW + plain


def unpack(packed: bytes) -> bytes:
    """What `pack` was given.

    Raises:
        PayloadUnreadable: it was not packed by `pack`, or is larger than `LARGEST`.
    """
    flag, content = packed[:1], packed[1:]
    if flag == _RAW:
        return content
    if flag != _PACKED:
        raise PayloadUnreadable("a payload was packed in a way that only a newer version knows")
    unpacker = zlib.decompressobj(-15, DICTIONARY_1)
    try:
        plain = unpacker.decompress(content, LARGEST)
    except zlib.error:
        raise PayloadUnreadable("a payload opens, but does not unpack") from None
    if unpacker.unconsumed_tail:
        raise PayloadUnreadable(f"a payload is larger than {LARGEST // 2**20} MiB")
    if not unpacker.eof:
        raise PayloadUnreadable("a payload opens, but its end is missing")
    return plain
