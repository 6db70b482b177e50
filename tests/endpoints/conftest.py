from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.endpoints import world as worlds
from tests.endpoints.world import World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = worlds.make(tmp_path)
    made.changed.attach(asyncio.get_running_loop())
    yield made
    await made.controller.close()
    made.close()
