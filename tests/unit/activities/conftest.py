"""A bench for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.activities.attempting import Bench, bench


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Bench]:
    """Fresh stores."""
    async with bench(tmp_path) as made:
        yield made
