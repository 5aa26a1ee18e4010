"""The embedded stack: Temporal, Vault, worker and gateway on one machine, under one supervisor.

It may not hold anything of its own that the servers do not keep.
"""

from goalkeeper.embedded.doctor import Check, doctor
from goalkeeper.embedded.openbao import OpenBaoServer
from goalkeeper.embedded.ports import Ports
from goalkeeper.embedded.stack import down, put_credential, status, up
from goalkeeper.embedded.state import ServiceState, ServiceStatus, StackStatus
from goalkeeper.embedded.temporal import TemporalServer

__all__ = [
    "Check",
    "OpenBaoServer",
    "Ports",
    "ServiceState",
    "ServiceStatus",
    "StackStatus",
    "TemporalServer",
    "doctor",
    "down",
    "put_credential",
    "status",
    "up",
]
