from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from kedge.errors import ServiceError
from kedge.objects.conditions import byte_range, check_read
from kedge.objects.errors import InvalidRange, NotModified

CHANGED = datetime(2024, 5, 1, 12, 0, 0, 700_000, tzinfo=UTC)
SAME = CHANGED.replace(microsecond=0)
BEFORE, LATER = SAME - timedelta(seconds=1), SAME + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("header", "want"),
    [
        (None, None),
        ("bytes=0-0", (0, 1)),
        ("bytes=2-4", (2, 3)),
        ("bytes=7-", (7, 3)),
        ("bytes=0-99", (0, 10)),
        ("bytes=-3", (7, 3)),
        ("bytes=-99", (0, 10)),
        ("bytes=4-2", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("items=0-1", None),
        ("bytes=a-b", None),
        ("bytes=10-", "unsatisfiable"),
        ("bytes=10-20", "unsatisfiable"),
        ("bytes=-0", "unsatisfiable"),
        ("bytes=" + "9" * 30 + "-", "unsatisfiable"),
        ("bytes=" + "9" * 5000 + "-" + "9" * 5001, "unsatisfiable"),
        ("bytes=5-" + "9" * 5000, (5, 5)),
        ("bytes=-" + "9" * 5000, (0, 10)),
        ("bytes=" + "0" * 5000 + "2-3", (2, 2)),
    ],
)
def test_ranges_of_ten_bytes(header, want):
    if want == "unsatisfiable":
        with pytest.raises(InvalidRange):
            byte_range(header, 10)
    else:
        assert byte_range(header, 10) == want


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=-1", "bytes=0-0"])
def test_no_range_lies_in_nothing(header):
    with pytest.raises(InvalidRange):
        byte_range(header, 0)


@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        ({}, 200),
        ({"if_match": '"e"'}, 200),
        ({"if_match": "e"}, 200),
        ({"if_match": "*"}, 200),
        ({"if_match": '"x", "e"'}, 200),
        ({"if_match": '"x"'}, 412),
        ({"if_none_match": '"x"'}, 200),
        ({"if_none_match": '"e"'}, 304),
        ({"if_none_match": 'W/"e"'}, 304),
        ({"if_none_match": "*"}, 304),
        ({"if_modified_since": SAME}, 304),
        ({"if_modified_since": LATER}, 304),
        ({"if_modified_since": BEFORE}, 200),
        ({"if_unmodified_since": SAME}, 200),
        ({"if_unmodified_since": LATER}, 200),
        ({"if_unmodified_since": BEFORE}, 412),
        ({"if_match": '"e"', "if_unmodified_since": BEFORE}, 200),
        ({"if_none_match": '"x"', "if_modified_since": LATER}, 200),
        ({"if_none_match": '"e"', "if_modified_since": BEFORE}, 304),
        ({"if_match": '"e"', "if_none_match": '"e"'}, 304),
        ({"if_match": '"x"', "if_none_match": '"e"'}, 412),
    ],
)
def test_conditional_reads(conditions, status):
    found = 200
    try:
        check_read("e", CHANGED, **conditions)
    except ServiceError as error:
        found = error.status
    assert found == status


def test_what_has_not_changed_is_told_with_its_etag():
    with pytest.raises(NotModified) as told:
        check_read("e", CHANGED, if_none_match="*")
    assert told.value.headers == {"etag": '"e"', "last-modified": "Wed, 01 May 2024 12:00:00 GMT"}
