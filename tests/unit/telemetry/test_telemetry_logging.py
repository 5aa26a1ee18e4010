"""Logs: one JSON object a line, whoever writes it, with the ids that let people find it."""

import io
import json
import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from goalkeeper.settings import load_settings
from goalkeeper.telemetry import configure_logging, task_context, tracing


class Lines:
    """What was logged."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    def read(self) -> list[dict[str, Any]]:
        """Each line, parsed."""
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Logging as a process of ours configures it, for the length of a test."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    made = Lines()
    configure_logging("worker", stream=made.stream)
    yield made
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_a_line_of_ours_has_what_people_search_for(lines: Lines) -> None:
    """Time in UTC, level, message and both ids come first, and then the rest."""
    with task_context(workflow_id="ship-1", task_id="merge"):
        structlog.get_logger("ours").info("merging", branch="feature/größe")
    (line,) = lines.read()
    assert list(line)[:5] == ["timestamp", "level", "message", "workflow_id", "task_id"]
    assert datetime.fromisoformat(line["timestamp"]).utcoffset() is not None
    assert line["level"] == "info"
    assert line["message"] == "merging"
    assert (line["workflow_id"], line["task_id"]) == ("ship-1", "merge")
    assert line["branch"] == "feature/größe"
    assert line["process"] == "worker"
    assert line["logger"] == "ours"


def test_a_line_of_a_library_has_the_same_shape(lines: Lines) -> None:
    """Written with the standard library's logging, with arguments and extras."""
    with task_context(workflow_id="ship-1"):
        logging.getLogger("theirs").warning("took %d s", 3, extra={"host": "h"})
    (line,) = lines.read()
    assert line["message"] == "took 3 s"
    assert line["level"] == "warning"
    assert line["workflow_id"] == "ship-1"
    assert line["host"] == "h"
    assert line["logger"] == "theirs"


def test_temporal_s_own_context_gives_the_workflow_id(lines: Lines) -> None:
    """A workflow logs through Temporal's adapter, outside of our context."""
    extra = {"temporal_workflow": {"workflow_id": "ship-2", "attempt": 1}}
    logging.getLogger("temporalio.workflow").info("replaying", extra=extra)
    (line,) = lines.read()
    assert line["workflow_id"] == "ship-2"
    assert line["task_id"] == ""
    assert "temporal_workflow" not in line


def test_ids_end_with_their_context(lines: Lines) -> None:
    """The next line is nobody's."""
    with task_context(workflow_id="ship-1", task_id="merge"):
        pass
    structlog.get_logger().info("idle")
    (line,) = lines.read()
    assert (line["workflow_id"], line["task_id"]) == ("", "")


def test_an_exception_is_one_line_with_its_traceback(lines: Lines) -> None:
    """Line breaks inside would be other lines for a collector."""
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        structlog.get_logger().exception("broke")
        logging.getLogger("theirs").exception("broke too")
    first, second = lines.read()
    for line in (first, second):
        assert line["level"] == "error"
        assert "ValueError: first\nsecond" in line["exception"]


def test_a_value_that_json_cannot_say_is_written_as_text(lines: Lines) -> None:
    """A log line never fails what logs it, and a secret's text form is masked."""
    structlog.get_logger().info("odd", it={1}, secret=SecretStr("hunter22"))
    (line,) = lines.read()
    assert line["it"] == "{1}"
    assert "hunter22" not in json.dumps(line)


@pytest.mark.parametrize("name", ["httpx", "httpcore", "urllib3", "hvac"])
def test_libraries_that_log_whole_requests_are_told_to_be_quiet(lines: Lines, name: str) -> None:
    """Their addresses may hold tokens; their warnings still come through."""
    logging.getLogger(name).info("GET /?token=hunter22")
    logging.getLogger(name).warning("it is slow")
    assert [line["message"] for line in lines.read()] == ["it is slow"]


def test_the_level_is_the_one_that_was_asked_for(lines: Lines) -> None:
    """In any case of letters."""
    structlog.get_logger().debug("hidden")
    configure_logging("worker", level="debug", stream=lines.stream)
    logging.getLogger("theirs").debug("shown")
    assert [line["message"] for line in lines.read()] == ["shown"]


def test_without_an_endpoint_nothing_is_traced() -> None:
    """No provider is made and nothing is sent."""
    assert tracing(load_settings(environ={}), "worker") == []
