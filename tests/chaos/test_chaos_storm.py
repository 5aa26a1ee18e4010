"""The storm in short: twenty kills of every process while goals of every shape are under way."""

from pathlib import Path

import pytest

from tests.chaos.storm import Storm

SEED = 20
KILLS = 20


@pytest.mark.timeout(1800)
async def test_goals_of_every_shape_come_through_a_storm_of_kills(tmp_path: Path) -> None:
    """Each ends, each side effect happened as often as its task says, and nothing is left over.

    `make chaos` does the same with two hundred kills and another seed each time.
    """
    storm = Storm(SEED, KILLS, tmp_path)
    await storm.run()
    assert storm.complaints == [], storm.report()
    assert len(storm.goals) >= 7
