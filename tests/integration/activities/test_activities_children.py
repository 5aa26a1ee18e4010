"""Child goals: who is one, on whose behalf it acts, and how its parent undoes it."""

from typing import Any

from goalkeeper.contracts.goal import GoalInput, ParentGoal
from goalkeeper.domain.plan import GOAL
from goalkeeper.ledger import Undo
from tests.integration.activities.standing_in import SCRIPTS, Desk, StandIn, carry_out
from tests.support.engine import plan_of


def one(**more: Any) -> GoalInput:
    """A goal of one write in development."""
    definition = plan_of({"id": "act", "uses": "fake.write", "with": {"value": 1}})
    return GoalInput(definition=definition, **more)


def below(goal_id: str, task: str = "sub", root: str | None = None) -> ParentGoal:
    """A child of it."""
    return ParentGoal(goal_id=goal_id, task_id=task, root=root or goal_id)


def starting(ident: str, child: GoalInput) -> Any:
    """A parent that is planned, and starts a child on its own attestation."""

    async def script(self: StandIn, goal: GoalInput) -> Any:
        await self.plan(goal)
        known = {"requester": goal.requester, "attestation": goal.attestation}
        return await self.child(child.model_copy(update=known), ident)

    return script


async def planned_of(self: StandIn, goal: GoalInput) -> Any:
    """Only plan."""
    planned = await self.plan(goal)
    return {"proven": planned.requester.proven, "id": planned.requester.id}


async def parent(desk: Desk, child: GoalInput, task: str = "sub.0", **scripts: Any) -> Any:
    """Run a child as a goal's task, on the attestation of the goal."""
    top = desk.new()
    ident = f"{top}--{task}"
    SCRIPTS[ident] = scripts.get("script", planned_of)
    goal = await desk.attested(one(), top)
    started = child.model_copy(update={"parent": child.parent or below(top)})
    return await desk.run(goal, top, starting(ident, started))


async def test_a_child_acts_for_the_person_who_asked_for_the_goal_at_the_top(desk: Desk) -> None:
    """On the attestation of that goal; what it does is its own, and on record under its id."""
    assert await parent(desk, one()) == {"proven": True, "id": "dana"}
    result = await parent(desk, one(), script=carry_out)
    assert result["state"] == "Succeeded"
    assert result["tasks"][0]["outputs"] == {"value": 1}


async def test_a_child_of_another_goal_or_task_is_refused(desk: Desk) -> None:
    """Temporal knows whose child it is, and its id which task's."""
    for said in (below("act-other"), below("act-other", root="act-other")):
        refused = await parent(desk, one(parent=said))
        assert refused.startswith("GrantMismatch: ")
        assert "Temporal does not confirm" in refused
    assert "Temporal does not confirm" in await parent(desk, one(), task="other.0")


async def test_an_item_of_a_list_may_be_a_child(desk: Desk) -> None:
    """Its id says which."""
    top = desk.new()
    ident = f"{top}--sub.3.1"
    SCRIPTS[ident] = planned_of
    child = one(parent=below(top, "sub.3"))
    goal = await desk.attested(one(), top)
    assert (await desk.run(goal, top, starting(ident, child)))["proven"]


async def test_a_goal_that_nobody_started_as_a_child_is_none(desk: Desk) -> None:
    """Neither by what it says nor by its id; nor does its ancestor's attestation help."""
    top = desk.new()
    attested = await desk.attested(one(), top)
    forged = one(parent=below(top), requester="dana", attestation=attested.attestation)
    ident = f"{top}--sub.0"
    assert "Temporal does not confirm" in await desk.run(forged, ident)
    assert "ends like the id of a child goal" in await desk.run(one(), ident)


async def test_a_workflow_called_like_a_child_cannot_use_the_attestation(desk: Desk) -> None:
    """Not even when it calls the activities itself."""
    top = desk.new()
    attested = await desk.attested(one(), top)

    async def script(self: StandIn, goal: GoalInput) -> Any:
        planned = await self.plan(goal)
        posing = planned.model_copy(
            update={
                "requester": planned.requester.model_copy(update={"id": "dana", "proven": True}),
                "attestation": attested.attestation,
            }
        )
        return (await self.execute(posing, planned.plan.tasks[0])).model_dump(mode="json")

    refused = await desk.run(one(), f"{top}--sub", script)
    assert refused.startswith("GrantMismatch: the gateway's proof")


async def test_a_contract_that_is_not_there_is_told_before_anything_runs(desk: Desk) -> None:
    """With the task that names it."""
    goal = GoalInput(
        definition=plan_of(
            {"id": "act", "uses": "fake.write"},
            {"id": "sub", "uses": "goal", "with": {"contract": "nowhere", "inputs": {}}},
        )
    )
    refused = await desk.run(goal)
    assert refused.startswith("InvalidContract: task 'sub': there is no contract 'nowhere'")


async def test_the_workflow_s_own_tasks_are_allowed(desk: Desk) -> None:
    """What they lead to is judged on its own."""
    goal = GoalInput(
        definition=plan_of(
            {"id": "pause", "uses": "wait", "with": {"for": "PT1S"}},
            {"id": "sub", "uses": "goal", "with": {"contract": "read-file", "inputs": {}}},
        )
    )

    async def script(self: StandIn, goal: GoalInput) -> Any:
        planned = await self.plan(goal)
        assert planned.plan.tasks[1].operation == GOAL
        return {i: v.effect.value for i, v in planned.verdicts.items()}

    assert await desk.run(goal, desk.new(), script) == {"pause": "allow", "sub": "allow"}


async def test_a_goal_undoes_its_own_child_without_asking(desk: Desk) -> None:
    """As it undoes its own tasks; a stranger's goal of that kind is asked about."""
    top = desk.new()
    ident = f"{top}--sub.0"

    async def nothing(_: StandIn, __: GoalInput) -> Any:
        return {}

    async def script(self: StandIn, goal: GoalInput) -> Any:
        await self.child(one(parent=below(top)), ident)
        return await self.child(GoalInput(rollback=ident, parent=below(top)), f"{ident}.undo")

    SCRIPTS[ident] = nothing
    ledger = desk.parts.ledger
    await ledger.begin(
        "k" + ident,
        goal_id=ident,
        task_id="act",
        operation="fake.write",
        action_digest="d",
        attempt=1,
    )
    undo = Undo(operation="fake.undo", inputs={"value": "kid"}, environment="production")
    await ledger.finish("k" + ident, result=None, compensation=undo)
    assert (await desk.run(GoalInput(rollback=ident))).startswith("ApprovalNeeded")
    result = await desk.run(one(), top, script)
    assert result["state"] == "Succeeded"
    assert ("undo_1_act", "fake.undo", "kid") in desk.done
