"""Puts a run's table and picture into docs/performance.md, between its two marks."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "performance-serving.svg"
BEGIN, END = "<!-- serving: written by scripts/bench serving --write-docs -->", "<!-- serving: end -->"


def placed(page: str, text: str) -> str:
    """The page with this text between its marks. PURE. Raises ValueError for a page without them."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}"


def write(text: str, picture: str) -> None:
    link = f"![Requests a second of each server]({PICTURE.name})"
    PAGE.write_text(placed(PAGE.read_text(), f"{link}\n\n{text}"))
    PICTURE.write_text(picture)
