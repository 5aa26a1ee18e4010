from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError

from goalkeeper.client.troubles import troubles_of
from goalkeeper.settings import Settings
from goalkeeper.temporal import sealed
from tests.support.keys import LocalKeys


@dataclass
class Described:
    """Has what `troubles_of` reads of a description: the server's own answer."""

    raw_description: DescribeWorkflowExecutionResponse = field(
        default_factory=DescribeWorkflowExecutionResponse
    )
    data_converter: DataConverter = DataConverter.default

    def pending(self, name: str, ident: str, attempt: int, why: str = "") -> None:
        """Add an activity that is under way or waits for its next attempt."""
        added = self.raw_description.pending_activities.add(activity_id=ident, attempt=attempt)
        added.activity_type.name = name
        if why:
            added.last_failure.message = why


async def told(described: Any) -> list[str]:
    """The troubles as people read them."""
    return [t.text async for t in troubles_of(described)]


async def test_an_activity_that_never_failed_is_no_trouble() -> None:
    """It only runs."""
    described = Described()
    described.pending("connector.execute", "test.0", 1)
    assert await told(described) == []


@pytest.mark.parametrize(
    ("name", "ident", "what"),
    [
        ("connector.execute", "test.1", "task test"),
        ("goal.plan", "1", "planning"),
        ("connector.compensate", "9", "undoing"),
        ("goal.something", "9", "goal.something"),
    ],
)
async def test_a_failed_attempt_says_what_and_why(name: str, ident: str, what: str) -> None:
    """In words of the goal, not of Temporal."""
    described = Described()
    described.pending(name, ident, 2, "no engine answers")
    assert await told(described) == [
        f"{what} has failed once and is tried again: no engine answers"
    ]


async def test_an_encrypted_message_is_read() -> None:
    """As a worker writes it that encrypts: the plain one says nothing."""
    converter = replace(
        sealed(Settings(state=Path("/nowhere")), LocalKeys().process()), external_storage=None
    )
    described = Described(data_converter=converter)
    described.pending("goal.plan", "1", 2, "replaced")
    failure = described.raw_description.pending_activities[0].last_failure
    await converter.encode_failure(ApplicationError("no engine answers"), failure)
    assert failure.message == "Encoded failure"
    assert await told(described) == [
        "planning has failed once and is tried again: no engine answers"
    ]


async def test_the_number_of_failures_is_told() -> None:
    """Temporal counts the attempt that comes next."""
    described = Described()
    described.pending("goal.plan", "1", 4, "no engine answers")
    assert "has failed 3 times" in (await told(described))[0]
