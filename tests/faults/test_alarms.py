"""Alarms while the control process is killed: every transition once, every action once."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections import Counter
from typing import Any

from botocore.config import Config

from tests.faults.conftest import Server, until

ALARMS = 120
KILLS = 6
PATIENT = Config(retries={"mode": "standard", "total_max_attempts": 10}, read_timeout=20)
TOPIC = "arn:aws:sns:us-east-1:000000000000:nobody"


def alarm(number: int) -> dict[str, Any]:
    return {
        "AlarmName": f"a{number}",
        "Namespace": "app",
        "MetricName": "silent",
        "Statistic": "Sum",
        "Period": 10 if number % 2 else 60,
        "EvaluationPeriods": 1,
        "Threshold": 1.0,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "breaching",
        "AlarmActions": [TOPIC],
    }


def lines(cloudwatch: Any, item_type: str) -> Counter[str]:
    pages = cloudwatch.get_paginator("describe_alarm_history").paginate(
        HistoryItemType=item_type, AlarmTypes=["MetricAlarm", "CompositeAlarm"]
    )
    return Counter(each["AlarmName"] for page in pages for each in page["AlarmHistoryItems"])


def test_each_alarm_changes_and_acts_once_whatever_is_killed(server: Server) -> None:
    cloudwatch = server.client("cloudwatch", PATIENT)
    ended = threading.Event()

    def kill() -> None:
        for _ in range(KILLS):
            if ended.wait(0.9):
                return
            server.kill("control")

    killing = threading.Thread(target=kill)
    killing.start()
    try:
        for number in range(ALARMS):
            cloudwatch.put_metric_alarm(**alarm(number))
        cloudwatch.put_composite_alarm(AlarmName="all", AlarmRule="AT_LEAST(100%, ALARM, (" + ", ".join(
            f"a{number}" for number in range(100)) + "))", AlarmActions=[TOPIC])  # fmt: skip
        killing.join(60)
        assert not killing.is_alive()
    finally:
        ended.set()
        killing.join(60)

    def all_alarm() -> bool:
        pages = cloudwatch.get_paginator("describe_alarms").paginate(
            StateValue="ALARM", AlarmTypes=["MetricAlarm", "CompositeAlarm"]
        )
        return sum(len(page["MetricAlarms"]) + len(page["CompositeAlarms"]) for page in pages) == ALARMS + 1

    until(all_alarm, 60.0, "every alarm in ALARM")
    changes = lines(cloudwatch, "StateUpdate")
    assert set(changes) == {"all", *(f"a{number}" for number in range(ALARMS))}
    composite = changes.pop("all")
    assert composite <= 2, "to OK while some were still to come, then to ALARM"
    assert set(changes.values()) == {1}
    with contextlib.closing(sqlite3.connect(server.data / "kedge.db")) as store:
        told = store.execute("SELECT count(*) FROM outbox WHERE detail_type = 'CloudWatch Alarm State Change'")
        assert told.fetchone()[0] == ALARMS + composite
        waiting = "SELECT count(*) FROM payload WHERE body LIKE '%:alarm:%'"
        until(lambda: store.execute(waiting).fetchone()[0] == 0, 60.0, "the end of every action")
    acted = lines(cloudwatch, "Action")
    assert acted == Counter(["all", *(f"a{number}" for number in range(ALARMS))])
