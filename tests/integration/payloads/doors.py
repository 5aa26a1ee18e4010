"""A workflow that takes a text through every door that Temporal has.

It stands alone: the workflow sandbox imports this module anew.
"""

from datetime import timedelta

from temporalio import activity, workflow

from goalkeeper.domain.base import Model
from goalkeeper.domain.errors import InvalidGoal

_SOON = timedelta(seconds=30)


class Given(Model):
    """What the workflow below is started with."""

    text: str
    rounds: int = 0


@activity.defn(name="payloads.echo")
async def echo(text: str) -> str:
    """The same again, or an error with the text in it."""
    if text.startswith("fail"):
        raise InvalidGoal(f"refused: {text}")
    return text


@workflow.defn(name="PayloadsWorkflow")
class PayloadsWorkflow:
    """Takes a text through every door that Temporal has."""

    def __init__(self) -> None:
        self._signalled: list[str] = []
        self._done = False

    @workflow.run
    async def run(self, given: Given) -> str:
        """Echo it; continue as new so often; then wait for the end."""
        answer = await workflow.execute_activity(echo, given.text, start_to_close_timeout=_SOON)
        if given.rounds:
            workflow.continue_as_new(given.model_copy(update={"rounds": given.rounds - 1}))
        await workflow.wait_condition(lambda: self._done)
        return str(answer)

    @workflow.signal
    def tell(self, text: str) -> None:
        """Remember it."""
        self._signalled.append(text)

    @workflow.update
    def ask(self, text: str) -> str:
        """The same again."""
        return text

    @workflow.query
    def told(self) -> list[str]:
        """What was told."""
        return self._signalled

    @workflow.signal
    def end(self) -> None:
        """Let it end."""
        self._done = True
