"""docs/supported-operations.md is what the control process and the router can do, no more and no less."""

from __future__ import annotations

import runpy
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "scripts" / "supported_operations.py"


def test_the_page_is_what_the_code_can_do() -> None:
    script = runpy.run_path(str(SCRIPT))
    assert script["PAGE"].read_text() == script["page"](), "run scripts/supported_operations.py"
