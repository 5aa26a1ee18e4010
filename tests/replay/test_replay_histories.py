"""Goals that began under earlier code: today's workflow must take the same way."""

import asyncio
import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from goalkeeper.contracts.activities import ExecuteResult
from goalkeeper.temporal import plugin
from tests.replay.record import HISTORIES, NAME, WAYS, recorded
from workflows import calls
from workflows.approvals import Approvals
from workflows.goal import GoalWorkflow

FILES = sorted(HISTORIES.glob("*.json"))


async def replay(file: Path) -> None:
    """Run today's workflow against what was recorded, as a worker with the plugin would."""
    goal_id = "replay-" + file.name.split(".")[0]
    replayer = Replayer(workflows=[GoalWorkflow], plugins=[plugin()])
    history = await asyncio.to_thread(file.read_text)
    await replayer.replay_workflow(WorkflowHistory.from_json(goal_id, history))


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
async def test_a_recorded_goal_replays(file: Path) -> None:
    """Not one command differs from what the history holds."""
    await replay(file)


def test_every_way_that_a_goal_can_go_is_recorded() -> None:
    """And nothing else lies in the folder; the way that continues has several runs."""
    assert {f.name.split(".")[0] for f in FILES} == set(WAYS)
    assert len(recorded("continued")) > 1


async def _nothing(*_: Any, **__: Any) -> ExecuteResult:
    """What a careless change might leave out."""
    return ExecuteResult()


@pytest.mark.parametrize(
    ("name", "target", "attribute"),
    [
        ("succeeded", Approvals, "_record_event"),
        ("succeeded", calls, "clean_up"),
        ("rolled-back", calls, "compensate"),
        ("failed", calls, "record"),
        ("continued", GoalWorkflow, "_continue"),
    ],
)
async def test_a_subtle_change_of_the_workflow_does_not_pass(
    monkeypatch: pytest.MonkeyPatch, name: str, target: Any, attribute: str
) -> None:
    """One step left out is found, so this gate can fail."""
    monkeypatch.setattr(target, attribute, _nothing)
    with pytest.raises(NondeterminismError):
        await replay(recorded(name)[0])


async def test_another_retry_of_an_activity_is_another_identity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Activity ids belong to what is compared: a new scheme would orphan running tasks."""
    original = workflow.start_activity

    def renamed(*arguments: Any, **options: Any) -> Any:
        if "activity_id" in options:
            options["activity_id"] += "-new"
        return original(*arguments, **options)

    monkeypatch.setattr(workflow, "start_activity", renamed)
    with pytest.raises(NondeterminismError):
        await replay(recorded("rolled-back")[0])


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_a_recording_names_no_machine_and_no_person_s_folder(file: Path) -> None:
    """Payloads decoded too; whoever recorded it is nobody."""
    found: list[str] = []
    _read(json.loads(file.read_text()), found)
    text = "\n".join(found)
    assert not re.findall(r"\d@\w|/(?:home|root|tmp|work|Users)/|site-packages", text)
    assert '"stackTrace"' not in file.read_text()


def _read(value: Any, found: list[str]) -> None:
    """Every string; payloads decoded."""
    if isinstance(value, dict):
        assert value.get("identity", NAME) == NAME
        for key, inner in value.items():
            if key == "data" and isinstance(inner, str):
                found.append(base64.b64decode(inner).decode(errors="replace"))
            else:
                _read(inner, found)
    elif isinstance(value, list):
        for inner in value:
            _read(inner, found)
    elif isinstance(value, str):
        found.append(value)
