"""docs/supported-operations.md is what the control process can do, no more and no less."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from kedge import app
from kedge.compute import instance_types
from kedge.compute.base import Capacity
from kedge.endpoints.fleets import Kinds
from kedge.endpoints.operations import Machine
from kedge.identity.keys import KeyRing
from kedge.serving.runtimes import images

PAGE = Path(__file__).parent.parent / "docs" / "supported-operations.md"


def supported() -> dict[str, list[str]]:
    machine = Machine(
        Kinds(partial(instance_types.find), images.choose, images.known_images()), lambda: Capacity(1, 1, 0)
    )
    by_service: dict[str, list[str]] = {"sagemaker-runtime": ["InvokeEndpoint"]}
    for key in app.operations(KeyRing([], bytes(32)), machine):
        service, _, name = key.partition(".")
        by_service.setdefault(service, []).append(name)
    return by_service


def test_the_page_is_generated_from_the_tables():
    lines = [f"| {service} | {', '.join(sorted(names))} |" for service, names in sorted(supported().items())]
    found = [
        line for line in PAGE.read_text().splitlines() if line.startswith("| ") and not line.startswith("| service")
    ]
    assert [line for line in found if not line.startswith("| ---")] == lines
