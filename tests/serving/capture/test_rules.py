from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.serving.capture import rules
from kedge.serving.capture.rules import BadRule, Rule, applied, digest, parse

KEY = b"a key of thirty-two bytes, or so"

PARSED = [
    ({"kedge:capture-drop": "3"}, [Rule("drop", ("3",))]),
    ({"kedge:capture-hash": "input/customer_id"}, [Rule("hash", ("customer_id",), "input")]),
    (
        {"kedge:capture-mask:more": "csv/2 json/instances.-.2"},
        [Rule("mask", ("2",), "", "csv"), Rule("mask", ("instances", "-", "2"), "", "json")],
    ),
    ({"kedge:capture-drop": "output/json/a+b.c"}, [Rule("drop", ("a b", "c"), "output", "json")]),
    ({"kedge:capture-drop": "json/output/a"}, [Rule("drop", ("a",), "output", "json")]),
    ({"team": "risk", "kedge:other": "x"}, []),
    (
        {"kedge:capture-mask": "b", "kedge:capture-drop:2": "c", "kedge:capture-drop": "a"},
        [Rule("drop", ("a",)), Rule("drop", ("c",)), Rule("mask", ("b",))],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("tags", "wanted"), PARSED)
def test_tags_are_rules(tags, wanted):
    assert list(parse(tags)) == wanted


BAD = [
    ("kedge:capture-shred", "a", "is no rule of data capture"),
    ("kedge:capture", "a", "is no rule of data capture"),
    ("Kedge:Capture-Drop", "a", "is no rule of data capture"),
    ("kedge:capture-drop", "", "is empty"),
    ("kedge:capture-drop", "both/a", 'has "both/a"'),
    ("kedge:capture-drop", "input/output/a", 'has "input/output/a"'),
    ("kedge:capture-drop", "a..b", 'has "a..b"'),
    ("kedge:capture-drop", "input/", 'has "input/"'),
]


@pytest.mark.parametrize(("key", "value", "says"), BAD)
def test_what_is_no_rule_is_named(key, value, says):
    with pytest.raises(BadRule, match=says) as caught:
        parse({key: value})
    assert key in str(caught.value)


def hidden(text: str, form: str, side: str = "input", **tags: str) -> str | None:
    return applied(parse({f"kedge:capture-{name}": value for name, value in tags.items()}), side, form, text, KEY)


H = digest("7", KEY)
TABLE = [
    ("csv", "1,2,3\n4,5,6\n", {"drop": "1"}, "1,,3\n4,,6\n"),
    ("csv", "1,2,3", {"mask": "2"}, "1,2,****"),
    ("csv", "7,x\r\n7,y\r\n", {"hash": "0"}, f"{H},x\r\n{H},y\r\n"),
    ("csv", "7,x", {"hash": "csv/0"}, f"{H},x"),
    ("csv", "7,x", {"hash": "json/0"}, "7,x"),
    ("csv", "7,x", {"hash": "output/0"}, "7,x"),
    ("csv", "age,e mail\n3,a@b\n", {"mask": "e+mail"}, "age,e mail\n3,****\n"),
    ("csv", "3,a@b\n", {"mask": "email"}, None),
    ("csv", '"a,b",2\n', {"mask": "1"}, '"a,b",****\n'),
    ("csv", '"a', {"mask": "1"}, None),
    ("csv", "1,2", {"mask": "5"}, "1,2"),
    ("csv", "1,,3", {"hash": "1", "mask": "1"}, "1,,3"),
    ("csv", "", {"mask": "1"}, ""),
    ("json", '{"a": {"b": 7}, "c": 1}', {"hash": "a.b"}, f'{{"a":{{"b":"{H}"}},"c":1}}'),
    ("json", '{"a": "7"}', {"hash": "a"}, f'{{"a":"{H}"}}'),
    ("json", '{"a": 1, "b": 2}', {"drop": "a"}, '{"b":2}'),
    ("json", '[{"a": 1}, {"a": 2, "b": 3}]', {"drop": "a"}, '[{},{"b":3}]'),
    ("json", '{"instances": [[1, 2], [3, 4]]}', {"drop": "instances.-.1"}, '{"instances":[[1,null],[3,null]]}'),
    ("json", '{"instances": [[1, 2], [3, 4]]}', {"mask": "instances.1"}, '{"instances":[[1,2],"****"]}'),
    ("json", '{"a": {"x": 1, "y": 2}}', {"mask": "a.-"}, '{"a":{"x":"****","y":"****"}}'),
    ("json", '{"a": null}', {"mask": "a"}, '{"a":null}'),
    ("json", '{"b": 1}', {"mask": "a"}, '{"b":1}'),
    ("json", '{"a": 1}\n{"a": 2}\n', {"mask": "a"}, '{"a":"****"}\n{"a":"****"}\n'),
    ("json", "{a}", {"mask": "a"}, None),
    ("json", "[" * 100_000, {"mask": "a"}, None),
    ("json", '{"a": 1, "a": 2}', {"mask": "b"}, '{"a":2}'),
    ("json", '{"a": "\\ud800"}', {"mask": "b"}, '{"a":"\\ud800"}'),
    ("json", '{"a": "\\ud800"}', {"hash": "a"}, None),
    ("", "whatever", {"mask": "a"}, None),
    ("", "whatever", {"mask": "output/a"}, "whatever"),
]


@pytest.mark.parametrize(("form", "text", "tags", "wanted"), TABLE)
def test_what_is_hidden(form, text, tags, wanted):
    assert hidden(text, form, **tags) == wanted


def test_without_a_rule_a_body_is_as_it_was_sent():
    assert applied((), "input", "json", '{ "a" :1}', KEY) == '{ "a" :1}'


def test_a_hash_is_stable_and_another_key_gives_another():
    assert digest("7", KEY) == digest("7", KEY) != digest("7", KEY[::-1])
    assert len(digest("7", KEY)) == 32
    assert digest("7", KEY) != digest("8", KEY)


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8)
SECRET = "S3CRET"


@given(st.lists(st.lists(CELL, min_size=1, max_size=4), min_size=1, max_size=5), st.data())
def test_no_form_of_csv_lets_a_cell_through(rows, data):
    at = data.draw(st.integers(0, 3))
    for row in rows:
        if at < len(row):
            row[at] = SECRET + row[at]
    out = io.StringIO()
    csv.writer(
        out, lineterminator="\n", quoting=data.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    ).writerows(rows)
    shown = hidden(out.getvalue(), rules.CSV, **{data.draw(st.sampled_from(rules.ACTIONS)): str(at)})
    assert shown is not None
    assert SECRET not in shown
    after = list(csv.reader(io.StringIO(shown, newline="")))
    assert [row[:at] + row[at + 1 :] for row in after] == [row[:at] + row[at + 1 :] for row in rows]


TREE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "secret", "c"]), inner, max_size=3)
    ),
    max_leaves=20,
)


def marked(node, inside=False):
    """Every string below a member named secret says so, and every object has that member."""
    if isinstance(node, dict):
        return {key: marked(value, inside or key == "secret") for key, value in node.items()}
    if isinstance(node, list):
        return [marked(value, inside) for value in node]
    return f"{SECRET}{node}" if inside else node


@given(st.lists(TREE, max_size=3), st.sampled_from(rules.ACTIONS))
def test_no_array_lets_a_member_through(trees, action):
    body = [{"secret": marked(tree, True), "rest": 1} for tree in trees]
    shown = hidden(json.dumps(body), rules.JSON, **{action: "secret"})
    assert shown is not None
    assert SECRET not in shown
    assert all(each["rest"] == 1 for each in json.loads(shown))
