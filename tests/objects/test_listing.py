"""A page against the rule written down plainly: sort, fold, cut."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from kedge.objects.listing import page, start_after

KEYS = st.sets(st.text(alphabet="ab/é\x00\U0001f600", max_size=6), max_size=40)
SHORT = st.text(alphabet="ab/é", max_size=2)


@dataclass(frozen=True)
class Row:
    key: str


class Rows:
    def __init__(self, keys: set[str]) -> None:
        self.keys = sorted(keys, key=str.encode)
        self.read = 0

    def scan(self, start: bytes) -> Iterator[Row]:
        for key in self.keys:
            if key.encode() >= start:
                self.read += 1
                yield Row(key)


def folded(keys: list[str], prefix: str, delimiter: str) -> list[tuple[str, bool]]:
    """(what is shown, whether it is a common prefix), in order, each once."""
    shown: list[tuple[str, bool]] = []
    for key in keys:
        if key.startswith(prefix):
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            entry = (prefix + head + found, True) if found else (key, False)
            if entry not in shown:
                shown.append(entry)
    return shown


@given(KEYS, SHORT, SHORT, st.integers(1, 5))
def test_pages_put_together_show_everything_once_in_order(keys, prefix, delimiter, limit):
    rows = Rows(keys)
    want = folded(rows.keys, prefix, delimiter)
    seen: list[tuple[str, bool]] = []
    after: str | None = None
    while True:
        found = page(rows.scan, start_after(prefix, delimiter, after), prefix, delimiter, limit)
        both = [(row.key, False) for row in found.rows] + [(each, True) for each in found.common_prefixes]
        both.sort(key=lambda entry: entry[0].encode())
        assert len(both) <= limit
        seen += both
        assert found.truncated == (len(seen) < len(want))
        if not found.truncated:
            break
        assert found.last == both[-1][0]
        after = found.last
    assert seen == want


@given(KEYS, SHORT, st.text(alphabet="ab/é", max_size=4))
def test_a_page_begins_behind_any_text(keys, prefix, after):
    rows = Rows(keys)
    found = page(rows.scan, start_after(prefix, "", after), prefix, "", 1000)
    assert [row.key for row in found.rows] == [
        key for key in rows.keys if key.startswith(prefix) and key.encode() > after.encode()
    ]


def test_an_after_within_a_common_prefix_is_behind_it():
    rows = Rows({"a/1", "a/5", "a/9", "b"})
    found = page(rows.scan, start_after("", "/", "a/5"), "", "/", 10)
    assert ([row.key for row in found.rows], found.common_prefixes) == (["b"], [])


def test_a_long_common_prefix_is_sought_past():
    rows = Rows({f"a/{n:05}" for n in range(5000)} | {f"b/{n:05}" for n in range(5000)} | {"c"})
    found = page(rows.scan, b"", "", "/", 10)
    assert (found.common_prefixes, [row.key for row in found.rows]) == (["a/", "b/"], ["c"])
    assert rows.read < 100


def test_a_page_of_nothing():
    assert page(Rows({"a"}).scan, b"", "", "", 0).truncated is False
