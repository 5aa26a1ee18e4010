"""Replay: what a run was told, told again to a fresh instance, must lead to the same commands.

It compares; it repairs nothing.
"""

from collections.abc import Iterator
from datetime import timedelta

from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_commands import WorkflowCommand

from goalkeeper.simulation.execution import Execution
from goalkeeper.simulation.run import SimulationBroken, Turn, WorkflowRun, evict, perform

_LATER = timedelta(milliseconds=7)


def check_replay(execution: Execution) -> None:
    """Replay every run of a workflow, once exactly and once as Temporal really would.

    History keeps no clock of local activities, so in reality a replayed workflow sees another
    time after one; then only what Temporal itself compares has to be equal: the kinds of commands
    in their order, with their ids.

    Raises:
        SimulationBroken: the workflow is not deterministic.
    """
    for run in execution.runs:
        _replay(run, exact=True)
        _replay(run, exact=False)


def _replay(run: WorkflowRun, *, exact: bool) -> None:
    instance = run.instance()
    try:
        for number, (turn, activation) in enumerate(_as_history(run.turns, exact=exact)):
            again = perform(instance, activation)
            if [_shown(c, exact) for c in again] != [_shown(c, exact) for c in _kept(turn)]:
                raise SimulationBroken(_difference(run, number, turn, again))
    finally:
        evict(instance, run.identity.run_id)


def _as_history(turns: list[Turn], *, exact: bool) -> Iterator[tuple[Turn, WorkflowActivation]]:
    for turn in turns:
        activation = WorkflowActivation()
        activation.CopyFrom(turn.activation)
        activation.is_replaying = True
        rejected = _rejected(turn)
        jobs = [j for j in activation.jobs if j.do_update.id not in rejected]
        if not jobs:
            continue
        del activation.jobs[:]
        activation.jobs.extend(jobs)
        for job in activation.jobs:
            if job.HasField("do_update"):
                job.do_update.run_validator = False
        if turn.local and not exact:
            moved = activation.timestamp.ToDatetime() - _LATER
            activation.timestamp.FromDatetime(moved)
        yield turn, activation


def _rejected(turn: Turn) -> set[str]:
    """The updates of a turn that were turned down: history knows nothing of them."""
    accepted = {
        c.update_response.protocol_instance_id
        for c in turn.commands
        if c.update_response.HasField("accepted")
    }
    sent = {j.do_update.id for j in turn.activation.jobs if j.HasField("do_update")}
    return sent - accepted


def _kept(turn: Turn) -> list[WorkflowCommand]:
    rejected = _rejected(turn)
    return [c for c in turn.commands if c.update_response.protocol_instance_id not in rejected]


def _shown(command: WorkflowCommand, exact: bool) -> object:
    if exact:
        return command.SerializeToString(deterministic=True)
    kind = command.WhichOneof("variant") or ""
    body = getattr(command, kind)
    names = ("seq", "activity_id", "activity_type", "workflow_id", "signal_name")
    return kind, tuple(str(getattr(body, n, "")) for n in names)


def _difference(run: WorkflowRun, number: int, turn: Turn, again: object) -> str:
    return (
        f"'{run.identity.workflow_id}' is not deterministic: activation {number} of run "
        f"'{run.identity.run_id}' gave\n{turn.commands}\nat first, and\n{again}\nin replay"
    )
