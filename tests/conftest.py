"""For every test: a server that a test starts is as strict with itself as can be, and runs no container by itself; and
no property is judged by how long its examples take, which says more about the machine than about what is tested."""

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

# Threads that wait in OpenMP's loops for one that has no core cost more than what they wait for.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["KEDGE_STRICT_RESULTS"] = "true"
os.environ["KEDGE_CONTAINER_ENGINE"] = "none"
settings.register_profile("kedge", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kedge")
SPREAD = ("tests/test_docs.py", "tests/clients/")
"""Tests that share no server of their file: no process has to have all of them."""


class ByFile(LoadFileScheduling):
    """A file's tests in one process, for the sake of what they share; those that share nothing where there is room."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if nodeid.startswith(SPREAD) else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile | None:
    return ByFile(config, log) if config.getoption("dist") == "loadfile" else None
