"""The driver: carries workflows out on a clock of its own, as Temporal would.

It knows Temporal's commands and no workflow in particular; a turn costs milliseconds, and the same
seed always gives the same run. Call it from synchronous code alone.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from temporalio.api.common.v1 import Payload
from temporalio.bridge.proto.child_workflow import ParentClosePolicy
from temporalio.bridge.proto.workflow_commands import WorkflowCommand
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.workflow import ParentInfo, RootInfo

from goalkeeper.simulation import jobs
from goalkeeper.simulation.agenda import Agenda, Entry
from goalkeeper.simulation.attempts import Activities
from goalkeeper.simulation.conversion import error_of, payloads, value_of
from goalkeeper.simulation.execution import Execution, Update
from goalkeeper.simulation.run import NAMESPACE, Identity, SimulationBroken, WorkflowRun
from goalkeeper.simulation.world import World

Watcher: TypeAlias = Callable[[Execution, Sequence[WorkflowCommand]], None]

EVENTS_UNTIL_NEW = 4096
"""After so many events the server suggests continue-as-new."""
_MOST_TURNS = 200_000


class Driver:
    """Workflows, their clock, and whatever they have asked for.

    Args:
        workflows: the workflow classes, by type name.
        world: who answers what they ask for.
        start: what their clock says at first.
        seed: of every random choice, theirs and the driver's.
        scattered: let things that happen at the same instant reach a workflow one by one or
            together, as it comes; otherwise together.
        events_until_new: after how many events of history continue-as-new is suggested.
    """

    def __init__(
        self,
        workflows: Mapping[str, type],
        world: World,
        *,
        start: datetime,
        seed: int = 0,
        scattered: bool = False,
        events_until_new: int = EVENTS_UNTIL_NEW,
    ) -> None:
        self._workflows = workflows
        self._world = world
        self._agenda = Agenda(start)
        self._random = random.Random(seed)  # noqa: S311 - reproducible on purpose
        self._scattered = scattered
        self._events_until_new = events_until_new
        self._turns = 0
        self._updates = 0
        self.executions: dict[str, Execution] = {}
        self.watchers: list[Watcher] = []
        """Called after each activation, with what the workflow wants done."""

    @property
    def now(self) -> datetime:
        """What the clock says."""
        return self._agenda.now

    def after(self, delay: timedelta, action: Callable[[], None]) -> Entry:
        """Have something happen later."""
        return self._agenda.after(delay, action)

    # What clients do.

    def start(self, workflow_type: str, workflow_id: str, argument: Any) -> Execution:
        """Start a workflow."""
        return self._start(workflow_type, workflow_id, payloads(argument))

    def signal(self, workflow_id: str, name: str, argument: Any) -> bool:
        """Send a signal; False: no such workflow is running."""
        return self._signal(workflow_id, name, payloads(argument))

    def update(self, workflow_id: str, name: str, argument: Any) -> Update:
        """Send an update; the answer is there once the clock has gone on."""
        self._updates += 1
        sent = Update(f"update-{self._updates}")
        execution = self._open(workflow_id)
        if execution is None:
            sent.done, sent.error = True, _ended()
            return sent
        execution.updates[sent.ident] = sent
        execution.inbox.append(jobs.updated(sent.ident, name, payloads(argument)))
        return sent

    def cancel(self, workflow_id: str, reason: str = "") -> None:
        """Ask a workflow to cancel."""
        execution = self._open(workflow_id)
        if execution is not None:
            execution.inbox.append(jobs.cancelled(reason))

    def query(self, workflow_id: str, name: str, kind: Any = None) -> Any:
        """Ask a workflow something."""
        run = self.executions[workflow_id].run
        answer = run.ask(jobs.queried(name), self.now).respond_to_query
        if answer.HasField("failed"):
            raise error_of(answer.failed)
        return value_of(answer.succeeded.response, kind)

    # The loop.

    def run(self, until: Callable[[], bool] | None = None) -> None:
        """Go on until nothing is left to happen, or a condition holds."""
        while until is None or not until():
            self._deliver()
            entry = self._agenda.pop()
            if entry is None:
                return
            while entry is not None:
                entry.action()
                alone = self._scattered and self._random.random() < 0.5
                entry = None if alone else self._agenda.pop(at=self.now)

    def close(self) -> None:
        """Take down what still runs."""
        for execution in self.executions.values():
            if not execution.closed:
                execution.closed = True
                execution.end_run()

    def _deliver(self) -> None:
        told = True
        while told:
            waiting = [e for e in self.executions.values() if e.inbox]
            told = any([self._tell(e) for e in waiting])

    def _tell(self, execution: Execution) -> bool:
        told = [] if execution.closed else execution.take_jobs()
        if not told:
            return False
        self._turns += 1
        if self._turns > _MOST_TURNS:
            raise SimulationBroken(f"the simulation does not end: {_MOST_TURNS} activations")
        local = all(j.resolve_activity.is_local for j in told)
        # A new workflow task: scheduled, started, completed.
        execution.events += 0 if local else 3
        commands = execution.run.activate(
            told,
            self.now,
            events=execution.events,
            suggest=execution.events >= self._events_until_new,
            local=local,
        )
        for watcher in self.watchers:
            watcher(execution, commands)
        self._obey(execution, commands)
        return True

    def _obey(self, execution: Execution, commands: Sequence[WorkflowCommand]) -> None:
        """Carry commands out; with a local activity running, the server gets no others yet."""
        for command in commands:
            kind = command.WhichOneof("variant") or ""
            if kind in _AT_ONCE:
                self._carry_out(execution, command)
            else:
                execution.held.append(command)
        ends = any(c.WhichOneof("variant") in _LAST for c in execution.held)
        if ends or not execution.activities.any_local:
            held, execution.held = execution.held, []
            for command in held:
                self._carry_out(execution, command)

    def _carry_out(self, execution: Execution, command: WorkflowCommand) -> None:
        kind = command.WhichOneof("variant") or ""
        if kind not in _EVENTS:
            raise SimulationBroken(f"the simulation knows no command '{kind}'")
        execution.events += _EVENTS[kind]
        if kind not in _NOTHING_TO_DO:
            getattr(self, f"_{kind}")(execution, getattr(command, kind))

    def _open(self, workflow_id: str) -> Execution | None:
        execution = self.executions.get(workflow_id)
        return None if execution is None or execution.closed else execution

    # Runs.

    def _start(
        self,
        workflow_type: str,
        workflow_id: str,
        arguments: Sequence[Payload],
        parent: tuple[Execution, int] | None = None,
    ) -> Execution:
        run_id = self._run_id(workflow_id)
        above = parent[0].run.identity if parent else None
        root = above.root if above else None
        identity = Identity(
            workflow_id=workflow_id,
            workflow_type=workflow_type,
            run_id=run_id,
            first_run_id=run_id,
            parent=ParentInfo(NAMESPACE, above.run_id, above.workflow_id) if above else None,
            root=root or (RootInfo(above.run_id, above.workflow_id) if above else None),
        )
        run = self._new_run(identity, arguments)
        activities = Activities(self._agenda, self._world)
        execution = Execution(workflow_id, run, activities, parent)
        self.executions[workflow_id] = execution
        execution.inbox.append(run.initial_job())
        return execution

    def _new_run(self, identity: Identity, arguments: Sequence[Payload]) -> WorkflowRun:
        return WorkflowRun(
            definition=self._workflows[identity.workflow_type],
            identity=identity,
            arguments=arguments,
            seed=self._random.getrandbits(63),
            started_at=self.now,
        )

    def _run_id(self, workflow_id: str) -> str:
        return f"run-{self._random.getrandbits(48):012x}-{workflow_id}"[:80]

    def _continue_as_new_workflow_execution(self, execution: Execution, command: Any) -> None:
        execution.end_run()
        # Their answers were for the run that is over.
        execution.children.clear()
        old = execution.run
        identity = replace(
            old.identity,
            run_id=self._run_id(execution.workflow_id),
            continued_from=old.identity.run_id,
        )
        execution.earlier.append(old)
        execution.run = self._new_run(identity, command.arguments)
        execution.events = 0
        # What came too late for the old run goes to the new one.
        later = [j for j in execution.inbox if j.WhichOneof("variant") in _FOR_THE_NEXT_RUN]
        execution.inbox[:] = [execution.run.initial_job(), *later]

    def _complete_workflow_execution(self, execution: Execution, command: Any) -> None:
        execution.result = command.result
        self._close(execution)

    def _fail_workflow_execution(self, execution: Execution, command: Any) -> None:
        execution.failure = error_of(command.failure)
        self._close(execution)

    def _cancel_workflow_execution(self, execution: Execution, _: Any) -> None:
        execution.failure = CancelledError("Workflow cancelled")
        self._close(execution)

    def _close(self, execution: Execution) -> None:
        execution.closed = True
        execution.end_run()
        for update in execution.updates.values():
            if not update.done:
                update.done, update.error = True, _ended()
        for child in execution.children.values():
            self._parent_closed(child)
        if execution.parent is not None:
            self._tell_parent(execution, *execution.parent)

    # Timers and activities.

    def _start_timer(self, execution: Execution, timer: Any) -> None:
        def fire() -> None:
            del execution.timers[timer.seq]
            execution.inbox.append(jobs.fired(timer.seq))

        delay = timer.start_to_fire_timeout.ToTimedelta()
        execution.timers[timer.seq] = self.after(delay, fire)

    def _cancel_timer(self, execution: Execution, cancel: Any) -> None:
        timer = execution.timers.pop(cancel.seq, None)
        if timer is not None:
            timer.drop()

    def _schedule_activity(self, execution: Execution, wanted: Any) -> None:
        execution.activities.schedule(execution.workflow_id, wanted, execution.inbox, local=False)

    def _schedule_local_activity(self, execution: Execution, wanted: Any) -> None:
        execution.activities.schedule(execution.workflow_id, wanted, execution.inbox, local=True)

    def _request_cancel_activity(self, execution: Execution, cancel: Any) -> None:
        execution.activities.cancel(cancel.seq)

    _request_cancel_local_activity = _request_cancel_activity

    # Other workflows.

    def _start_child_workflow_execution(self, execution: Execution, wanted: Any) -> None:
        if self._open(wanted.workflow_id) is not None:
            told = jobs.child_exists(wanted.seq, wanted.workflow_id, wanted.workflow_type)
            execution.inbox.append(told)
            return
        parent = (execution, wanted.seq)
        child = self._start(wanted.workflow_type, wanted.workflow_id, wanted.input, parent)
        child.close_policy = wanted.parent_close_policy
        execution.children[wanted.seq] = child
        execution.inbox.append(jobs.child_started(wanted.seq, child.run.identity.run_id))

    def _cancel_child_workflow_execution(self, execution: Execution, cancel: Any) -> None:
        child = execution.children.get(cancel.child_workflow_seq)
        if child is not None:
            self.cancel(child.workflow_id, cancel.reason)

    def _parent_closed(self, child: Execution) -> None:
        if child.closed or child.close_policy == ParentClosePolicy.PARENT_CLOSE_POLICY_ABANDON:
            return
        if child.close_policy == ParentClosePolicy.PARENT_CLOSE_POLICY_REQUEST_CANCEL:
            self.cancel(child.workflow_id, "by parent close policy")
            return
        child.failure = ApplicationError("terminated with its parent", type="Terminated")
        child.parent = None
        self._close(child)

    def _tell_parent(self, child: Execution, parent: Execution, seq: int) -> None:
        if parent.closed or parent.children.get(seq) is not child:
            return
        del parent.children[seq]
        told = jobs.child_ended(seq, child.run.identity, child.result, child.failure)
        parent.inbox.append(told)

    def _signal_external_workflow_execution(self, execution: Execution, wanted: Any) -> None:
        target = wanted.child_workflow_id or wanted.workflow_execution.workflow_id
        known = self._signal(target, wanted.signal_name, wanted.args)
        known = known or self._world.signalled(target, wanted.signal_name, wanted.args)
        why = None if known else ApplicationError("there is no such workflow", type="NotFound")
        execution.inbox.append(jobs.signal_sent(wanted.seq, why))

    def _request_cancel_external_workflow_execution(self, execution: Execution, to: Any) -> None:
        self.cancel(to.workflow_execution.workflow_id, to.reason)
        execution.inbox.append(jobs.cancel_sent(to.seq))

    def _signal(self, workflow_id: str, name: str, arguments: Sequence[Payload]) -> bool:
        execution = self._open(workflow_id)
        if execution is None:
            return False
        # The event of history that brings it: any number but none.
        event = execution.events + 1
        execution.inbox.append(jobs.signalled(name, arguments, event=event))
        return True

    def _update_response(self, execution: Execution, answer: Any) -> None:
        sent = execution.updates[answer.protocol_instance_id]
        if answer.HasField("accepted"):
            sent.accepted = True
        elif answer.HasField("completed"):
            sent.done, sent.value = True, answer.completed
        else:
            sent.done, sent.error = True, error_of(answer.rejected)


_EVENTS = {
    "schedule_activity": 3,
    "request_cancel_activity": 1,
    "schedule_local_activity": 1,
    "request_cancel_local_activity": 0,
    "start_timer": 2,
    "cancel_timer": 1,
    "start_child_workflow_execution": 3,
    "cancel_child_workflow_execution": 2,
    "signal_external_workflow_execution": 2,
    "request_cancel_external_workflow_execution": 2,
    "upsert_workflow_search_attributes": 1,
    "modify_workflow_properties": 1,
    "set_patch_marker": 1,
    "update_response": 1,
    "complete_workflow_execution": 1,
    "fail_workflow_execution": 1,
    "cancel_workflow_execution": 1,
    "continue_as_new_workflow_execution": 1,
}
"""The commands that are known, and how many events of history each comes to with its answer."""
_NOTHING_TO_DO = frozenset(
    {"upsert_workflow_search_attributes", "modify_workflow_properties", "set_patch_marker"}
)
_AT_ONCE = frozenset({"schedule_local_activity", "request_cancel_local_activity"})
_LAST = frozenset(
    {
        "complete_workflow_execution",
        "fail_workflow_execution",
        "cancel_workflow_execution",
        "continue_as_new_workflow_execution",
    }
)
_FOR_THE_NEXT_RUN = frozenset({"signal_workflow", "do_update", "cancel_workflow"})


def _ended() -> ApplicationError:
    return ApplicationError("the workflow has ended", type="NotFound")
