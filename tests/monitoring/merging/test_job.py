"""The merge job: which records get which label, where they land, and what it says of the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.monitoring import merger
from kedge.monitoring.merging.labels import Found, count_unknown, labels, merged

HOUR = "orders/AllTraffic/2026/11/29/03"


def record(name: str, inference: str | None = None) -> dict[str, Any]:
    meta = {"eventId": name, "inferenceTime": "2026-11-29T03:10:00Z"}
    return {
        "captureData": {
            "endpointOutput": {"data": "1", "encoding": "CSV", "observedContentType": "text/csv", "mode": "OUTPUT"}
        },
        "eventMetadata": meta | ({"inferenceId": inference} if inference else {}),
        "eventVersion": "0",
    }


def label(name: str, data: str, encoding: str = "CSV") -> dict[str, Any]:
    return {
        "groundTruthData": {"data": data, "encoding": encoding},
        "eventMetadata": {"eventId": name},
        "eventVersion": "0",
    }


def write(folder: Path, lines: list[Any], name: str = "a.jsonl") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in lines))


def run(opt_ml: Path, **more: str) -> tuple[int, list[dict[str, Any]], str]:
    environment = {
        "dataset_source": "/opt/ml/processing/input_data",
        "ground_truth_source": "/opt/ml/processing/groundtruth",
        "output_path": "/opt/ml/processing/output",
        **more,
    }
    code = merger.main(environment, opt_ml)
    files = sorted((opt_ml / "processing/output").rglob("part-*.jsonl"))
    found = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return code, found, (opt_ml / "output/message").read_text()


def test_records_join_by_inference_id_else_by_event_id(tmp_path):
    captured = [record("e-1", "i-1"), record("e-2"), record("e-3", "i-3")]
    write(tmp_path / "processing/input_data" / HOUR, captured)
    truth = tmp_path / "processing/groundtruth/2026/11/29"
    write(truth / "03", [label("i-1", "0"), label("e-2", '{"label": 1}', "JSON"), label("e-3", "1")])

    code, found, message = run(tmp_path)

    assert code == 0
    assert [each["eventMetadata"]["eventId"] for each in found] == ["e-1", "e-2"]
    assert found[0] == captured[0] | {"groundTruthData": {"data": "0", "encoding": "CSV"}}
    assert found[1]["groundTruthData"] == {"data": '{"label": 1}', "encoding": "JSON"}
    assert "2 of 3 captured records have a label" in message


def test_the_output_has_the_folders_of_the_input_and_a_second_merge_replaces_the_first(tmp_path):
    inputs, truth = tmp_path / "processing/input_data", tmp_path / "processing/groundtruth"
    write(inputs / HOUR, [record("a"), record("b")])
    write(inputs / HOUR.replace("/03", "/04"), [record("c")])
    write(truth / "2026/11/29/03", [label("a", "1")])
    assert run(tmp_path)[0] == 0
    (before,) = (tmp_path / "processing/output").rglob("part-*")
    assert str(before.relative_to(tmp_path / "processing/output")).startswith(f"{HOUR}/part-00000-")
    assert before.name.endswith(".c000.jsonl")

    write(truth / "2026/11/29/05", [label("b", "0"), label("c", "0")])
    code, found, _ = run(tmp_path)
    assert code == 0
    assert [each["eventMetadata"]["eventId"] for each in found] == ["a", "b", "c"]
    assert len(list((tmp_path / "processing/output").rglob("part-*"))) == 2


def test_the_last_of_several_labels_wins_and_strangers_are_named(tmp_path, capsys):
    write(tmp_path / "processing/input_data" / HOUR, [record("a"), record("a")])
    truth = tmp_path / "processing/groundtruth/2026/11/29"
    write(truth / "04", [label("a", "late")])
    write(truth / "03", [label("a", "early"), *(label(f"stranger-{n}", "1") for n in range(7)), "no json", {"x": 1}])

    code, found, _ = run(tmp_path)

    said = capsys.readouterr().out
    assert code == 0
    assert [each["groundTruthData"]["data"] for each in found] == ["late", "late"]
    assert "7 labels belong to no captured record: stranger-0, stranger-1" in said
    assert "1 of them replaced by later ones" in said
    assert "Left out 1 lines: a label is no JSON object in UTF-8" in said
    assert "Left out 1 lines: a label has no eventMetadata.eventId" in said


AT = "2026-11-29T03:00:00Z"


@pytest.mark.parametrize(
    ("form", "lines", "kind", "data"),
    [
        ({"csv": {"header": False}}, [f'0.5,"a,b",i-1,{AT}', f"0.7,c,i-2,{AT}", "0.9,no id"], "text/csv", '0.5,"a,b"'),
        (
            {"json": {"lines": True}},
            [{"p": 0.5, "SageMakerInferenceId": "i-1", "SageMakerInferenceTime": AT}, {"p": 0.7}],
            "application/json",
            '{"p":0.5}',
        ),
    ],
)
def test_outputs_of_batch_transforms_are_merged_by_the_ids_in_them(tmp_path, capsys, form, lines, kind, data):
    write(tmp_path / "processing/input_data/2026/11/29/03/job", lines, "rows.csv.out")
    write(tmp_path / "processing/groundtruth/2026/11/29/05", [label("i-1", "1")])
    code, (found,), message = run(tmp_path, dataset_format=json.dumps(form))
    assert code == 0, message
    side = found["captureData"]["batchTransformOutput"]
    assert (side["observedContentType"], side["data"], side["mode"]) == (kind, data, "OUTPUT")
    assert found["eventMetadata"] == {"eventId": "i-1", "inferenceId": "i-1", "inferenceTime": AT}
    assert found["groundTruthData"]["data"] == "1"
    assert "Left out 1 lines: a line of an output has no inference id" in capsys.readouterr().out
    (file,) = (tmp_path / "processing/output").rglob("part-*")
    assert file.parent == tmp_path / "processing/output/2026/11/29/03/job"


def test_what_cannot_be_merged_fails_with_its_reason(tmp_path):
    inputs, truth = tmp_path / "processing/input_data", tmp_path / "processing/groundtruth"
    code, _, message = run_failed(tmp_path)
    assert (code, message) == (1, "dataset_source is /opt/ml/processing/input_data, which is not there.")
    write(inputs / HOUR, [record("a")])
    write(truth / "2026", [])
    assert "There is no ground truth for this window" in run(tmp_path)[2]
    write(truth / "2026", [label("b", "1")])
    code, found, message = run(tmp_path)
    assert code == 1
    assert not found
    assert "None of 1 labels belongs to one of 1 captured records" in message
    assert (tmp_path / "output/failure").read_text() == message
    write(inputs / HOUR, ["not json"])
    assert run(tmp_path)[2] == "None of 1 records could be used: a captured record is no JSON object in UTF-8."
    write(inputs / HOUR, [])
    assert run(tmp_path)[2].startswith("Job inputs had no data")


def run_failed(opt_ml: Path) -> tuple[int, list[dict[str, Any]], str]:
    code = merger.main({"dataset_source": "/opt/ml/processing/input_data", "ground_truth_source": "/x"}, opt_ml)
    return code, [], (opt_ml / "output/message").read_text()


NAMES = st.sampled_from(["a", "b", "c", "d"])


@given(st.lists(NAMES), st.lists(st.tuples(NAMES, st.text(max_size=3))))
def test_a_merge_is_an_inner_join_with_the_last_label(captured, given_labels):
    found, held, used = Found(), dict[str, Any](), set[str]()
    labels([json.dumps(label(*each)).encode() for each in given_labels], found, held)
    lines = list(merged([json.dumps(record(name)).encode() for name in captured], held, used, found))
    count_unknown(held, used, found)

    last = dict(given_labels)
    want = [(name, last[name]) for name in captured if name in last]
    assert [
        (each["eventMetadata"]["eventId"], each["groundTruthData"]["data"]) for each in map(json.loads, lines)
    ] == want
    assert found.merged == len(want)
    assert found.unknown == len(set(last) - set(captured))
    assert found.replaced == len(given_labels) - len(last)


@pytest.mark.parametrize(
    ("form", "lines", "data"),
    [
        ('{"csv": {"header": false}}', ['"a,b",0.5,one,AT', "c,0.25,two,AT", "short"], ['"a,b",0.5', "c,0.25"]),
        ('{"csv": {"header": true}}', ["x,y", "0.5,one,AT", "0.25,two,AT"], ["0.5", "0.25"]),
        (
            '{"json": {"lines": true}}',
            [
                {"SageMakerOutput": 0.5, "SageMakerInferenceId": "one", "SageMakerInferenceTime": "AT"},
                {"x": 1, "SageMakerInferenceId": "two", "SageMakerInferenceTime": "AT"},
                7,
            ],
            ["0.5", '{"x":1}'],
        ),
    ],
)
def test_outputs_of_a_batch_transform_join_by_the_ids_that_it_gave_them(tmp_path, form, lines, data):
    at = "2026-11-29T03:10:00Z"
    told = [json.loads(json.dumps(line).replace("AT", at)) for line in lines]
    write(tmp_path / "processing/input_data/2026/11/29/03/m", told, "rows.out")
    write(tmp_path / "processing/groundtruth/2026/11/29/04", [label("one", "1"), label("two", "0")])
    code, found, message = run(tmp_path, dataset_format=form)
    assert code == 0, message
    assert [each["captureData"]["batchTransformOutput"]["data"] for each in found] == data
    assert [each["eventMetadata"] for each in found] == [
        {"eventId": name, "inferenceId": name, "inferenceTime": at} for name in ("one", "two")
    ]


def test_a_format_that_cannot_be_merged_is_named(tmp_path):
    write(tmp_path / "processing/input_data" / HOUR, [record("e-1")])
    write(tmp_path / "processing/groundtruth/2026/11/29/03", [label("e-1", "0")])
    code, _, message = run(tmp_path, dataset_format='{"parquet": {}}')
    assert (code, "names 'parquet'" in message) == (1, True)
