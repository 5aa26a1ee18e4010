"""How policy's answers look in a terminal, with their reasons: models to renderables.

They fetch nothing and print nothing.
"""

from collections.abc import Iterator, Sequence

from rich.text import Text
from rich.tree import Tree

from goalkeeper.cli.render import Widths, duration, plain, requirement_text
from goalkeeper.domain.plan import Plan
from goalkeeper.domain.policy import Effect, Requirement
from goalkeeper.policy.explaining import Explained
from goalkeeper.policy.parts import NearRule

_STYLES = {Effect.ALLOW: "green", Effect.ASK: "yellow", Effect.DENY: "bold red"}
_WORDS = {Effect.ALLOW: "goes", Effect.DENY: "refused"}
_DOES = {Effect.ALLOW: "permits it", Effect.DENY: "forbids it"}


def does(effect: Effect, requirement: Requirement | None) -> str:
    """An answer in words: who must say yes, and by when."""
    if requirement is None:
        return _WORDS.get(effect, "asks")
    within = duration(requirement.expires_in.total_seconds())
    return f"asks {requirement_text(requirement)}, within {within}"


def shown(plan: Plan, explained: Sequence[Explained], *, proven: bool) -> Tree:
    """Each task with its answer; below it why, and what came near.

    Args:
        plan: what was judged.
        explained: policy's answers.
        proven: whether it is known who asks; otherwise one more person must approve.
    """
    head = Text.assemble((plan.contract, "bold"), " in ", (plan.environment, "bold"))
    tree = Tree(head, guide_style="dim")
    width = Widths((e.task, e.operation) for e in explained)
    gates = {task: e.task for e in explained for task in e.covers}
    for one in explained:
        line = width.head(one.task, one.operation)
        line.append(one.risk.value.ljust(13), style="dim")
        branch = tree.add(line.append_text(_answer(one, proven, gates.get(one.task))))
        for detail in _details(one):
            branch.add(Text(detail, style="dim"))
    return tree


def _answer(one: Explained, proven: bool, gate: str | None) -> Text:
    effect, requirement = one.verdict.effect, one.verdict.requirement
    if gate is not None and effect is Effect.ASK:
        return Text(f"asked about at '{gate}'", style=_STYLES[effect])
    if one.covers and effect is Effect.ALLOW:
        return Text("nobody need be asked", style="dim")
    if requirement is None or proven:
        return Text(does(effect, requirement), style=_STYLES[effect])
    more = requirement.model_copy(update={"approvals": requirement.approvals + 1})
    text = Text(does(effect, more), style=_STYLES[effect])
    return text.append("  one more, since who asks is unproven", style="dim")


def _details(one: Explained) -> Iterator[str]:
    if one.covers:
        yield f"about {', '.join(one.covers)}"
    for reason in one.verdict.reasons:
        yield f"because {plain(reason)}"
    for rule in one.open:
        yield f"perhaps {_near(rule)}, which an earlier task has to say first"
    for rule in one.near:
        yield _near(rule)


def _near(rule: NearRule) -> str:
    does = _DOES.get(rule.effect, "asks")
    if rule.requirement is not None:
        does = f"asks {requirement_text(rule.requirement)}"
    return f"{plain(rule.rule)} {does} {plain(rule.only, 1000)}"
