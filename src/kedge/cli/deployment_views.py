"""How deployments look in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from kedge.cli.tables import table

_HEAD = ["FLEET", "{of}", "VARIANT", "READY", "WANTED", "TRAFFIC", "STATUS"]
_PAST = ["BEGAN", "TOOK", "FROM", "TO", "HOW", "OUTCOME", "WHY"]
_WHY_CHARS = 160
"""Of a reason in the table, which stays readable so; `--json` has all of it."""


def picture_text(found: Mapping[str, Any], now_s: float) -> str:
    """found: as the server's own route answers."""
    return "\n".join(_picture(found, now_s))


def _picture(found: Mapping[str, Any], now_s: float) -> Iterator[str]:
    component = found.get("InferenceComponentName")
    yield (
        f"{component}: {found['InferenceComponentStatus']}"
        if component
        else (f"{found['EndpointName']}: {found['EndpointStatus']}")
    )
    if going := found.get("Deployment"):
        yield _phase(going, now_s)
        if going.get("Trial"):
            yield trial_text(going["Trial"])
    yield ""
    rows = [
        (
            "new" if fleet["IsPending"] else "old" if going else "",
            each["ModelName"] if component else fleet["EndpointConfigName"],
            each["VariantName"],
            each["ReadyInstanceCount"],
            each["WantedInstanceCount"],
            f"{each['Share']:.1%}",
            each["Status"],
        )
        for fleet in found["Fleets"]
        for each in fleet["Variants"]
    ]
    yield table([each.format(of="MODEL" if component else "CONFIG") for each in _HEAD], rows)
    if found["Alarms"]:
        yield ""
        yield table(["ALARM", "STATE"], [(each["AlarmName"], each["StateValue"]) for each in found["Alarms"]])
    if found["FailureReason"]:
        yield ""
        yield f"Last update: {found['FailureReason']}"


def _phase(going: Mapping[str, Any], now_s: float) -> str:
    text = f"{_way(going)} since {now_s - going['StartTime']:.0f} s"
    if "StepsInAll" in going:
        text += f", step {len(going['Steps'])} of {going['StepsInAll']}"
    if "BakeEndTime" in going and (left_s := going["BakeEndTime"] - now_s) > 0:
        text += f", bakes for another {left_s:.0f} s"
    return text


def trial_text(report: Mapping[str, Any]) -> str:
    """One line: how many requests, and what was seen."""
    parts = [f"{report['Requests']} requests, {report['Errors']} failed"]
    for name, title, unit in (("P50Ms", "p50", " ms"), ("P99Ms", "p99", " ms")):
        if report[name] is not None:
            parts.append(f"{title} {report[name]:.3g}{unit}")
    if report["Agreement"] is not None:
        parts.append(f"{report['Agreement']:.1%} of {report['Compared']} agree")
    if report["Distance"] is not None:
        parts.append(f"distance {report['Distance']:.3g}")
    return f"Trial ({report['Source']}): {'passed' if report['Passed'] else 'failed'}; {', '.join(parts)}"


def past_table(lines: Sequence[Mapping[str, Any]], now_s: float) -> str:
    """lines: of deployments, the newest first; one without an outcome is under way."""
    rows = [
        (
            datetime.fromtimestamp(each["StartTime"], UTC).strftime("%Y-%m-%d %H:%M:%S"),
            f"{each.get('EndTime', now_s) - each['StartTime']:.1f} s",
            each["From"] or "-",
            each["To"],
            _way(each) + (", promoted" if each["Hurried"] else ""),
            each.get("Outcome", "under way"),
            _short(each.get("Reason") or (trial_text(each["Trial"]) if each.get("Trial") else "")),
        )
        for each in lines
    ]
    return table(_PAST, rows)


def _short(reason: str) -> str:
    """One line of it: a model may have written anything into it."""
    line = " ".join(reason.split())
    return line if len(line) <= _WHY_CHARS else f"{line[: _WHY_CHARS - 4]} ..."


def _way(line: Mapping[str, Any]) -> str:
    """Its kind with the size of a step."""
    config = line["DeploymentConfig"]
    if rolling := config.get("RollingUpdatePolicy"):
        return f"{line['Kind']} {_size(rolling['MaximumBatchSize'])}"
    routing = config.get("BlueGreenUpdatePolicy", {}).get("TrafficRoutingConfiguration", {})
    size = routing.get("CanarySize") or routing.get("LinearStepSize")
    return f"{line['Kind']} {_size(size)}" if size else line["Kind"] or ("created" if not line["From"] else "at once")


def _size(size: Mapping[str, Any]) -> str:
    return f"{size['Value']} %" if size["Type"] == "CAPACITY_PERCENT" else f"{size['Value']} instances"
