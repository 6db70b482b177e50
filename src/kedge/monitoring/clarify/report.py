"""report.html of a Clarify job, for a person: plain HTML, pictures as SVG, and nothing to load. PURE."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from kedge.monitoring.bias.analysis import FacetResult, Result
from kedge.monitoring.bias.formulas import PRE_TRAINING

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1c2733;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem}h2{font-size:1.25rem;margin-top:2rem}h3{font-size:1rem;margin-bottom:.3rem}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #d9e0e6}
td.n{text-align:right;font-variant-numeric:tabular-nums}.bad{color:#a3201b}.quiet{color:#5b6b79}
""".strip()
_WIDTH, _BAR, _NAMES = 640, 20, 200
MOST_BARS = 30
_MEANS = {
    "CI": "above 0: the facet has fewer rows than the others",
    "DPL": "above 0: the others have more positive labels",
    "KL": "how far the labels of the two are apart",
    "JS": "how far the labels of the two are apart",
    "LP": "how far the labels of the two are apart",
    "TVD": "how far the labels of the two are apart",
    "KS": "the largest difference of one label's share",
    "CDDL": "above 0: within groups the facet has more of the rejections than of the acceptances",
    "DPPL": "above 0: the model accepts the others more often",
    "DI": "1 is fair; below 1: the model accepts the facet less often",
    "DCA": "above 0: the model accepts fewer of the others than their labels say, beside the facet",
    "DCR": "above 0: the model rejects fewer of the facet than its labels say, beside the others",
    "SD": "above 0: the model finds the negative ones of the facet more often",
    "RD": "above 0: the model finds the positive ones of the others more often",
    "DAR": "above 0: an acceptance is right more often for the others",
    "DRR": "above 0: a rejection is right more often for the facet",
    "AD": "above 0: the model is right more often for the others",
    "TE": "above 0: the facet is wrongly rejected more often, for each wrong acceptance",
    "CDDPL": "above 0: within groups the facet has more of the rejections than of the acceptances",
    "FT": "above 0: the facet is accepted where people like it are not; below 0: the other way",
    "GE": "0: every row gets the same benefit",
}


def page(title: str, facts: Sequence[str], sections: Sequence[str]) -> bytes:
    """facts: sentences on the data. sections: of the functions below."""
    told = "".join(f"<p class=quiet>{escape(fact)}</p>" for fact in facts)
    head = f"<meta charset=utf-8><title>{escape(title)}</title><style>{_STYLE}</style>"
    body = f"<h1>{escape(title)}</h1>{told}{''.join(sections)}"
    return f"<!doctype html><html lang=en><head>{head}</head><body>{body}</body></html>\n".encode()


def violated(descriptions: Sequence[tuple[str, str]]) -> str:
    """Of what, and its description."""
    if not descriptions:
        return "<h2>Against the baseline</h2><p>Nothing is farther from it than it may be.</p>"
    rows = "".join(f"<tr><td>{escape(what)}</td><td class=bad>{escape(text)}</td></tr>" for what, text in descriptions)
    return f"<h2>Against the baseline: {len(descriptions)} violations</h2><table>{rows}</table>"


def bias(stage: str, label: str, positive: str, facets: Sequence[FacetResult]) -> str:
    of = "the labels" if stage == PRE_TRAINING else "the model's answers"
    parts = [f"<h2>Bias of {of}</h2><p class=quiet>Positive: {escape(label)} is {escape(positive)}.</p>"]
    for each in facets:
        rows = "".join(map(_measure, each.results))
        heads = "<tr><th>Measure<th><th>Value<th>95 % interval<th>Reading</tr>"
        parts.append(f"<h3>{escape(each.facet)}: {escape(each.value_or_threshold)}</h3><table>{heads}{rows}</table>")
    return "".join(parts)


def _measure(result: Result) -> str:
    measure = result.measure
    if result.value is None:
        return (
            f"<tr><td>{measure.name}<td class=quiet>{escape(measure.description)}"
            f"<td colspan=3 class=quiet>{escape(result.error)}</tr>"
        )
    interval = result.interval
    told = f"{_short(interval[0])} to {_short(interval[1])}" if interval else ""
    return (
        f"<tr><td>{measure.name}<td>{escape(measure.description)}{_line(result)}<td class=n>{_short(result.value)}"
        f"<td class=n>{told}<td class=quiet>{escape(_MEANS[measure.name])}</tr>"
    )


def _line(result: Result) -> str:
    """The value and its interval on a line from -1 to 1 around what is fair."""
    value = result.value
    if value is None or not math.isfinite(value):
        return ""
    low, high = result.interval or (value, value)
    fair = result.measure.fair

    def at(number: float) -> float:
        return 100 + 95 * min(max(number - fair, -1), 1)

    return (
        '<br><svg width=200 height=12 role=img aria-label="place around fair"><path d="M0 6H200" stroke="#c3cdd6"/>'
        '<path d="M100 1V11" stroke="#5b6b79"/>'
        f'<path d="M{at(low):.1f} 6H{at(high):.1f}" stroke="#7a9cc6" stroke-width=4 />'
        f'<circle cx={at(value):.1f} cy=6 r=3.5 fill="#1f5fa8"/></svg>'
    )


def attributions(output: str, names: Sequence[str], values: Sequence[float], expected: float) -> str:
    """The features of one output of the model, the strongest first."""
    order = sorted(range(len(names)), key=lambda place: -abs(values[place]))
    shown = order[:MOST_BARS]
    most = max((abs(values[place]) for place in shown), default=0.0) or 1.0
    bars = []
    for row, place in enumerate(shown):
        length, top = (_WIDTH - _NAMES - 90) * abs(values[place]) / most, row * _BAR
        bars.append(
            f"<text x={_NAMES - 8} y={top + 14} text-anchor=end font-size=13>{escape(_cut(names[place]))}</text>"
            f'<rect x={_NAMES} y={top + 3} width={length:.1f} height={_BAR - 6} fill="#7a9cc6"/>'
            f"<text x={_NAMES + length + 6:.1f} y={top + 14} font-size=12>{_short(values[place])}</text>"
        )
    height = len(shown) * _BAR
    rest = f"<p class=quiet>{len(order) - len(shown)} more features are weaker.</p>" if len(order) > len(shown) else ""
    return (
        f"<h2>What the model looks at: {escape(output)}</h2><p class=quiet>SHAP values over the data set; "
        f"without knowing a feature the model says {_short(expected)}.</p>"
        f'<svg width={_WIDTH} height={height} role=img aria-label="features by attribution">{"".join(bars)}</svg>{rest}'
    )


def dependence(held: dict[str, Any], outputs: Sequence[str]) -> str:
    """The mean prediction by one feature; of a column of texts as a table."""
    parts = [f"<h3>{escape(held['feature_name'])}</h3>"]
    values = held["feature_values"]
    for output, means in zip(outputs, held["model_predictions"], strict=False):
        if held["data_type"] == "categorical":
            rows = "".join(
                f"<tr><td>{escape(str(value))}<td class=n>{_short(mean)}</tr>"
                for value, mean in zip(values, means, strict=True)
            )
            parts.append(f"<table><tr><th>{escape(output)}<th></tr>{rows}</table>")
            continue
        parts.append(_curve(output, [float(value) for value in values], means))
    return "".join(parts)


def _curve(output: str, values: Sequence[float], means: Sequence[float]) -> str:
    wide, tall, left = 420, 120, 60

    def scaled(number: float, low: float, high: float, size: int) -> float:
        return size * (number - low) / (high - low) if high > low else size / 2

    low, high = min(means), max(means)
    points = " ".join(
        f"{left + scaled(value, values[0], values[-1], wide):.1f},{tall + 10 - scaled(mean, low, high, tall):.1f}"
        for value, mean in zip(values, means, strict=True)
    )
    return (
        f'<svg width={wide + left + 40} height={tall + 40} role=img aria-label="mean of {escape(output, quote=True)}">'
        f'<polyline points="{points}" fill=none stroke="#1f5fa8" stroke-width=2 />'
        f"<text x=0 y=16 font-size=12>{_short(high)}</text><text x=0 y={tall + 10} font-size=12>{_short(low)}</text>"
        f"<text x={left} y={tall + 32} font-size=12>{_short(values[0])}</text>"
        f"<text x={left + wide} y={tall + 32} font-size=12 text-anchor=end>{_short(values[-1])}</text></svg>"
    )


def _short(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else ("infinite" if value > 0 else "-infinite")


def _cut(name: str) -> str:
    return name if len(name) <= 28 else name[:27] + "…"
