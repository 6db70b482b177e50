"""A baseline of merged records takes the place of the one before, by the analyzer as a job runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.monitoring.conftest import CAPTURED, Job

LABELLED = {"sagemakerMergeJson": {"captureIndexNames": ["endpointInput", "groundTruthData"]}}
HEAD = "bin,weight,age"
CHOSEN = {"comparison_threshold": 0.3}


def merged(number: int, label: str, answer: str) -> str:
    sides = {
        side: {"observedContentType": "text/csv", "mode": mode, "data": data, "encoding": "CSV"}
        for side, mode, data in (
            ("endpointInput", "INPUT", f"{number / 7},{number}"), ("endpointOutput", "OUTPUT", answer),
        )
    }  # fmt: skip
    meta = {"eventId": str(number), "inferenceTime": f"2026-01-02T03:{number % 60:02}:00Z"}
    truth = {"data": label, "encoding": "CSV"}
    return json.dumps({"captureData": sides, "groundTruthData": truth, "eventMetadata": meta, "eventVersion": "0"})


def before(job: Job, rows: list[str], **monitoring_config: Any) -> str:
    """Constraints of these rows, with what somebody chose."""
    held = job.baseline("\n".join([HEAD, *rows]) + "\n")["baseline_constraints"]
    document = json.loads(Path(held).read_text())
    document["monitoring_config"]["kedge_drift"] = {"material_size": 0.5}
    document["features"][1]["num_constraints"]["monitoring_config_overrides"] = {"distribution_constraints": CHOSEN}
    Path(held).write_text(json.dumps(document))
    return held


def test_labels_stand_where_answers_are_and_what_was_chosen_stays(job: Job):
    held = before(job, [f"{number % 3},{number / 2},{number}" for number in range(300)])
    job.put("part.jsonl", "\n".join(merged(number, str(number % 2), "7") for number in range(400)))
    assert job.run(LABELLED, kedge_constraints_before=held) == 0, job.message
    assert [each["name"] for each in job.result("statistics.json")["features"]] == HEAD.split(",")
    assert job.feature("bin")["numerical_statistics"]["max"] == 1.0
    assert job.feature("age")["numerical_statistics"]["max"] == 399.0
    found = job.result("constraints.json")
    assert found["monitoring_config"]["kedge_drift"] == {"material_size": 0.5}
    weight = job.feature("weight", "constraints.json")["num_constraints"]
    assert weight == {"is_non_negative": True, "monitoring_config_overrides": {"distribution_constraints": CHOSEN}}


def test_it_is_a_baseline_of_what_is_captured(job: Job):
    """The records of the same rows violate nothing, though the baseline before they would violate."""
    # In no order: of rows in the order of a column it is not known how much chance there is in where it has gone.
    numbers = [each * 7 % 300 for each in range(300)]
    held = before(job, [f"{number % 3},{number / 2 + 1000},{number + 5000}" for number in numbers])
    records = "\n".join(merged(number, str(number % 2), str(number % 2)) for number in range(400))
    made = Job(job.root / "made")
    made.put("part.jsonl", records)
    assert made.run(LABELLED, kedge_constraints_before=held) == 0
    job.put("part.jsonl", records)
    out = made.root / "processing/output"
    names = {f"baseline_{each}": str(out / f"{each}.json") for each in ("statistics", "constraints")}
    assert job.run(CAPTURED, **names) == 0
    assert job.violations() == []
    old = {"baseline_constraints": held, "baseline_statistics": held.replace("constraints.json", "statistics.json")}
    assert job.run(CAPTURED, **old) == 0
    assert ("age", "baseline_drift_check") in job.violations()


@pytest.mark.parametrize(
    ("rows", "form", "says"),
    [
        (["0.5,1.5,3", "0.25,2.5,4"], LABELLED, "Labels are Integral, and bin of the baseline before is Fractional"),
        (["a,1.5,3", "b,2.5,4"], LABELLED, "is String: it was not made of labels"),
        (["1,1.5,3", "0,2.5,4"], {"sagemakerMergeJson": {"captureIndexNames": ["endpointInput"]}}, "has bin, weight"),
    ],
)
def test_rows_that_are_no_such_baseline_are_a_reason(job: Job, rows: list[str], form: Any, says: str):
    held = before(job, rows)
    job.put("part.jsonl", "\n".join(merged(number, "1", "0.5") for number in range(10)))
    assert job.run(form, kedge_constraints_before=held) == 1
    assert says in job.message
    assert not (job.root / "processing/output/constraints.json").exists()


def test_answers_are_taken_where_the_baseline_was_made_of_them(job: Job):
    held = before(job, ["0.5,1.5,3", "0.25,2.5,4"])
    job.put("part.jsonl", "\n".join(merged(number, "1", "0.5") for number in range(10)))
    assert job.run(CAPTURED, kedge_constraints_before=held) == 0
    assert job.feature("bin")["numerical_statistics"]["mean"] == 0.5
