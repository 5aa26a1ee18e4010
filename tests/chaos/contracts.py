"""Goals that stop where a test wants to kill something.

Contracts only; what is done to the stack meanwhile is each test's own affair.
"""

from typing import Any

from goalkeeper.domain.contract import Contract

POLICY = """
@id("unattended")
@because("what is killed here must not wait for people")
permit (principal, action, resource == Environment::"development");

@id("attended")
@because("it is for production")
@approvals("1 of operators")
permit (principal, action, resource)
when { context.risk != "read" && action != Action::"notify.send" }
unless { resource == Environment::"development" || context.compensating };

@id("read-and-tell")
permit (principal, action, resource)
when { context.risk == "read" || action == Action::"notify.send" || context.compensating };
"""
"""What is killed must not wait for people, unless a test wants that."""
GO = "/workspace/go"
HELD = "begun and waiting"

_REPOSITORY = "${{ inputs.repository }}"
_DESCRIBE: dict[str, Any] = {
    "id": "describe",
    "uses": "git.describe_branch",
    "with": {"repository": _REPOSITORY, "branch": "${{ inputs.branch }}"},
    "credentials": {"token": "git-reader"},
}
_HOLD: dict[str, Any] = {
    "id": "hold",
    "uses": "sandbox.run",
    "with": {
        "command": [
            "sh",
            "-c",
            f"echo {HELD}; until [ -e {GO} ]; do sleep 0.1; done; echo ended",
        ],
        "source": {"repository": _REPOSITORY, "commit": "${{ tasks.describe.commit }}"},
    },
    "credentials": {"token": "git-reader"},
}
_MERGE: dict[str, Any] = {
    "id": "merge",
    "uses": "git.merge_branch",
    "with": {
        "repository": _REPOSITORY,
        "branch": "${{ inputs.branch }}",
        "expected_commit": "${{ tasks.describe.commit }}",
        "message": "Merge what survived",
    },
    "credentials": {"token": "git-writer"},
}
_TELL: dict[str, Any] = {
    "id": "tell",
    "uses": "notify.send",
    "with": {"message": "merged as ${{ tasks.merge.commit }}"},
}


def _contract(name: str, *tasks: dict[str, Any]) -> Contract:
    return Contract.model_validate(
        {
            "name": name,
            "environment": "${{ inputs.environment }}",
            "inputs": {"repository": {}, "branch": {}, "environment": {"default": "development"}},
            "tasks": list(tasks),
        }
    )


MERGE = _contract("merge-and-tell", _DESCRIBE, _MERGE, _TELL)
"""Asks people when the environment is production."""
HELD_MERGE = _contract("held-merge", _DESCRIBE, _HOLD, {**_MERGE, "needs": ["hold"]}, _TELL)
"""Has a command in a sandbox that ends once `GO` is there, and a credential for as long."""
