"""What the body of a dashboard may hold. PURE.

Errors are what no console could show: wrong types, values out of range, what is missing. Unknown members, and
expressions that will not be computed, are said and saved. Source: "Dashboard Body Structure and Syntax".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kedge.metrics import documents, widgets
from kedge.metrics.documents import Members, Problem

MOST_WIDGETS = 500
MOST_METRICS = 2500
TYPES = ("metric", "text", "log", "alarm", "explorer", "custom", "chart")

_TIME = documents.text(check=widgets.time_problem)
_VARIABLE: dict[str, documents.Check] = {
    "defaultValue": documents.text(),
    "id": documents.text(),
    "inputType": documents.text("input", "radio", "select"),
    "label": documents.text(),
    "pattern": documents.text(),
    "populateFrom": documents.text(),
    "property": documents.text(),
    "search": documents.text(),
    "type": documents.text("pattern", "property"),
    "values": documents.array(documents.anything),
    "visible": documents.flag,
}
_BODY: dict[str, documents.Check] = {
    "end": _TIME,
    "periodOverride": documents.text("auto", "inherit"),
    "start": _TIME,
    "variables": documents.array(Members(_VARIABLE, required=("id", "inputType", "type")), most=25),
}
_PROPERTIES: dict[str, documents.Check] = {
    "metric": Members(widgets.COMMON),
    "chart": documents.anything,
    "text": Members(
        {"markdown": documents.text(), "background": documents.text("solid", "transparent")}, required=("markdown",)
    ),
    "log": Members(
        {
            "accountId": documents.text(),
            "query": documents.text(),
            "queryLanguage": documents.text("CWLI", "SQL", "PPL"),
            "region": documents.text(),
            "stacked": documents.flag,
            "title": documents.text(),
            "view": documents.text("table", "timeSeries", "bar", "pie"),
        },
        required=("query", "region"),
    ),
    "alarm": Members(
        {
            "alarms": documents.array(documents.text(), least=1, most=100),
            "sortBy": documents.text("default", "stateUpdatedTimestamp", "timestamp"),
            "states": documents.array(documents.text("ALARM", "INSUFFICIENT_DATA", "OK")),
            "title": documents.text(),
        },
        required=("alarms",),
    ),
    "custom": Members(
        {
            "endpoint": documents.text(),
            "params": documents.anything,
            "title": documents.text(),
            "updateOn": Members({"refresh": documents.flag, "resize": documents.flag, "timeRange": documents.flag}),
        },
        required=("endpoint",),
    ),
    "explorer": Members(
        {
            "aggregateBy": documents.anything,
            "labels": documents.array(documents.anything),
            "metrics": documents.array(documents.anything),
            "period": documents.integer(1),
            "splitBy": documents.text(),
            "title": documents.text(),
            "widgetOptions": documents.anything,
        },
        required=("metrics", "labels"),
    ),
}


def _widget(value: Any, path: str) -> Iterator[Problem]:
    kind = value.get("type") if isinstance(value, dict) else None
    properties = _PROPERTIES.get(kind, documents.anything) if isinstance(kind, str) else documents.anything
    yield from Members(
        {
            "height": documents.integer(1, 1000),
            "properties": properties,
            "type": documents.text(*TYPES),
            "width": documents.integer(1, 24),
            "x": documents.integer(0, 23),
            "y": documents.integer(0),
        },
        required=("type", "properties"),
    )(value, path)
    if kind == "metric" and isinstance(value.get("properties"), dict):
        yield from _metric(value["properties"], f"{path}/properties")


def _metric(properties: dict[str, Any], path: str) -> Iterator[Problem]:
    """What one member says about another."""
    annotations = properties.get("annotations")
    if "metrics" not in properties and not (isinstance(annotations, dict) and annotations.get("alarms")):
        yield Problem(path, 'Should have required property "metrics", or "annotations" with "alarms"')
    if "region" not in properties:
        yield Problem(path, 'Should have required property "region"; the caller\'s is taken', is_error=False)
    axes = properties.get("yAxis")
    left = axes.get("left") if isinstance(axes, dict) else None
    if properties.get("view") == "gauge" and not (isinstance(left, dict) and {"min", "max"} <= left.keys()):
        yield Problem(f"{path}/yAxis", "A gauge should have left.min and left.max")


def problems(body: str) -> list[Problem]:
    """All that is wrong with the body, in its order; it may be saved when none of them is an error."""
    try:
        document = documents.parse(body)
    except ValueError as error:
        return [Problem("", f"The field DashboardBody must be a valid JSON object: {error}")]
    found = list(
        Members({**_BODY, "widgets": documents.array(_widget, most=MOST_WIDGETS)}, required=("widgets",))(document, "")
    )
    if isinstance(document, dict):
        if "end" in document and "start" not in document:
            found.append(Problem("/end", 'Should have required property "start" beside "end"'))
        count = _metrics_in(document.get("widgets"))
        if count > MOST_METRICS:
            found.append(Problem("/widgets", f"Should NOT have more than {MOST_METRICS} metrics; there are {count}"))
    return found


def _metrics_in(found: Any) -> int:
    count = 0
    for widget in found if isinstance(found, list) else ():
        properties = widget.get("properties") if isinstance(widget, dict) else None
        rows = properties.get("metrics") if isinstance(properties, dict) else None
        count += len(rows) if isinstance(rows, list) else 0
    return count
