"""Cases: what a policy must answer, and whether it does."""

import re
from pathlib import Path

import pytest

from connectors.registry import known_operations
from goalkeeper.domain.errors import InvalidSettings
from goalkeeper.policy import PolicyEngine
from goalkeeper.policy.cases import Tried, read_cases, try_case
from goalkeeper.policy.shipped import PHASES, read_cases_text

OPERATIONS = known_operations()
HEAD = "cases:\n  - name: one\n    operation: apps.deploy\n    environment: production\n"


def tried(text: str, policy: PolicyEngine | None = None) -> list[Tried]:
    """Each case against a policy, the shipped one unless said."""
    engine = policy or PolicyEngine.load()
    cases = read_cases(text, "c.yaml", OPERATIONS)
    return [try_case(case, engine, OPERATIONS) for case in cases]


@pytest.mark.parametrize("phase", [None, *PHASES])
def test_each_shipped_policy_answers_its_cases(phase: str | None) -> None:
    """And each of its rules decides at least one of them."""
    source = Path(f"phase:{phase}") if phase else None
    policy = PolicyEngine.load(source)
    cases = read_cases(*read_cases_text(source, None), OPERATIONS)
    for case in cases:
        answer = try_case(case, policy, OPERATIONS)
        assert answer.passed, answer
    said = {reason for c in cases for reason in try_case(c, policy, OPERATIONS).reasons}
    assert said == {r.sentence for r in policy.rules.values()}


def test_the_cases_of_the_documentation_pass_on_its_example() -> None:
    """Both are what people copy first."""
    page = (Path(__file__).parents[3] / "docs" / "policy.md").read_text()
    policy, cases = (
        "\n".join(re.findall(rf"^```{kind}\n(.*?)^```$", page, re.M | re.S))
        for kind in ("cedar", "yaml")
    )
    answers = tried(cases, PolicyEngine(policy))
    assert len(answers) == 2
    assert [a.wrong for a in answers] == ["", ""]


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        ("    expect: ask\n", ""),
        ("    expect: ask\n    approvals: 1 of operators\n", ""),
        ("    expect: ask\n    rules: [ask-for-the-rest]\n", ""),
        ("    expect: allow\n", "expected allow, and it is ask"),
        ("    expect: ask\n    approvals: 2 of operators\n", "it asks 1 of operators"),
        ("    expect: ask\n    approvals: 1 of security\n", "it asks 1 of operators"),
        ("    expect: ask\n    rules: [read]\n", "decided by ask-for-the-rest"),
        ("    expect: ask\n    rules: []\n", "decided by ask-for-the-rest"),
        ("    expect: deny\n    risk: read\n", "expected deny, and it is allow"),
    ],
)
def test_a_case_passes_only_when_all_that_it_says_is_so(lines: str, wrong: str) -> None:
    """And what differs is told, with policy's reasons."""
    (answer,) = tried(HEAD + lines)
    assert answer.passed is (not wrong)
    assert wrong in answer.wrong
    assert answer.reasons


def test_a_case_sees_what_a_worker_would_hand_in() -> None:
    """Person, groups, contract, roles and inputs."""
    policy = PolicyEngine(
        'permit (principal == Person::"ann", action, resource) when { principal in Group::"dev"'
        ' && context.contract == "c" && context.roles.contains("r")'
        ' && context.inputs has app && context.inputs.app == "web" };'
    )
    whole = HEAD + "    who: ann\n    groups: [dev]\n    contract: c\n    roles: [r]\n"
    whole += "    inputs: {app: web}\n    expect: allow\n"
    assert tried(whole, policy)[0].passed
    for line in ("who: ann", "groups: [dev]", "contract: c", "roles: [r]", "inputs: {app: web}"):
        assert not tried(whole.replace(f"    {line}\n", ""), policy)[0].passed
    assert not tried(whole + "    proven: false\n", policy)[0].passed


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cases: []\n", "c.yaml:1"),
        (HEAD + "    expect: maybe\n", "c.yaml:5"),
        (HEAD + "    expect: ask\n    expects: x\n", "c.yaml:6"),
        (HEAD.replace("deploy", "deplyo") + "    expect: ask\n", "did you mean 'apps.deploy'?"),
        (HEAD + "    expect: ask\n    inputs: {ap: web}\n", "has no input 'ap'"),
        (HEAD + "    expect: ask\n    inputs: {environment: x}\n", "another environment"),
        (HEAD + "    expect: ask\n    approvals: two\n", "write for example"),
        (HEAD + "    expect: allow\n    approvals: 1 of a\n", "expected to 'ask'"),
    ],
)
def test_a_case_that_tests_nothing_is_refused_at_its_line(text: str, says: str) -> None:
    """A misspelt case would pass for ever."""
    with pytest.raises(InvalidSettings, match=r"c\.yaml:\d+") as caught:
        read_cases(text, "c.yaml", OPERATIONS)
    assert says in caught.value.message


def test_cases_are_found_beside_their_policy(tmp_path: Path) -> None:
    """Or where one says; when there are none, one is told what to do."""
    policy = tmp_path / "mine.cedar"
    with pytest.raises(InvalidSettings, match=r"mine\.cases\.yaml.*--cases"):
        read_cases_text(policy, None)
    (tmp_path / "mine.cases.yaml").write_text("beside")
    (tmp_path / "other.yaml").write_text("named")
    assert read_cases_text(policy, None)[0] == b"beside"
    assert read_cases_text(policy, tmp_path / "other.yaml")[0] == b"named"
