from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.autoscaling.world import Scaled
from tests.endpoints import world as worlds


@pytest.fixture
async def scaled(tmp_path: Path) -> AsyncIterator[Scaled]:
    """With one instance in service."""
    world = worlds.make(tmp_path)
    world.changed.attach(asyncio.get_running_loop())
    made = Scaled(world)
    await made.begin()
    yield made
    await world.controller.close()
    world.close()
