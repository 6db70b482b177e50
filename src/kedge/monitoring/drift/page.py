"""kedge_drift.html: what moved, how far, since when, with pictures; one file that loads nothing. PURE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from kedge.monitoring.drift.file import time_of
from kedge.monitoring.drift.known import Known
from kedge.monitoring.drift.plots import Bar, Past, course, forest, shares
from kedge.monitoring.drift.series import ALL, Judged

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1c2733;background:#fff;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.25rem;margin-top:2.2rem}h3{font-size:1rem;margin:1.6rem 0 .2rem}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #d9e0e6}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}.bad{color:#a3201b}.good{color:#216e39}.quiet{color:#5b6b79}
.pair{display:flex;flex-wrap:wrap;gap:1.2rem}svg{max-width:100%;height:auto}svg text{font:12px system-ui,sans-serif}
""".strip()
_MOST_ROWS, _MOST_PICTURES, _MOST_BARS = 60, 12, 16


def page(told: Mapping[str, Any], known: Known, judged: Judged) -> bytes:
    """told: kedge_drift.json."""
    features = sorted(told["features"], key=lambda each: (not each["alerts"], -_size(each)))
    moved = [each for each in features if each["alerts"]]
    parts = [
        f"<h1>{_headline(moved, told)}</h1>",
        f"<p class=quiet>{escape(_about(told))}</p>",
        _forest(features, told["rule"]["material_size"]),
        _table(features),
        *_segments(told),
    ]
    if features:
        parts.append("<h2>Column by column</h2>")
        pictured = [each for each in features if each["rows"]][:_MOST_PICTURES]
        parts += [_column(each, known, judged, told["rule"]["material_size"]) for each in pictured]
        if len(features) > len(pictured):
            parts.append(f"<p class=quiet>The {len(pictured)} that moved most, of {len(features)} columns.</p>")
    parts.append(f"<h2>How to read this</h2>{_help(told)}")
    head = f"<meta charset=utf-8><title>Drift</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>\n".encode()


def _headline(moved: Sequence[Mapping[str, Any]], told: Mapping[str, Any]) -> str:
    parts = told.get("segments", {}).get("values", [])
    inside = sum(each["alerts"] for part in parts for each in part["features"])
    if not told["features"]:
        return "No column could be compared"
    if not moved and not inside:
        return "<span class=good>Nothing has drifted</span>"
    columns = len(told["features"])
    there = f"{len(moved)} of {columns} columns {'has' if len(moved) == 1 else 'have'} drifted"
    return f"<span class=bad>{there}{f', and {inside} within segments' if inside else ''}</span>"


def _about(told: Mapping[str, Any]) -> str:
    window = told["window"]
    when = f"Window {window['start']} to {window['end']}, " if window else ""
    return f"{when}{told['rows']:,} rows.{_of_time(told)}"


def _of_time(told: Mapping[str, Any]) -> str:
    """What the baseline does not know."""
    if not told["baseline_in_order"]:
        return " The baseline says nothing of how its columns behave in time: rows are taken to be independent."
    if not told["baseline_has_times"]:
        return (
            " The baseline has no times, or less than a day of them: a season of the day or the week is not known, and"
            " alerts as drift does. Make it of captured data, or name its column of times by kedge_time_column."
        )
    return ""


def _size(feature: Mapping[str, Any]) -> float:
    """By the near end of the interval, so that chance moves nothing up."""
    low, high = feature["interval"]
    return float(max(low, -high, 0.0)) + 1e-6 * abs(float(feature["effect"]))


def _forest(features: Sequence[Mapping[str, Any]], material: float) -> str:
    bars = [
        Bar(each["name"], each["effect"], each["interval"][0], each["interval"][1], each["alerts"])
        for each in features
        if each["judged"]
    ]
    if not bars:
        return "<p>No column has enough rows to be judged.</p>"
    return f"<h2>How far each column is from its baseline</h2>{forest(bars[:_MOST_ROWS], material)}"


def _table(features: Sequence[Mapping[str, Any]]) -> str:
    head = "".join(
        f"<th{kind}>{name}</th>"
        for name, kind in (
            ("column", ""), ("what moved", ""), ("was &rarr; is", ""), ("effect", " class=n"),
            ("interval", " class=n"), ("q", " class=n"),
            ("severity", ""), ("since", ""), ("rows", " class=n"),
        )
    )  # fmt: skip
    rows = "".join(_row(each) for each in features[:_MOST_ROWS])
    more = len(features) - _MOST_ROWS
    rest = f"<p class=quiet>and {more} more columns in kedge_drift.json</p>" if more > 0 else ""
    return f"<table><tr>{head}</tr>{rows}</table>{rest}"


def _row(each: Mapping[str, Any]) -> str:
    name = escape(each["name"])
    if not each["judged"]:
        few = f"too few rows to be judged ({each['rows']:,.0f})"
        return f"<tr class=quiet><td>{name}</td><td colspan=8>{few}</td></tr>"
    low, high = each["interval"]
    since = ""
    if each["since"]:
        row = each["windows_in_a_row"]
        since = f"{each['since']}, {row} window{'s' if row > 1 else ''}"
    severity = escape(each["severity"]) if each["alerts"] else "&ndash;"
    return (
        f"<tr{' class=bad' if each['alerts'] else ''}><td>{name}</td><td>{escape(each['aspect'])}</td>"
        f"<td>{escape(each['was_and_is'])}</td>"
        f"<td class=n>{each['effect']:+.2f}</td><td class=n>{low:+.2f} to {high:+.2f}</td>"
        f"<td class=n>{each['q']:.2g}</td>"
        f"<td>{severity}</td><td>{since}</td><td class=n>{each['rows']:,.0f}</td></tr>"
    )


def _segments(told: Mapping[str, Any]) -> list[str]:
    if "segments" not in told:
        return []
    found = [f"<h2>Segments by {escape(told['segments']['column'])}</h2><table>"]
    found.append("<tr><th>segment</th><th class=n>rows</th><th>what drifted</th></tr>")
    for part in told["segments"]["values"]:
        moved = [each for each in part["features"] if each["alerts"]]
        said = ", ".join(f"{each['name']} {each['effect']:+.2f}" for each in moved) or "nothing"
        quiet = "bad" if moved else "quiet"
        found.append(
            f"<tr><td>{escape(part['value'])}</td><td class=n>{part['rows']:,}</td>"
            f"<td class={quiet}>{escape(said)}</td></tr>"
        )
    return [*found, "</table>"]


def _column(each: Mapping[str, Any], known: Known, judged: Judged, material: float) -> str:
    name = each["name"]
    column, window = known.columns[name], judged.history[-1].counts[ALL][name]
    parts = [shares(column.cells, column.counts, window, _MOST_BARS)]
    past = [
        Past(window.start_s, *window.effects[ALL][name], name in window.alerts.get(ALL, ()))
        for window in judged.history
        if name in window.effects.get(ALL, {})
    ]
    if len(past) > 1:
        parts.append(course(past, material, time_of))
    mark = " class=bad" if each["alerts"] else ""
    lasts = each["alerts_of_last"]
    told = f"{escape(each['severity'])}; {lasts[0]} of the last {lasts[1]} windows alerted" if each["alerts"] else ""
    return f"<h3{mark}>{escape(name)}</h3><p class=quiet>{told}</p><div class=pair>{''.join(parts)}</div>"


def _help(told: Mapping[str, Any]) -> str:
    rule = told["rule"]
    return (
        "<p class=quiet>An effect is in standard deviations of the baseline; its interval holds at the level of an "
        f"alert. A column alerts where its change is significant and may be as large as {rule['material_size']:g}, the "
        "size that you call material. All windows of a month, all columns and all segments together give a false alert "
        f"with a probability of {rule['false_alert_probability_a_month']:.2g} at most. Windows of fewer than "
        f"{rule['least_rows']:g} rows are judged together with those before them. q: of the columns with a q up to "
        f"{rule['false_discovery_rate']:g} no more than that share has in truth not changed.</p>"
    )
