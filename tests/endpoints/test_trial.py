"""What a trial is asked for by tags, how it is judged, and where its requests come from."""

from __future__ import annotations

import base64
import json
from itertools import islice
from random import Random
from typing import Any

import pytest

from kedge.endpoints.requests import Request, of_line, varied
from kedge.endpoints.trial import Measured, Trial, judged, of_tags, percentile, read
from kedge.errors import ValidationFailed
from kedge.serving.meter import VariantPlace
from kedge.shadowing.pairs import Answer, Pair
from kedge.shadowing.tally import Tally

PLACE = VariantPlace("1" * 12, "r", "e", "v")


def measured(latencies_ms: list[float], errors: int = 0, pairs: list[tuple[Any, Any]] | None = None) -> Measured:
    found = Measured(Tally(PLACE, ""))
    for each in latencies_ms:
        found.answered(each)
    for number in range(errors):
        found.failed(f"error {number}")
    for old, new in pairs or []:
        present, answer = (Answer(200, 1000.0, "application/json", json.dumps(each).encode()) for each in (old, new))
        found.compare(Pair(PLACE, "", present, answer, present.body == answer.body))
    return found


SAME, OTHER = (["a"], ["a"]), (["a"], ["b"])
NEAR, FAR = [([n + 0.5], [n + 0.5]) for n in range(100)], [([n + 0.5], [n + 500.5]) for n in range(100)]


@pytest.mark.parametrize(
    ("limits", "found", "says"),
    [
        ({}, measured([1.0]), ""),
        ({}, measured([]), "holds no request"),
        ({}, measured([1.0] * 99, 1), "1 of 100 requests failed; at most 0.00% may. The first: error 0"),
        ({"max_errors": 0.01}, measured([1.0] * 99, 1), ""),
        ({"max_errors": 0.01}, measured([1.0] * 98, 2), "2 of 100 requests failed"),
        ({"max_p50_ms": 10}, measured([10.0, 10.0, 90.0]), ""),
        ({"max_p50_ms": 10}, measured([9.0, 11.0, 12.0]), "the p50 of its latency is 11 ms; at most 10 ms is allowed"),
        ({"max_p99_ms": 10}, measured([1.0] * 99 + [50.0]), ""),
        ({"max_p99_ms": 10}, measured([1.0] * 98 + [50.0] * 2), "the p99 of its latency is 50 ms"),
        ({"max_p99_ms": 10, "max_errors": 1}, measured([], 1), "the p99 of its latency is not known"),
        ({"min_agreement": 0.5}, measured([1.0] * 2, pairs=[SAME, OTHER]), ""),
        ({"min_agreement": 0.6}, measured([1.0] * 2, pairs=[SAME, OTHER]), "50.00% of 2 labels agree"),
        ({"min_agreement": 1}, measured([1.0], pairs=[([0.5], [0.25])]), "0.00% of 1 answers agree"),
        ({"min_agreement": 0.5}, measured([1.0]), "no answer could be compared"),
        ({"max_distance": 0.25}, measured([1.0] * 100, pairs=NEAR), ""),
        ({"max_distance": 0.25}, measured([1.0] * 100, pairs=FAR), "from the present fleet's; at most 0.25 is allowed"),
        ({"max_distance": 0.25}, measured([1.0] * 99, pairs=NEAR[:99]), "too few answers"),
    ],
)
def test_the_judgement(limits: dict[str, Any], found: Measured, says: str):
    report = judged(Trial("captured", **limits), found)
    assert report["Passed"] == (not says)
    assert says in report["Reason"]
    assert (report["Requests"], report["Compared"]) == (found.requests, found.compared)
    json.dumps(report)


def test_what_stopped_it_counts_before_any_limit():
    report = judged(Trial("captured"), measured([1.0]), "it was not over after 5 s.")
    assert (report["Passed"], report["Reason"]) == (False, "The trial of the new fleet: it was not over after 5 s.")


def test_percentiles():
    assert percentile([], 0.5) is None
    assert [percentile([1.0, 2.0, 3.0, 4.0], part) for part in (0.0, 0.5, 0.51, 0.99)] == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("tags", "want"),
    [
        ({}, None),
        ({"kedge:trial": "captured"}, Trial("captured")),
        (
            {
                "kedge:trial": "s3://b/p",
                "kedge:trial-count": "50",
                "kedge:trial-rate": "2.5",
                "kedge:trial-content-type": "text/csv",
                "kedge:trial-max-p99": "100",
                "kedge:trial-max-time": "60",
            },
            Trial("s3://b/p", 2.5, 50, "text/csv", max_p99_ms=100.0, max_time_s=60.0),
        ),
    ],
)
def test_tags(tags: dict[str, str], want: Trial | None):
    assert read(tags) == want
    listed = [{"Key": key, "Value": value} for key, value in {**tags, "team": "a"}.items()]
    assert of_tags(listed) == tags


@pytest.mark.parametrize(
    ("tags", "says"),
    [
        ({"kedge:trial": "http://x"}, 'is "http://x"; it has to be s3://BUCKET/PREFIX, "captured" or "synthetic"'),
        ({"kedge:trial": "s3://"}, "has to be s3://"),
        ({"kedge:trial-rate": "1"}, "has to be s3://"),
        ({"kedge:trial": "captured", "kedge:trial-rte": "1"}, 'tag "kedge:trial-rte" is no setting'),
        ({"kedge:trial": "captured", "kedge:trial-rate": "x"}, 'rate" is "x"; it has to be a number from 0.1 to 200'),
        ({"kedge:trial": "captured", "kedge:trial-max-errors": "nan"}, "has to be a number from 0 to 1"),
        ({"kedge:trial": "captured", "kedge:trial-count": "0"}, "has to be a number from 1 to 10000"),
    ],
)
def test_tags_that_cannot_be(tags: dict[str, str], says: str):
    with pytest.raises(ValidationFailed, match=says):
        read(tags)


def captured(encoding: str, data: str, form: str) -> bytes:
    given = {"observedContentType": form, "mode": "INPUT", "data": data, "encoding": encoding}
    return json.dumps({"captureData": {"endpointInput": given}, "eventVersion": "0"}).encode()


@pytest.mark.parametrize(
    ("line", "want"),
    [
        (b"1,2,3\n", Request("text/csv", b"1,2,3")),
        (b"[1, 2]", Request("application/json", b"[1, 2]")),
        (b'{"a": 1}', Request("application/json", b'{"a": 1}')),
        (b"{not json", Request("application/json", b"{not json")),
        (b"  ", None),
        (captured("CSV", "1,2", "text/csv"), Request("text/csv", b"1,2")),
        (
            captured("BASE64", base64.b64encode(b"\x00\x01").decode(), "application/x-npy"),
            Request("application/x-npy", b"\x00\x01"),
        ),
        (captured("CSV", "", "text/csv"), None),
        (b'{"captureData": {"endpointOutput": {}}}', None),
    ],
)
def test_a_line(line: bytes, want: Request | None):
    assert of_line(line, "") == want


def test_the_form_of_given_bodies_may_be_said():
    assert of_line(b"[1]", "application/jsonlines") == Request("application/jsonlines", b"[1]")


def test_varied_requests_look_like_the_first():
    csv = list(islice(varied(Request("text/csv", b"10,0,red,100.5\n1,7,blue,-3.5"), Random(1)), 20))
    assert csv[0].body == b"10,0,red,100.5\n1,7,blue,-3.5"
    assert len({each.body for each in csv}) > 15
    for each in csv:
        first, second = (line.split(",") for line in each.body.decode().splitlines())
        assert (first[1], first[2], second[0], second[2]) == ("0", "red", "1", "blue")
        assert 5 <= int(first[0]) <= 15
    body = json.dumps({"rows": [[50, 0.5, True, None, "x"]]}).encode()
    found = json.loads(list(islice(varied(Request("application/json", body), Random(1)), 2))[1].body)["rows"][0]
    assert isinstance(found[0], int)
    assert found[1] != 0.5
    assert found[2:] == [True, None, "x"]
    with pytest.raises(ValueError, match="CSV and JSON can be"):
        list(islice(varied(Request("text/plain", b"x"), Random(1)), 2))
