"""Merged records as a training set, by the program as a job runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kedge.monitoring import merger


def record(data: str, label: str, *, kind: str = "CSV", at: str = "2026-11-29T03:10:00Z") -> str:
    mime = {"CSV": "text/csv", "JSON": "application/json"}[kind]
    side = {"data": data, "encoding": kind, "observedContentType": mime, "mode": "INPUT"}
    truth = {"data": label, "encoding": "CSV"}
    meta = {"eventId": "1", "inferenceTime": at}
    return json.dumps({"captureData": {"endpointInput": side}, "groundTruthData": truth, "eventMetadata": meta})


def run(opt_ml: Path, *lines: Any, **more: str) -> tuple[int, list[str], str]:
    folder = opt_ml / "processing/input_data/e/v/2026/11/29/03"
    folder.mkdir(parents=True)
    (folder / "part.jsonl").write_text("\n".join(lines))
    environment = {
        "dataset_source": "/opt/ml/processing/input_data", "output_path": "/opt/ml/processing/output",
        "kedge_training_rows": "Enabled", **more,
    }  # fmt: skip
    code = merger.main(environment, opt_ml)
    file = opt_ml / "processing/output/labelled.csv"
    message = (opt_ml / "output/message").read_text()
    return code, file.read_text().splitlines() if file.exists() else [], message


def test_the_label_comes_first_and_there_is_no_header(tmp_path: Path):
    lines = [record("1.50,b", "0"), record("2,c\n3,d", "1\n0"), record('4,"e,f"', "1")]
    code, found, said = run(tmp_path, *lines)
    assert (code, found) == (0, ["0,1.50,b", "1,2,c", "0,3,d", '1,4,"e,f"'])
    assert said == "Completed: 4 rows, 0 records left out."


def test_rows_of_json_are_flattened_in_one_order(tmp_path: Path):
    lines = [
        record('{"age": 4, "home": {"city": "Rome"}}', "1", kind="JSON"),
        record('{"home": {"city": "Oslo"}, "age": null}', "0", kind="JSON"),
        record('{"age": 4}', "0", kind="JSON"),
        record('{"instances": [{"age": 5, "home": {"city": "Lima"}}, {"age": 6, "home": {"city": "Lima"}}]}', "1\n1",
               kind="JSON"),
    ]  # fmt: skip
    code, found, said = run(tmp_path, *lines)
    assert (code, found) == (0, ["1,4,Rome", "0,,Oslo", "1,5,Lima", "1,6,Lima"])
    assert "1 records left out" in said


def test_records_of_another_time_and_without_a_plain_label_are_left_out(tmp_path: Path):
    lines = [
        record("1,2", "0", at="2026-11-29T02:59:59Z"),
        record("1,2", "0,1"),
        record("1,2\n3,4", "0"),
        "no JSON",
        record("3,4", "1"),
    ]
    window = {"start_time": "2026-11-29T03:00:00Z", "end_time": "2026-11-29T04:00:00Z"}
    code, found, said = run(tmp_path, *lines, **window)
    assert (code, found) == (0, ["1,3,4"])
    assert "3 records left out" in said


def test_nothing_to_train_on_is_a_reason(tmp_path: Path):
    code, _, said = run(tmp_path, record("1,2", "0,1"))
    assert code == 1
    assert "no labelled record can be a row" in said
    assert "a label has 2 values" in said
