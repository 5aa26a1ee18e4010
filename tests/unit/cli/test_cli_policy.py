"""`goalkeeper policy`: to read, check, test and explain a policy, without a running stack."""

from pathlib import Path

import pytest

from goalkeeper.cli.session import DENIED, FAILED, USAGE
from goalkeeper.policy.shipped import PHASES
from tests.unit.cli.conftest import Cli

GOOD = '@id("all") @because("why not") permit (principal, action, resource);\n'
CASE = "cases:\n  - {name: it goes, operation: apps.deploy, environment: moon, expect: allow}\n"


@pytest.mark.parametrize("name", PHASES)
def test_show_prints_a_phase_that_works_as_a_file(cli: Cli, name: str, tmp_path: Path) -> None:
    """So that a copy is the start of one's own."""
    ran = cli("policy", "show", f"phase:{name}")
    assert ran.code == 0
    copy = tmp_path / "mine.cedar"
    copy.write_text(ran.out)
    assert cli("policy", "check", str(copy)).code == 0


def test_without_a_name_it_is_the_policy_of_the_settings(cli: Cli, tmp_path: Path) -> None:
    """For show, check and test alike."""
    assert '@id("ask-for-the-rest")' in cli("policy", "show").out
    (tmp_path / "settings.toml").write_text('policy = "phase:read-only"\n')
    assert "nothing-changes-yet" in cli("policy", "show").out
    assert "nothing-changes-yet" in cli("policy", "check").out
    assert "nothing-changes-yet" in cli("policy", "test").out


def test_check_tells_what_the_rules_do(cli: Cli) -> None:
    """With whom they ask, and why."""
    ran = cli("policy", "check")
    assert (ran.code, ran.err) == (0, "")
    assert "asks 1 of operators, within 4 h" in ran.out
    assert cli("policy", "check", "--json").json["problems"] == []


def test_check_says_what_is_wrong_and_where(cli: Cli, tmp_path: Path) -> None:
    """And fails."""
    file = tmp_path / "mine.cedar"
    file.write_text(GOOD + '\n@id("x") forbid (principal, action == Action::"git.psh", resource);')
    ran = cli("policy", "check", str(file))
    assert ran.code == FAILED
    assert f"{file}:3:" in ran.out
    assert "there is no operation or service 'git.psh'" in ran.out
    assert cli("policy", "check", str(file), "--json").json["problems"][0]["line"] == 3
    assert cli("policy", "check", str(tmp_path / "none.cedar")).code == USAGE


def test_check_knows_the_groups_of_the_identities_file(cli: Cli, tmp_path: Path) -> None:
    """A warning does not make it fail."""
    people = tmp_path / "identities.yaml"
    people.write_text('version: "1"\npeople:\n  - {id: ann, name: Ann, groups: [oncall]}\n')
    people.chmod(0o600)
    ran = cli("policy", "check")
    assert ran.code == 0
    assert "warning: nobody of the identities file is in operators" in ran.err


def test_test_compares_answers_with_cases(cli: Cli, tmp_path: Path) -> None:
    """And fails when one differs."""
    file, cases = tmp_path / "mine.cedar", tmp_path / "mine.cases.yaml"
    file.write_text(GOOD)
    cases.write_text(CASE)
    ran = cli("policy", "test", str(file))
    assert ran.code == 0
    assert "pass  it goes" in ran.out
    cases.write_text(CASE.replace("allow", "deny"))
    ran = cli("policy", "test", str(file), "--cases", str(cases))
    assert ran.code == FAILED
    assert "expected deny, and it is allow; why not (all)" in ran.out
    assert cli("policy", "test", str(file), "--json").json[0]["passed"] is False


def test_schema_names_every_operation_and_its_inputs(cli: Cli) -> None:
    """For editors that know Cedar."""
    printed = cli("policy", "schema").out
    assert 'action "git.merge_branch" in ["git"]' in printed
    assert '"replicas"?: Long' in printed


_DEPLOY = ("deploy-branch", "repository=https://e.example/s.git", "branch=b", "app=web")


def test_explain_says_who_is_asked_by_which_rule_and_what_came_near(cli: Cli) -> None:
    """Without a running stack; somebody unproven needs one approver more."""
    ran = cli("policy", "explain", *_DEPLOY)
    assert ran.code == 0
    assert "asks 2 of operators, within 4 h  one more, since who asks is unproven" in ran.out
    assert "asked about at 'approve'" in ran.out
    assert "write-in-development permits it only where the environment is 'development'" in ran.out
    tasks = {t["task"]: t for t in cli("policy", "explain", *_DEPLOY, "--json").json["tasks"]}
    assert tasks["deploy"]["rules"] == ["ask-for-the-rest"]
    assert tasks["deploy"]["verdict"]["requirement"]["approvals"] == 1


def test_explain_judges_by_another_policy(cli: Cli, tmp_path: Path) -> None:
    """A phase or a file; a refusal has the exit code of `plan`."""
    ran = cli("policy", "explain", *_DEPLOY, "--policy", "phase:read-only")
    assert ran.code == DENIED
    assert "in the phase 'read-only' goals change nothing" in ran.out
    file = tmp_path / "mine.cedar"
    file.write_text(
        GOOD + '@id("image") @approvals("3 of ops") permit (principal, action, resource)'
        ' when { context.inputs has image && context.inputs.image like "x*" };'
    )
    ran = cli("policy", "explain", *_DEPLOY, "--policy", str(file))
    assert ran.code == 0
    assert "perhaps image asks 3 of ops depending on 'image'" in ran.out


def test_explain_reads_a_plan_that_was_written_down(cli: Cli, tmp_path: Path) -> None:
    """As `plan --json` writes it, and nothing else."""
    file = tmp_path / "plan.json"
    file.write_text(cli("plan", *_DEPLOY, "--json").out)
    assert cli("policy", "explain", str(file)).out == cli("policy", "explain", *_DEPLOY).out
    assert "has its inputs already" in cli("policy", "explain", str(file), "a=b").err
    for wrong in ("[]", "{}", "no", '{"plan": {"tasks": 3}}', "3"):
        file.write_text(wrong)
        ran = cli("policy", "explain", str(file))
        assert (ran.code, "is not a plan" in ran.err) == (USAGE, True)
    assert cli("policy", "explain", str(tmp_path / "none.json")).code == USAGE
