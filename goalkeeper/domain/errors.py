r"""Every error that Goalkeeper raises on purpose.

::

    GoalkeeperError
    ├ TransientError            retrying helps
    │ ├ VaultUnavailable
    │ ├ ServiceUnavailable
    │ ├ RateLimited             knows retry_after
    │ ├ EngineUnavailable       the Docker Engine does not answer
    │ └ StoreUnavailable        audit, evidence or ledger could not be written
    └ PermanentError            retrying does not help
      ├ InvalidGoal             the request itself is wrong
      ├ InvalidContract         knows file, line and column
      ├ InvalidSettings         settings, identities or policy file
      ├ NotFound
      ├ Conflict                the world moved since it was looked at
      ├ CredentialDenied
      ├ PolicyDenied
      ├ ApprovalNeeded          policy asks for people, and no grant came with the action
      ├ ApprovalDenied
      ├ ApprovalExpired
      ├ GrantMismatch           what would run is not what was approved
      ├ GrantSpent
      ├ NotAllowed              this person may not do that
      ├ OperationFailed         the operation ran and its answer is no
      ├ CheckFailed             a test, linter or health check said no
      ├ SandboxLimitExceeded
      ├ NothingToUndo           a goal to roll back left nothing
      ├ OutcomeUnknown          an attempt was lost in mid side effect
      ├ PayloadUnreadable       what Temporal holds does not open with this installation's keys
      └ AuditBroken             the audit log does not verify

A message says what failed, what it means and what to do; it quotes identifiers, holds no secret
and no raw answer of another system, and is bounded. The code is the class's name.
"""

from datetime import timedelta
from typing import Any, ClassVar

MESSAGE_LIMIT = 2000


class GoalkeeperError(Exception):
    """The root: an error with a code and a message meant for people."""

    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        self.message = (
            message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 1] + "…"
        )
        self.details: dict[str, Any] = {}
        """JSON that goes with it, for example ``evidence``: what an attempt left behind."""
        super().__init__(self.message)

    @property
    def code(self) -> str:
        """The stable name that scripts, retry policies and audit events use."""
        return type(self).__name__


class TransientError(GoalkeeperError):
    """The same call may succeed later."""

    retryable = True


class VaultUnavailable(TransientError):
    """Vault is sealed, unreachable or answers with a server error."""


class ServiceUnavailable(TransientError):
    """A service did not answer, or answered that it cannot for now."""


class RateLimited(TransientError):
    """A service asked us to wait."""

    def __init__(self, message: str, *, retry_after: timedelta) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class EngineUnavailable(TransientError):
    """The Docker Engine does not answer."""


class StoreUnavailable(TransientError):
    """The audit, evidence or ledger store could not be read or written: a full disk, say."""


class PermanentError(GoalkeeperError):
    """The same call would fail again."""


class InvalidGoal(PermanentError):
    """The goal's inputs are wrong, or it names what does not exist."""


class InvalidContract(PermanentError):
    """A contract does not compile; the message carries ``file:line:column`` and the line."""


class InvalidSettings(PermanentError):
    """A settings, identities or policy file is wrong."""


class NotFound(PermanentError):
    """What was asked for is not there."""


class Conflict(PermanentError):
    """The world is no longer what it was when it was looked at."""


class CredentialDenied(PermanentError):
    """Vault's policy forbids this credential here."""


class PolicyDenied(PermanentError):
    """Policy refuses the action."""


class ApprovalNeeded(PermanentError):
    """Policy wants people to approve this action, and nobody has been asked yet."""


class ApprovalDenied(PermanentError):
    """A person said no."""


class ApprovalExpired(PermanentError):
    """Nobody decided in time, which means no."""


class GrantMismatch(PermanentError):
    """What would run is not what was approved, or nobody approved it."""


class GrantSpent(PermanentError):
    """The approval was used before, by something else."""


class NotAllowed(PermanentError):
    """This person may not do that."""


class OperationFailed(PermanentError):
    """The operation ran and its answer is no."""


class CheckFailed(PermanentError):
    """A test, a linter or a health check said no."""


class SandboxLimitExceeded(PermanentError):
    """A sandboxed command went over its time, memory or output."""


class OutcomeUnknown(PermanentError):
    """An attempt was lost in the middle of a side effect that must not be repeated blindly."""


class PayloadUnreadable(PermanentError):
    """A sealed payload does not open: its key is not known here, or it was changed."""


class NothingToUndo(PermanentError):
    """The goal to be rolled back left nothing that can be undone."""


class AuditBroken(PermanentError):
    """The audit log does not verify; the message names the first bad entry."""


def all_errors() -> dict[str, type[GoalkeeperError]]:
    """Every class above by its code."""
    found: dict[str, type[GoalkeeperError]] = {}
    queue: list[type[GoalkeeperError]] = [GoalkeeperError]
    while queue:
        cls = queue.pop()
        found[cls.__name__] = cls
        queue.extend(cls.__subclasses__())
    return found


def from_code(code: str, message: str) -> GoalkeeperError:
    """The error with that code again, after it crossed a process boundary.

    An unknown code, from a newer version say, becomes an `OperationFailed` that names it.
    """
    cls = all_errors().get(code)
    if cls is None:
        return OperationFailed(f"{code}: {message}")
    if cls is RateLimited:
        return RateLimited(message, retry_after=timedelta(seconds=1))
    return cls(message)
