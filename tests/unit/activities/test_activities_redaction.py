"""A task's secret: whatever the connector does with it, no store and no log ever holds it."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from goalkeeper.contracts.connector import Attachment, OperationCall, OperationResult
from goalkeeper.domain.credential import MASK, Credentials
from goalkeeper.domain.errors import OperationFailed, TransientError
from goalkeeper.telemetry import configure_logging
from tests.unit.activities.attempting import Bench, Told, answer


@pytest.fixture
def logs() -> Iterator[io.StringIO]:
    """Everything that is logged, as a worker would write it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stream = io.StringIO()
    configure_logging("worker", level="DEBUG", stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


async def test_outputs_evidence_and_live_output_are_redacted(
    desk: Bench, logs: io.StringIO
) -> None:
    """The connector puts its token wherever it can."""
    seen: list[str] = []

    async def doing(call: OperationCall, credentials: Credentials) -> OperationResult:
        token = credentials["token"].get_secret_value()
        seen.append(token)
        call.log(f"pushing with {token}")
        call.log(f"{token}{token}\n")
        return answer(
            {token: [f"https://x:{token}@host", {"deep": token}]},
            attachments=(Attachment("report.txt", b"\xff" + token.encode()),),
        )

    result = await desk.run("work.write", Told(doing))
    assert result.outputs == {"value": {MASK: [f"https://x:{MASK}@host", {"deep": MASK}]}}
    assert {e.name for e in result.evidence} == {"report.txt", "output.log"}
    lines = [line.text for line in desk.parts.evidence.read("ship-1", "merge")]
    assert lines == [f"pushing with {MASK}", MASK + MASK]
    again = await desk.run("work.write", Told(doing), attempt=2)
    for text in (result.model_dump_json(), again.model_dump_json(), logs.getvalue()):
        assert seen[0] not in text
    effect = await desk.parts.ledger.effect("ship-1.run-1.merge.0")
    assert effect is not None
    assert effect.compensation is not None
    await desk.parts.audit.aclose()
    await desk.parts.ledger.aclose()
    stored = desk.everything()
    assert b"pushing with" in stored
    assert seen[0].encode() not in stored


async def test_a_failure_s_message_is_redacted_everywhere(desk: Bench, logs: io.StringIO) -> None:
    """In the error that is raised and in the outcome on record."""
    seen: list[str] = []

    async def doing(_: OperationCall, credentials: Credentials) -> OperationResult:
        token = credentials["token"].get_secret_value()
        seen.append(token)
        raise OperationFailed(f"the host said: bad token {token}")

    with pytest.raises(OperationFailed) as caught:
        await desk.run("work.write", Told(doing))
    assert caught.value.message == f"the host said: bad token {MASK}"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert desk.last["failure"]["message"] == f"the host said: bad token {MASK}"
    assert seen[0] not in logs.getvalue()


async def test_an_unexpected_error_s_text_stays_out_of_history_and_is_redacted_in_the_log(
    desk: Bench, logs: io.StringIO
) -> None:
    """Only its kind is told; no traceback is logged, whose lines could quote the secret."""
    seen: list[str] = []

    async def doing(_: OperationCall, credentials: Credentials) -> OperationResult:
        token = credentials["token"].get_secret_value()
        seen.append(token)
        raise ValueError(f"cannot parse {token}")

    with pytest.raises(TransientError) as caught:
        await desk.run("work.write", Told(doing))
    assert "unexpected ValueError" in caught.value.message
    assert "cannot parse" not in caught.value.message
    entry = json.loads(logs.getvalue().splitlines()[0])
    assert entry["message"] == "connector broke"
    assert entry["text"] == f"cannot parse {MASK}"
    assert seen[0] not in logs.getvalue()
