"""The table's main column as a picture: bars of requests a second, an SVG that needs nothing to be drawn. PURE."""

from __future__ import annotations

from html import escape

from benchmarks.serving.report import TITLES, Results

WIDTH = 760
_NAMES, _FIGURES, _BAR, _GAP = 170, 90, 16, 6
_TITLE, _BELOW = 30, 18


def svg(results: Results) -> str:
    """One panel for each work, its servers from fastest to slowest at the most connections."""
    parts: list[str] = []
    top = 0
    for work in results.works():
        most = results.connections(work)[-1]
        rows = [(row, results.median(row, work, most, "rps") or 0.0) for row in results.rows(work)]
        longest = max((figure for _, figure in rows), default=0.0) or 1.0
        parts.append(f'<text x="0" y="{top + 18}" class="t">{escape(TITLES[work])}; requests/s at {most}</text>')
        top += _TITLE
        for row, figure in rows:
            length = max(1.0, (WIDTH - _NAMES - _FIGURES) * figure / longest)
            kind = "k" if row.startswith("kedge") else "o"
            middle = top + _BAR - 4
            parts.append(f'<text x="{_NAMES - 8}" y="{middle}" class="n">{escape(row)}</text>')
            parts.append(f'<rect x="{_NAMES}" y="{top}" width="{length:.1f}" height="{_BAR}" rx="2" class="{kind}"/>')
            parts.append(f'<text x="{_NAMES + length + 6:.1f}" y="{middle}" class="f">{figure:,.0f}</text>')
            top += _BAR + _GAP
        top += _BELOW
    style = (
        "text{font:12px system-ui,sans-serif;fill:#57606a}.t{font-weight:600;font-size:14px}.n{text-anchor:end}"
        ".k{fill:#1a7f64}.o{fill:#b8c0c8}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}" '
        f'role="img" aria-label="Requests a second of each server"><style>{style}</style>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )
