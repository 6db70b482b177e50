from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.endpoints import world as worlds
from tests.endpoints.world import World
from tests.inference_components.fleet import Fleet


@pytest.fixture(scope="module")
def _fleet(kedge_server: Any) -> Fleet:
    kedge_server.reset()
    return Fleet(kedge_server)


@pytest.fixture
def fleet(_fleet: Fleet) -> Iterator[Fleet]:
    """A server with models; a test leaves nothing but them."""
    yield _fleet
    _fleet.clear()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = worlds.make(tmp_path)
    made.changed.attach(asyncio.get_running_loop())
    yield made
    await made.controller.close()
    made.close()
