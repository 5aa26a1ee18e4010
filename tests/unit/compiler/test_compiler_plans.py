import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goalkeeper.domain.compiler import compile_contract
from goalkeeper.domain.contract import Contract
from goalkeeper.domain.errors import InvalidContract
from goalkeeper.domain.plan import Plan
from tests.unit.compiler.making import made, made_from, note, task
from tests.unit.compiler.operations import OPERATIONS

_PLAIN = st.text().filter(lambda text: "${{" not in text)


@st.composite
def dags(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Tasks in random order, with random needs and references that make no circle."""
    count = draw(st.integers(1, 25))
    tasks = []
    for i in range(count):
        earlier = st.integers(0, max(0, i - 1))
        needs = draw(st.lists(earlier, unique=True, max_size=4)) if i else []
        inputs: dict[str, Any] = draw(
            st.fixed_dictionaries({}, optional={"text": _PLAIN, "anything": st.integers(0, 9)})
        )
        if i and draw(st.booleans()):
            inputs["number"] = f"${{{{ tasks.t{draw(earlier)}.number }}}}"
        tasks.append(note(f"t{i}", *(f"t{n}" for n in needs), **inputs))
    return draw(st.permutations(tasks))


@given(dags())
def test_every_task_stands_after_what_it_needs(tasks: list[dict[str, Any]]) -> None:
    """The plan is in topological order and loses no task."""
    plan = made(*tasks)
    position = {t.id: i for i, t in enumerate(plan.tasks)}
    assert set(position) == {t["id"] for t in tasks}
    assert all(position[n] < position[t.id] for t in plan.tasks for n in t.needs)


@given(dags())
def test_a_plan_survives_json(tasks: list[dict[str, Any]]) -> None:
    """What goes into Temporal comes out the same, and so does its digest."""
    plan = made(*tasks)
    again = Plan.model_validate_json(plan.model_dump_json())
    assert again == plan
    assert again.digest == plan.digest


def _shuffled(value: Any, chance: random.Random) -> Any:
    if isinstance(value, dict):
        items = list(value.items())
        chance.shuffle(items)
        return {k: _shuffled(v, chance) for k, v in items}
    return value


@given(dags(), st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_change_the_digest(
    tasks: list[dict[str, Any]], chance: random.Random
) -> None:
    """A digest is of what is said, not of how it is laid out."""
    assert made(*(_shuffled(t, chance) for t in tasks)).digest == made(*tasks).digest


def test_independent_tasks_keep_the_order_of_the_contract() -> None:
    """Ties are broken by position, so a plan reads like its contract."""
    plan = made(note("c"), note("a"), note("b", "z"), note("z"))
    assert [t.id for t in plan.tasks] == ["c", "a", "z", "b"]


def test_a_reference_is_a_need() -> None:
    """What an expression names is waited for without saying so."""
    plan = made(note("b", text="${{ tasks.a.text }}"), note("a"))
    assert task(plan, "b").needs == ("a",)
    assert task(plan, "b").bindings == {"/text": "tasks.a.text"}
    assert task(plan, "b").inputs["text"] is None


def test_needs_that_are_named_twice_count_once() -> None:
    """By name and by expression is one need."""
    assert task(made(note("a"), note("b", "a", "a", text="${{ tasks.a.text }}")), "b").needs == (
        "a",
    )


def test_needs_stand_in_the_order_of_the_contract() -> None:
    """However they were found, so that the digest does not depend on it."""
    plan = made(*(note(f"t{i}") for i in range(20)), note("z", "t16", "t8", "t1", "t9"))
    assert task(plan, "z").needs == ("t1", "t8", "t9", "t16")


def test_a_rule_across_fields_waits_until_all_of_them_are_known() -> None:
    """What is bound counts as neither there nor missing."""
    plan = made(note("a"), note("b", wait=5, text="${{ tasks.a.text }}"))
    assert task(plan, "b").inputs["wait"] == 5
    with pytest.raises(InvalidContract, match="a wait needs a text"):
        made(note("a"), note("b", wait=5))


def test_a_number_of_seconds_may_become_a_duration() -> None:
    """Durations are written as text or as a number."""
    plan = made(note("a"), note("b", text="x", wait="${{ tasks.a.number }}"))
    assert task(plan, "b").bindings == {"/wait": "tasks.a.number"}


def test_defaults_are_written_out_so_that_the_digest_covers_them() -> None:
    """A plan does not change its meaning when an operation's defaults change."""
    ran = made(
        {
            "id": "run",
            "uses": "sandbox.run",
            "with": {"command": ["x"], "source": {"repository": "r", "commit": "c"}},
        }
    ).tasks[0]
    assert ran.inputs["timeout"] == "PT5M"
    assert ran.inputs["expect_exit"] == [0]
    assert ran.inputs["source"] == {"repository": "r", "commit": "c", "path": ""}


def test_the_operation_says_what_the_task_is() -> None:
    """Risk and its like come from the operation, never from the contract."""
    merge = made(
        {
            "id": "merge",
            "uses": "git.merge_branch",
            "summary": "Merge.",
            "with": {
                k: "x" for k in ("repository", "branch", "base", "expected_commit", "message")
            },
            "credentials": {"token": "git-writer"},
            "timeout": 60,
            "retry": {"maximum_attempts": 2},
            "priority": 1,
        }
    ).tasks[0]
    assert (merge.risk, merge.idempotent, merge.quick) == ("write", True, False)
    assert merge.compensation == "git.revert_merge"
    assert merge.start_to_close_timeout.total_seconds() == 60
    assert (merge.retry.maximum_attempts, merge.priority, merge.summary) == (2, 1, "Merge.")


WRONG = {
    "a circle": (
        [note("a", "c"), note("b", "a"), note("c", "b"), note("d", "a")],
        "a → c → b → a",
    ),
    "a task that needs itself": ([note("a", "a")], "a → a"),
    "a circle through an expression": (
        [note("a", text="${{ tasks.b.text }}"), note("b", "a")],
        "a → b → a",
    ),
    "a duplicate id": ([note("a"), note("a")], "'a' is taken"),
    "an unknown need": ([note("alpha"), note("b", "alpah")], "did you mean 'alpha'?"),
    "an unknown operation": ([{"id": "a", "uses": "note.tkae"}], "did you mean 'note.take'?"),
    "a misspelt approval": ([{"id": "a", "uses": "aproval"}], "did you mean 'approval'?"),
    "an unknown input key": ([note("a", txt="x")], "did you mean 'text'?"),
    "an unknown input key that is bound": (
        [note("a"), note("b", txt="${{ tasks.a.text }}")],
        "did you mean 'text'?",
    ),
    "an input of the wrong type": ([note("a", number="many")], "must be a whole number"),
    "a missing input": (
        [{"id": "a", "uses": "git.read_file", "credentials": {"token": "r"}}],
        "'repository' is missing",
    ),
    "an unknown task in an expression": (
        [note("alpha"), note("b", text="${{ tasks.alpah.text }}")],
        "did you mean 'alpha'?",
    ),
    "an unknown output": (
        [note("a"), note("b", text="${{ tasks.a.txt }}")],
        "did you mean 'text'?",
    ),
    "an unknown output of an output": (
        [note("a"), note("b", text="${{ tasks.a.many[0].imgae }} ${{ tasks.a.text.x }}")],
        "'tasks.a.text' (note.take) has no field 'x'",
    ),
    "an output of the wrong type": (
        [note("a"), note("b", number="${{ tasks.a.text }}")],
        "takes integer, and this is string",
    ),
    "text where a number is wanted": (
        [note("a"), note("b", number="n${{ tasks.a.number }}")],
        "and this is string",
    ),
    "an undeclared input": ([note("a", text="${{ inputs.x }}")], "declares no input 'x'"),
    "an expression in a key": ([note("a", anything={"${{ inputs.x }}": 1})], "not in keys"),
    "an expression in a command": (
        [{"id": "a", "uses": "sandbox.run", "with": {"command": ["sh", "-c", "${{ inputs.x }}"]}}],
        "pass values by `environment:`",
    ),
    "an unknown credential": (
        [
            {
                "id": "a",
                "uses": "sandbox.run",
                "credentials": {"tokn": "r"},
                "with": {"command": "x"},
            }
        ],
        "did you mean 'token'?",
    ),
    "a missing credential": (
        [{"id": "a", "uses": "git.read_file", "with": {"repository": "r", "path": "p"}}],
        "needs the credential 'token'",
    ),
    "covers without approval": ([{**note("a"), "covers": ["a"]}], "takes no `covers:`"),
}


@pytest.mark.parametrize("case", WRONG)
def test_refuses_a_contract_that_cannot_work(case: str) -> None:
    """Whatever would fail in the middle of a goal fails before it begins, with the remedy."""
    tasks, words = WRONG[case]
    with pytest.raises(InvalidContract) as refused:
        made(*tasks)
    assert words in refused.value.message


def test_messages_carry_the_place_in_the_file() -> None:
    """With a text at hand, each problem points into it."""
    text = (
        "name: demo\ntasks:\n- id: a\n  uses: note.take\n- id: b\n  uses: note.tak\n  needs: [aa]\n"
        "  with:\n    text: ${{ tasks.a.txt }}\n- id: c\n  uses: note.take\n  with: {numbr: 1}\n"
    )
    with pytest.raises(InvalidContract) as refused:
        made_from(text)
    assert "demo.yaml:6:9: there is no operation 'note.tak'" in refused.value.message
    assert "demo.yaml:7:11: there is no task 'aa'" in refused.value.message
    fixed = text.replace("note.tak\n", "note.take\n").replace("[aa]", "[a]")
    with pytest.raises(InvalidContract, match=r"demo\.yaml:9:11: 'tasks.a' .* has no field 'txt'"):
        made_from(fixed)
    with pytest.raises(InvalidContract, match=r"demo\.yaml:12:10: unknown key 'numbr'"):
        made_from(fixed.replace("a.txt", "a.text"))


def test_messages_name_the_task_where_there_is_no_file() -> None:
    """A contract given whole is described in words."""
    with pytest.raises(
        InvalidContract, match=r"contract 'demo', task 'a', with\.x: unknown key 'x'"
    ):
        made(note("a", x=1))


def test_many_problems_are_told_together_and_bounded() -> None:
    """Ten at once, however many there are."""
    with pytest.raises(InvalidContract) as refused:
        made(*(note(f"t{i}", "nobody") for i in range(500)))
    assert refused.value.message.count("contract 'demo'") == 10


def test_a_large_contract_compiles() -> None:
    """Ten thousand tasks, each with needs and expressions, within the recursion limit."""
    tasks = [note("t0", text="x")] + [
        note(f"t{i}", f"t{i // 2}", text=f"${{{{ tasks.t{i - 1}.text }}}}")
        for i in range(1, 10_000)
    ]
    contract = Contract.model_validate({"name": "big", "tasks": tasks})
    plan = compile_contract(contract, {}, OPERATIONS)
    assert [t.id for t in plan.tasks[-2:]] == ["t9998", "t9999"]


def test_retrying_what_is_not_idempotent_is_for_the_worker_to_guard() -> None:
    """The contract may say so; an unknown outcome is still never repeated blindly."""
    told = {"id": "a", "uses": "notify.send", "with": {"message": "x"}}
    plan = made({**told, "retry": {"maximum_attempts": 5}})
    assert (plan.tasks[0].idempotent, plan.tasks[0].retry.maximum_attempts) == (False, 5)
