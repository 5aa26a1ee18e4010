"""`goalkeeper plan` says what the worker will say, and runs nothing."""

from pathlib import Path

import pytest

from goalkeeper.cli.session import DENIED
from tests.unit.cli.conftest import Cli

_ELSEWHERE = """
name: elsewhere
environment: development
tasks:
  - id: look
    uses: apps.preview
    credentials: {token: git-reader}
    with:
      app: shop
      environment: production
      repository: https://example.com/a.git
      commit: "0000000000000000000000000000000000000000"
"""
_BY_ITSELF = """
name: by-itself
environment: production
tasks:
  - id: pause
    uses: wait
    with: {for: PT5M}
  - id: read
    uses: goal
    needs: [pause]
    with:
      contract: read-file
      inputs: {repository: "https://example.com/a.git", path: README.md}
"""


@pytest.mark.parametrize("command", [("plan",), ("simulate", "--no-what-if")])
def test_what_the_worker_refuses_is_refused(
    cli: Cli, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """An operation on another environment than its goal's, whatever the policy file permits."""
    file = tmp_path / "elsewhere.yaml"
    file.write_text(_ELSEWHERE)
    ran = cli(*command, str(file))
    assert ran.code == DENIED
    assert "it would act on 'production', and the goal is for 'development'" in ran.out


@pytest.mark.parametrize("command", [("plan",), ("simulate", "--no-what-if")])
def test_policy_is_not_asked_about_what_the_workflow_does_itself(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """Waiting and starting another goal are no operations; that goal is judged on its own."""
    file, policy = tmp_path / "by-itself.yaml", tmp_path / "policy.cedar"
    file.write_text(_BY_ITSELF)
    policy.write_text('@id("git")\npermit (principal, action in Action::"git", resource);\n')
    monkeypatch.setenv("GOALKEEPER_POLICY", str(policy))
    ran = cli(*command, str(file))
    assert ran.code == 0
    assert "refused" not in ran.out
