"""What a workflow can be told: the jobs of an activation, each made in one place.

It makes them; who is told what and when is for the driver.
"""

from collections.abc import Sequence

from temporalio.api.common.v1 import Payload
from temporalio.bridge.proto.child_workflow import StartChildWorkflowExecutionFailedCause
from temporalio.bridge.proto.workflow_activation import WorkflowActivationJob
from temporalio.exceptions import CancelledError

from goalkeeper.simulation.conversion import AnyError, child_failure, failure_of
from goalkeeper.simulation.run import Identity

_EXISTS = (
    StartChildWorkflowExecutionFailedCause
).START_CHILD_WORKFLOW_EXECUTION_FAILED_CAUSE_WORKFLOW_ALREADY_EXISTS


def signalled(name: str, arguments: Sequence[Payload], *, event: int) -> WorkflowActivationJob:
    """A signal has come, as the so-and-so-manieth event of history."""
    job = WorkflowActivationJob()
    job.signal_workflow.signal_name = name
    job.signal_workflow.input.extend(arguments)
    job.signal_workflow.originating_event_id = event
    return job


def updated(ident: str, name: str, arguments: Sequence[Payload]) -> WorkflowActivationJob:
    """An update has come."""
    job = WorkflowActivationJob()
    job.do_update.id = job.do_update.protocol_instance_id = ident
    job.do_update.name = name
    job.do_update.input.extend(arguments)
    job.do_update.run_validator = True
    return job


def cancelled(reason: str) -> WorkflowActivationJob:
    """The workflow is to cancel."""
    job = WorkflowActivationJob()
    job.cancel_workflow.reason = reason
    return job


def queried(name: str) -> WorkflowActivationJob:
    """Somebody asks."""
    job = WorkflowActivationJob()
    job.query_workflow.query_id = "query"
    job.query_workflow.query_type = name
    return job


def fired(seq: int) -> WorkflowActivationJob:
    """A timer's time has come."""
    job = WorkflowActivationJob()
    job.fire_timer.seq = seq
    return job


def child_started(seq: int, run_id: str) -> WorkflowActivationJob:
    """A child has begun."""
    job = WorkflowActivationJob()
    job.resolve_child_workflow_execution_start.seq = seq
    job.resolve_child_workflow_execution_start.succeeded.run_id = run_id
    return job


def child_exists(seq: int, workflow_id: str, workflow_type: str) -> WorkflowActivationJob:
    """A child cannot begin, since a workflow of that id is running."""
    job = WorkflowActivationJob()
    started = job.resolve_child_workflow_execution_start
    started.seq = seq
    started.failed.workflow_id = workflow_id
    started.failed.workflow_type = workflow_type
    started.failed.cause = _EXISTS
    return job


def child_ended(
    seq: int, child: Identity, result: Payload | None, failure: AnyError | None
) -> WorkflowActivationJob:
    """A child has ended."""
    job = WorkflowActivationJob()
    ended = job.resolve_child_workflow_execution
    ended.seq = seq
    if failure is None:
        ended.result.completed.result.CopyFrom(result or Payload())
        return job
    seen = child_failure(child.workflow_type, child.workflow_id, child.run_id, failure)
    stopped = isinstance(failure, CancelledError)
    (ended.result.cancelled if stopped else ended.result.failed).failure.CopyFrom(seen)
    return job


def signal_sent(seq: int, failure: AnyError | None) -> WorkflowActivationJob:
    """A signal to another workflow has arrived, or has not."""
    job = WorkflowActivationJob()
    job.resolve_signal_external_workflow.seq = seq
    if failure is not None:
        job.resolve_signal_external_workflow.failure.CopyFrom(failure_of(failure))
    return job


def cancel_sent(seq: int) -> WorkflowActivationJob:
    """A request to cancel another workflow has arrived."""
    job = WorkflowActivationJob()
    job.resolve_request_cancel_external_workflow.seq = seq
    return job
