"""Paths, splitting, filters and joins, and where outputs go."""

from __future__ import annotations

import json
import struct
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.compute.batch_hints import hints_of
from kedge.errors import ValidationFailed
from kedge.jobs import paths, plan
from kedge.jobs.paths import BadPath, NotFound
from kedge.jobs.processing import Processing, Unprocessed
from kedge.jobs.splitting import BadRecord, Batches, splitter

RECORD = {"id": 1, "features": {"a b": [1, 2, 3], "n": 4}, "rows": [10, 11, 12, 13]}


@pytest.mark.parametrize(
    ("path", "picked"),
    [
        ("$", RECORD),
        ("$.id", 1),
        ("$['id']", 1),
        ("$.features.n", 4),
        ("$['features']['a b'][1]", 2),
        ("$.rows[-1]", 13),
        ("$.rows[0,2]", [10, 12]),
        ("$.rows[1:]", [11, 12, 13]),
        ("$.rows[:-1]", [10, 11, 12]),
        ("$.rows[1:3]", [11, 12]),
        ("$['id', 'rows']", {"id": 1, "rows": [10, 11, 12, 13]}),
    ],
)
def test_a_path_picks(path: str, picked: Any) -> None:
    assert paths.parse(path).of(RECORD) == picked


@pytest.mark.parametrize("path", ["", "id", "$x", "$..id", "$.*", "$[*]", "$[?(@.a)]", "$.a[0,1].b", "$[0", "$['a",
                                  "$.rows[0:2][0]"])  # fmt: skip
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(BadPath):
        paths.parse(path)


@pytest.mark.parametrize("path", ["$.none", "$.id.x", "$.rows[9]", "$[0]", "$['id','none']"])
def test_a_path_that_leads_nowhere_says_so(path: str) -> None:
    with pytest.raises(NotFound):
        paths.parse(path).of(RECORD)


def _fed(kind: str, data: bytes, sizes: list[int], most: int = 0) -> list[bytes]:
    split, found, at = splitter(kind, most), [], 0
    for size in [*sizes, len(data)]:
        found += split.feed(data[at : at + size])
        at += size
    return found + split.end()


def _frame(data: bytes, flag: int = 0) -> bytes:
    return struct.pack("<II", 0xCED7230A, flag << 29 | len(data)) + data + bytes(-len(data) % 4)


def _tf_record(data: bytes) -> bytes:
    return struct.pack("<QI", len(data), 1) + data + b"last"


@given(st.lists(st.binary(max_size=9)), st.lists(st.integers(1, 7), max_size=9))
def test_pieces_do_not_change_what_records_there_are(records: list[bytes], sizes: list[int]) -> None:
    lines = [b"r" + record.replace(b"\n", b"") + b"\n" for record in records]
    assert _fed("Line", b"".join(lines), sizes) == lines
    frames = [_frame(record) for record in records]
    assert _fed("RecordIO", b"".join(frames), sizes) == frames
    tf_records = [_tf_record(record) for record in records]
    assert _fed("TFRecord", b"".join(tf_records), sizes) == tf_records
    assert _fed("None", b"".join(records), sizes) == [b"".join(records)]


def test_records_are_cut_as_they_should_be() -> None:
    assert _fed("Line", b"a\n\nb", []) == [b"a\n", b"b\n"]
    parts = _frame(b"one", 1) + _frame(b"two", 2) + _frame(b"three", 3)
    assert _fed("RecordIO", parts + _frame(b"four"), [5]) == [parts, _frame(b"four")]
    for kind, data, most in (
        ("RecordIO", b"nonsense", 0),
        ("RecordIO", _frame(b"cut")[:-1], 0),
        ("RecordIO", _frame(b"begun", 1), 0),
        ("RecordIO", _frame(b"long"), 8),
        ("TFRecord", b"nonsense, and more of it", 0),
        ("TFRecord", _tf_record(b"cut")[:-1], 0),
        ("TFRecord", _tf_record(b"long"), 8),
        ("Line", b"12345\n", 4),
        ("Line", b"12345", 4),
        ("None", b"12345", 4),
    ):
        with pytest.raises(BadRecord):
            _fed(kind, data, [], most)


@given(st.lists(st.binary(min_size=1, max_size=6)), st.integers(6, 20))
def test_batches_are_full_and_no_fuller(records: list[bytes], most: int) -> None:
    batches = Batches(most, single=False)
    found = [*batches.add(records), *batches.end()]
    assert [record for batch in found for record in batch] == records
    sizes = [sum(map(len, batch)) for batch in found]
    assert all(size <= most for size in sizes)
    assert all(size + len(following[0]) > most for size, following in zip(sizes, found[1:], strict=False))
    single = Batches(most, single=True)
    assert [*single.add(records), *single.end()] == [[record] for record in records]


def _processed(
    given: dict[str, str], records: list[bytes], answer: bytes, kind: str
) -> tuple[list[bytes], list[bytes]]:
    work = Processing.of(given)
    assert work is not None
    return work.to_model(records, kind), work.to_output(records, kind, answer, kind)


def test_csv_is_filtered_and_joined() -> None:
    sent, out = _processed(
        {"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"},
        [b'7,"a,b",2\n', b"8,c,3\n"],
        b"0.1\n0.2\n",
        "text/csv",
    )
    assert sent == [b'"a,b",2\n', b"c,3\n"]
    assert out == [b"7,0.1\n", b"8,0.2\n"]


def test_json_is_filtered_and_joined() -> None:
    record = b'{"id": 1, "features": [1, 2]}\n'
    sent, out = _processed(
        {"InputFilter": "$.features", "JoinSource": "Input", "OutputFilter": "$['id','SageMakerOutput']"},
        [record],
        b'{"score": 0.5}\n',
        "application/jsonlines",
    )
    assert sent == [b"[1, 2]\n"]
    assert [json.loads(each) for each in out] == [{"id": 1, "SageMakerOutput": {"score": 0.5}}]
    _, out = _processed({"JoinSource": "Input"}, [b"[1]\n"], b"2", "application/json")
    assert [json.loads(each) for each in out] == [{"SageMakerInput": [1], "SageMakerOutput": 2}]


def test_what_cannot_be_joined_says_so() -> None:
    for answer, kind in ((b"1\n", "text/csv"), (b"1\n2\n", "application/jsonlines"), (b"1\n2\n", "image/png")):
        work = Processing.of({"JoinSource": "Input"})
        assert work is not None
        with pytest.raises(Unprocessed):
            work.to_output([b"1\n", b"2\n"], "text/csv", answer, kind)
    assert Processing.of({"InputFilter": "$", "OutputFilter": "$", "JoinSource": "None"}) is None


@pytest.mark.parametrize(
    ("uri", "keys", "outputs"),
    [
        ("s3://b/in/", ["in/a.csv", "in/sub/b.csv", "in/sub/"], ["a.csv.out", "sub/b.csv.out"]),
        ("s3://b/in", ["in/a.csv", "in2/b.csv"], ["a.csv.out", "in2/b.csv.out"]),
        ("s3://b/in/a.csv", ["in/a.csv"], ["a.csv.out"]),
        ("s3://b/in/part-", ["in/part-0", "in/part-1"], ["part-0.out", "part-1.out"]),
        ("s3://b", ["a.csv"], ["a.csv.out"]),
    ],
)
def test_outputs_lie_as_inputs_do(uri: str, keys: list[str], outputs: list[str]) -> None:
    found = plan.inputs_of_prefix(uri, keys, "s3://o/out/")
    assert [each.output.removeprefix("s3://o/out/") for each in found] == outputs
    assert [each.uri for each in found] == [f"s3://b/{key}" for key in keys if not key.endswith("/")]


def test_a_manifest_names_its_objects() -> None:
    text = json.dumps([{"prefix": "s3://b/p/"}, "a.csv", "sub/b.csv"]).encode()
    found = plan.inputs_of_manifest(text, "s3://b/m", "s3://o")
    assert [(each.uri, each.output) for each in found] == [
        ("s3://b/p/a.csv", "s3://o/a.csv.out"),
        ("s3://b/p/sub/b.csv", "s3://o/sub/b.csv.out"),
    ]
    for bad in (b"", b"[]", b"{}", b'["a"]', b'[{"prefix": "x"}, "a"]', b'[{"prefix": "s3://b/"}]',
                b'[{"prefix": "s3://b/"}, 1]'):  # fmt: skip
        with pytest.raises(plan.BadInput):
            plan.inputs_of_manifest(bad, "s3://b/m", "s3://o")


def test_capture_names_inputs_and_outputs() -> None:
    started_at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    inputs = plan.inputs_of_prefix("s3://b/in/", ["in/a", "in/c/d"], "s3://o/out")
    found = plan.captured({"DataCaptureConfig": {"DestinationS3Uri": "s3://c/x"}}, inputs, "n", started_at)
    assert [(uri, json.loads(text)) for uri, text in found] == [
        ("s3://c/x/input/2026/01/02/03/n.json", [{"prefix": "s3://b/"}, "in/a", "in/c/d"]),
        ("s3://c/x/output/2026/01/02/03/n.json", [{"prefix": "s3://o/"}, "out/a.out", "out/c/d.out"]),
    ]
    assert plan.captured({}, inputs, "n", started_at) == []


def _request(**more: Any) -> dict[str, Any]:
    source = {"S3DataSource": {"S3DataType": more.pop("kind", "S3Prefix"), "S3Uri": "s3://b/in"}}
    return {
        "TransformJobName": "j",
        "ModelName": "m",
        "TransformInput": {"DataSource": source, **more.pop("input", {})},
        "TransformOutput": {"S3OutputPath": "s3://b/out", **more.pop("output", {})},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1, **more.pop("resources", {})},
        **more,
    }


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (_request(BatchStrategy="SingleRecord"), "SplitType has to be Line, RecordIO or TFRecord"),
        (_request(MaxPayloadInMB=101), "at most 100"),
        (_request(MaxPayloadInMB=30, MaxConcurrentTransforms=4), "at most 100"),
        (_request(kind="AugmentedManifestFile"), "has to be ManifestFile or S3Prefix"),
        (_request(resources={"VolumeKmsKeyId": "k"}), "VolumeKmsKeyId"),
        (_request(DataCaptureConfig={"DestinationS3Uri": "b/c"}), "DestinationS3Uri is"),
        (_request(output={"S3OutputPath": "https://b/out"}), "S3OutputPath is"),
        (_request(DataProcessing={"InputFilter": "$..a"}), "deep scans"),
        (_request(DataProcessing={"JoinSource": "Input"}), "ContentType has to be one of"),
        (_request(DataProcessing={"JoinSource": "Input"}, input={"ContentType": "text/csv"}), "needs SplitType Line"),
        (
            _request(DataProcessing={"JoinSource": "Input"}, input={"ContentType": "text/csv", "SplitType": "Line"}),
            "needs AssembleWith Line",
        ),
    ],
)
def test_what_cannot_be_is_refused(request_: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationFailed, match=says):
        plan.checked(request_)


@pytest.mark.parametrize(
    ("said", "hints"),
    [
        (
            '{"MaxConcurrentTransforms": 8, "BatchStrategy": "SINGLE_RECORD", "MaxPayloadInMB": 2}',
            {"MaxConcurrentTransforms": 8, "BatchStrategy": "SingleRecord", "MaxPayloadInMB": 2},
        ),
        ({"BatchStrategy": "MultiRecord"}, {"BatchStrategy": "MultiRecord"}),
        ({"MaxConcurrentTransforms": 0, "MaxPayloadInMB": -1, "BatchStrategy": ["x"]}, {}),
        ({"MaxConcurrentTransforms": True, "MaxPayloadInMB": "6", "BatchStrategy": "OTHER"}, {}),
        (b"<html>", {}),
        ("[1]", {}),
        (None, {}),
    ],
)
def test_what_a_container_says_of_batches(said: object, hints: dict[str, Any]) -> None:
    assert hints_of(said) == hints
    assert hints_of(hints) == hints


@pytest.mark.parametrize(
    ("given", "hints", "concurrency", "payload_mb", "single"),
    [
        ({}, {"MaxConcurrentTransforms": 8, "MaxPayloadInMB": 2, "BatchStrategy": "SingleRecord"}, 8, 2, True),
        (
            {"MaxConcurrentTransforms": 3, "MaxPayloadInMB": 5},
            {"MaxConcurrentTransforms": 8, "MaxPayloadInMB": 2},
            3,
            5,
            False,
        ),
        ({"MaxConcurrentTransforms": 0}, {"MaxConcurrentTransforms": 8}, 8, 6, False),
        ({"MaxPayloadInMB": 0}, {"MaxPayloadInMB": 2}, 1, 0, False),
        ({"MaxPayloadInMB": 50}, {"MaxConcurrentTransforms": 8}, 1, 50, False),
        ({"BatchStrategy": "MultiRecord"}, {"BatchStrategy": "SingleRecord"}, 1, 6, False),
    ],
)
def test_the_request_counts_then_the_container_then_the_default(
    given: dict[str, Any], hints: dict[str, Any], concurrency: int, payload_mb: int, single: bool
) -> None:
    found = plan.plan_of(plan.hinted(plan.checked(_request(input={"SplitType": "Line"}, **given)), hints))
    assert (found.concurrency, found.payload_bytes, found.single) == (concurrency, payload_mb * 1024**2, single)


def test_what_is_left_out_has_defaults() -> None:
    found = plan.plan_of(plan.checked(_request()))
    assert (found.payload_bytes, found.concurrency, found.timeout_s, found.retries) == (6 * 1024**2, 1, 600.0, 3)
    assert (found.single, found.lines, found.gzip, found.processing) == (True, False, False, None)
    assert plan.environment_of(_request(Environment={"A": "b"}, MaxPayloadInMB=1)) == {
        "A": "b",
        "SAGEMAKER_BATCH": "true",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": "1",
        "SAGEMAKER_BATCH_STRATEGY": "MULTI_RECORD",
        "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "1",
    }


@pytest.mark.parametrize(
    ("kind", "answer", "wanted"),
    [
        ("text/csv", b"0.5,a\n0.7,b\n", [["0.5", "a"], ["0.7", "b"]]),
        ("application/jsonlines", b'{"p": 1}\n[2]\n', [{"p": 1}, {"SageMakerOutput": [2]}]),
        ("application/json", b'{"p": 1}', [{"p": 1}]),
    ],
)
def test_records_of_the_output_get_an_id_and_the_time(kind: str, answer: bytes, wanted: list[Any]) -> None:
    request = _request(DataCaptureConfig={"DestinationS3Uri": "s3://b/c", "GenerateInferenceId": True})
    work = plan.plan_of(plan.checked(request)).processing
    assert work is not None
    sent = [b"x"] * len(wanted)
    assert work.to_model(sent, "image/png") == sent
    lines = work.to_output(sent, "image/png", answer, kind, "2026-01-02T03:04:05Z")
    ids = set()
    for line, each in zip(lines, wanted, strict=True):
        if kind == "text/csv":
            *values, name, at = line.decode().rstrip("\n").split(",")
            assert values == each
        else:
            found = json.loads(line)
            name, at = found.pop("SageMakerInferenceId"), found.pop("SageMakerInferenceTime")
            assert found == each
        assert (str(uuid.UUID(name)), at) == (name, "2026-01-02T03:04:05Z")
        ids.add(name)
    assert len(ids) == len(wanted)
    with pytest.raises(Unprocessed, match="image/png"):
        work.to_output(sent, "image/png", b"x", "image/png")
