"""AWS SDK for JavaScript 3, where Node.js is installed."""

from __future__ import annotations

from tests.clients.conftest import CLIENTS, HERE, program_or_skip


def test_javascript(machine, artifacts):
    assert CLIENTS is not None
    node = program_or_skip("node")
    modules = {"KEDGE_TEST_MODULES": str(CLIENTS / "javascript")}
    machine.run(None, [node, HERE / "programs" / "javascript.mjs", artifacts / "whole.tar.gz"], extra=modules)
