from __future__ import annotations

import base64
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.serving.capture import record
from kedge.serving.capture.records import Capture, Source, Taken, is_sampled
from kedge.serving.capture.rules import parse

KEY = b"k" * 32
BOTH = Capture(100, "b", "p", input=True, output=True, csv_types=("text/csv",), json_types=("application/json",))
AT_S = 1_606_742_645.987  # 2020-11-30T13:24:05Z


def taken(body: bytes = b"1,2\n", kind: str = "text/csv", **more: str) -> Taken:
    said = {"inference_id": "", "attributes": "", "output_type": "application/json", **more}
    return Taken(
        AT_S, "4e26a394-28f9-57ec-bf3e-000000000002", **said, input_type=kind, input=body, output=b'{"p": 0.5}'
    )


def test_the_record_is_sagemakers():
    line, withheld = record.line(taken(inference_id="i-1", attributes="c=1,d"), BOTH, KEY)
    assert not withheld
    assert line.endswith(b"}\n")
    assert json.loads(line) == {
        "captureData": {
            "endpointInput": {"observedContentType": "text/csv", "mode": "INPUT", "data": "1,2\n", "encoding": "CSV"},
            "endpointOutput": {
                "observedContentType": "application/json", "mode": "OUTPUT", "data": '{"p": 0.5}', "encoding": "JSON",
            },
        },
        "eventMetadata": {
            "eventId": "4e26a394-28f9-57ec-bf3e-000000000002",
            "inferenceId": "i-1",
            "customAttributes": ["c=1,d"],
            "inferenceTime": "2020-11-30T13:24:05Z",
        },
        "eventVersion": "0",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("modes", "members"), [((True, False), ["endpointInput"]), ((False, True), ["endpointOutput"])]
)
def test_only_what_is_asked_for_is_there(modes, members):
    one = Capture(100, "b", "p", input=modes[0], output=modes[1])
    found = json.loads(record.line(taken(), one, KEY)[0])
    assert list(found["captureData"]) == members
    assert found["eventMetadata"].keys() == {"eventId", "inferenceTime"}


ENCODINGS = [
    ("text/csv", b"1", "CSV"),
    ("text/csv; charset=utf-8", b"1", "CSV"),
    ("TEXT/CSV", b"1", "CSV"),
    ("application/json", b"{}", "JSON"),
    ("text/html", b"<p>", "BASE64"),
    ("", b"x", "BASE64"),
    ("text/csv", b"\xff\xfe", "BASE64"),
    ("application/jsonlines", b"{}", "BASE64"),
]


@pytest.mark.parametrize(("kind", "body", "encoding"), ENCODINGS)
def test_the_content_type_without_its_parameters_chooses_the_encoding(kind, body, encoding):
    side = json.loads(record.line(taken(body, kind), BOTH, KEY)[0])["captureData"]["endpointInput"]
    assert side["encoding"] == encoding
    assert side["observedContentType"] == kind
    assert side["data"] == (base64.b64encode(body).decode() if encoding == "BASE64" else body.decode())


@given(st.binary(max_size=200), st.sampled_from(["text/csv", "application/json", "x/y"]))
def test_every_body_comes_back_byte_for_byte(body, kind):
    line = record.line(taken(body, kind), BOTH, KEY)[0]
    assert line.count(b"\n") == 1
    side = json.loads(line)["captureData"]["endpointInput"]
    back = base64.b64decode(side["data"]) if side["encoding"] == "BASE64" else side["data"].encode()
    assert back == body


def with_rules(**tags: str) -> Capture:
    rules = parse({f"kedge:capture-{name}": value for name, value in tags.items()})
    return Capture(100, "b", "p", input=True, output=True, csv_types=("text/csv",), rules=rules)


def test_rules_act_on_what_is_written_and_on_what_is_written_in_base64():
    capture = with_rules(mask="input/1 output/json/p")
    line, withheld = record.line(taken(), capture, KEY)
    sides = json.loads(line)["captureData"]
    assert not withheld
    assert sides["endpointInput"]["data"] == "1,****\n"
    assert sides["endpointOutput"]["encoding"] == "BASE64"
    assert base64.b64decode(sides["endpointOutput"]["data"]) == b'{"p":"****"}'


@pytest.mark.parametrize(("body", "kind"), [(b"\xff", "text/csv"), (b"1,2", "x/y"), (b"1,2", "text/csv")])
def test_a_body_that_the_rules_cannot_read_is_withheld(body, kind):
    line, withheld = record.line(taken(body, kind), with_rules(mask="input/secret"), KEY)
    sides = json.loads(line)["captureData"]
    assert withheld
    assert sides["endpointInput"]["data"] == ""
    assert sides["endpointOutput"]["data"] != ""


def test_the_key_is_sagemakers():
    key = record.object_key("p/q", "MyEndpoint", "AllTraffic", AT_S, "d5f1c0de-0000-4000-8000-000000000000")
    assert key == "p/q/MyEndpoint/AllTraffic/2020/11/30/13/24-05-987-d5f1c0de-0000-4000-8000-000000000000.jsonl"
    assert record.object_key("", "E", "v", AT_S, "u") == "E/v/2020/11/30/13/24-05-987-u.jsonl"


@given(st.floats(0, 4e9), st.floats(0, 3599))
def test_records_of_one_hour_share_a_folder(at_s, more_s):
    first, second = (record.object_key("p", "e", "v", at, "u") for at in (at_s, at_s + more_s))
    same_hour = record.hour_of(at_s) == record.hour_of(at_s + more_s)
    assert (first.rpartition("/")[0] == second.rpartition("/")[0]) == same_hour
    assert re.fullmatch(r"p/e/v/\d{4}/\d\d/\d\d/\d\d/\d\d-\d\d-\d{3}-u\.jsonl", first)


@pytest.mark.parametrize(
    ("percent", "draw", "sampled"),
    [(0, 0.0, False), (100, 0.999999, True), (20, 0.19999, True), (20, 0.2, False), (1, 0.0, True)],
)
def test_sampling(percent, draw, sampled):
    assert is_sampled(percent, draw) is sampled


def test_a_source_survives_json():
    source = Source("1", "r", "e", "v", with_rules(mask="input/csv/1 a.-.b", hash="c"))
    assert Source.of(json.loads(json.dumps(source.as_dict()))) == source
