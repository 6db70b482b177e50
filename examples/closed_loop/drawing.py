"""The picture of quality over time, as SVG."""

from html import escape

WIDTH, HEIGHT, LEFT, TOP, FOOT = 760, 360, 46, 12, 120
INK, LINE, EVENT = "#1c2733", "#2f6f9f", "#c0392b"


ROWS = 200
"""Of a point, at least: the share of fewer answers tells little."""


def grouped(points):
    """(seconds, share of right answers) of neighbours that have ROWS answers together."""
    found, right, rows = [], 0.0, 0
    for at_s, share, count in points:
        right, rows = right + share * count, rows + count
        if rows >= ROWS:
            found.append((at_s, right / rows))
            right, rows = 0.0, 0
    return found


def drawn(told, marks):
    """told: (seconds, share of right answers, answers); marks: (seconds, what happened)."""
    points = grouped(told)
    end_s = max(at for at, _ in [*points, *marks]) * 1.02
    low = min(0.5, *(right for _, right in points))

    def x(at_s):
        return LEFT + (WIDTH - LEFT - 14) * at_s / end_s

    def y(right):
        return TOP + (HEIGHT - TOP - FOOT) * (1 - right) / (1 - low)

    parts = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for right in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5):
        if right >= low:
            parts += [
                f'<line x1="{LEFT}" x2="{WIDTH - 14}" y1="{y(right):.1f}" y2="{y(right):.1f}" stroke="#d9e0e6"/>',
                f'<text x="{LEFT - 6}" y="{y(right) + 4:.1f}" text-anchor="end">{right:.0%}</text>',
            ]
    shown = [each for each in marks if not each[1].startswith("accuracy")]
    for row, (at_s, what) in enumerate(shown):
        foot = HEIGHT - FOOT + 18 + 13 * (row % 8)
        anchor, shift = ("end", -4) if x(at_s) > WIDTH * 0.6 else ("start", 4)
        parts += [
            f'<path d="M{x(at_s):.1f} {TOP}V{foot}" stroke="{EVENT}" stroke-dasharray="2 3"/>',
            f'<text x="{x(at_s) + shift:.1f}" y="{foot}" text-anchor="{anchor}">{escape(what[:60])}</text>',
        ]
    line = " ".join(f"{x(at_s):.1f},{y(right):.1f}" for at_s, right in points)
    parts.append(f'<polyline points="{line}" fill="none" stroke="{LINE}" stroke-width="1.5"/>')
    parts += [f'<circle cx="{x(at_s):.1f}" cy="{y(right):.1f}" r="3" fill="{LINE}"/>' for at_s, right in points]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="11" fill="{INK}" role="img" aria-label="share of right answers over time">{"".join(parts)}</svg>\n'
    )
