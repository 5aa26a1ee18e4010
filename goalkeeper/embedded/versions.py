"""Which version of the workers Temporal gives goals to, where versions are told apart.

It changes nothing: people make a version current when its workers run.
"""

import shlex
from datetime import timedelta

from temporalio.api.workflowservice.v1 import DescribeWorkerDeploymentRequest
from temporalio.service import ConnectConfig, RPCError, RPCStatusCode, ServiceClient

from goalkeeper.domain.errors import ServiceUnavailable
from goalkeeper.settings import DEPLOYMENT, Settings

_CALL = timedelta(seconds=5)


async def current_version(settings: Settings) -> str:
    """A sentence on the current version, when it is the one that the settings name.

    Raises:
        ServiceUnavailable: it is not current, so new goals wait or go to other workers; or
            Temporal does not answer.
    """
    mine = settings.deployment_version
    current = await _current(settings)
    if current == mine:
        return f"version '{mine}' is current"
    meanwhile = f"goals go to version '{current}'" if current else "all goals wait"
    command = shlex.join(
        (
            *("temporal", "worker", "deployment", "set-current-version", "--yes"),
            *("--deployment-name", DEPLOYMENT, "--build-id", str(mine)),
            *("--address", settings.temporal_address, "--namespace", settings.temporal_namespace),
        )
    )
    raise ServiceUnavailable(
        f"worker version '{mine}' is not current, so {meanwhile}. "
        f"Once a worker of this version runs: {command}"
    )


async def _current(settings: Settings) -> str | None:
    try:
        client = await ServiceClient.connect(ConnectConfig(target_host=settings.temporal_address))
        found = await client.workflow_service.describe_worker_deployment(
            DescribeWorkerDeploymentRequest(
                namespace=settings.temporal_namespace, deployment_name=DEPLOYMENT
            ),
            timeout=_CALL,
        )
    except (RPCError, RuntimeError) as error:
        if isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise ServiceUnavailable(
            f"Temporal at {settings.temporal_address} does not say which worker version is current"
        ) from None
    routing = found.worker_deployment_info.routing_config
    return routing.current_deployment_version.build_id or None
