"""Writes docs/supported-operations.md from what the control process and the router can do.

    .venv/bin/python scripts/supported_operations.py

A test fails when the page is not what this writes.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from kedge.app import App
from kedge.config import Settings
from kedge.home import open_home

PAGE = Path(__file__).parent.parent / "docs" / "supported-operations.md"

HEAD = """# Supported operations

Every operation that does its work here. Any other one of these services is answered with an error that names it.

| service | operations |
| --- | --- |
"""


def supported() -> dict[str, set[str]]:
    """Names of operations by service. Builds a control process on a folder of its own and never starts it."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), ephemeral=True)
        home = open_home(settings)
        app = App(settings, home)
        try:
            names = app.gateway.operation_names
            # Routers take these.
            invocations = set(app.gateway.models.services["sagemaker-runtime"].operation_names)
        finally:
            app.threads.shutdown()
            app.objects.close()
            app.telemetry.close()
            app.store.close()
            shutil.rmtree(home.run, ignore_errors=True)
    found = {"sagemaker-runtime": invocations}
    for key in names:
        service, _, name = key.partition(".")
        found.setdefault(service, set()).add(name)
    return found


def page() -> str:
    return HEAD + "".join(
        f"| {service} | {', '.join(sorted(names))} |\n" for service, names in sorted(supported().items())
    )


if __name__ == "__main__":
    PAGE.write_text(page())
