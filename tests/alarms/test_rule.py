"""The grammar of composite alarms' rules, and what they mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.alarms.graph import on_cycles, order
from kedge.alarms.rule import AllOf, AnyOf, AtLeast, Is, Not, children, holds, parse
from kedge.errors import ValidationFailed

ARN = "arn:aws:cloudwatch:us-east-1:111122223333:alarm:CPU use (high)"
STATES = {"up": "OK", "down": "ALARM", "new": "INSUFFICIENT_DATA", "a b": "ALARM", ARN: "ALARM", "NOT": "OK"}


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("TRUE", True),
        ("FALSE", False),
        ("true", True),
        ("(False)", False),
        ("ALARM(down)", True),
        ("ALARM(up)", False),
        ("OK(up)", True),
        ("INSUFFICIENT_DATA(new)", True),
        ('ALARM("a b")', True),
        (f'ALARM("{ARN}")', True),
        ("OK(NOT)", True),
        ("NOT ALARM(up)", True),
        ("NOT (ALARM(up))", True),
        ("NOT(ALARM(down))", False),
        ("NOT NOT ALARM(down)", True),
        ("ALARM(up) OR ALARM(down)", True),
        ("ALARM(up) AND ALARM(down)", False),
        ("ALARM(down) OR ALARM(up) AND FALSE", True),
        ("(ALARM(down) OR ALARM(up)) AND FALSE", False),
        ("NOT ALARM(up) AND ALARM(down)", True),
        ("AT_LEAST(1, ALARM, (up, down, new))", True),
        ("AT_LEAST(2, ALARM, (up, down, new))", False),
        ("AT_LEAST(2, NOT ALARM, (up, down, new))", True),
        ('AT_LEAST(50%, ALARM, (up, down, new, "a b"))', True),
        ('AT_LEAST(51%, ALARM, (up, down, new, "a b"))', False),
        ("AT_LEAST(100%, ALARM, (down))", True),
        ("ALARM(down)\n  AND\tTRUE", True),
        ("ALARM(unknown) OR OK(unknown) OR INSUFFICIENT_DATA(unknown)", False),
    ],
)
def test_what_a_rule_means(text, want):
    assert holds(parse(text), STATES) is want


def test_what_binds_closer():
    assert parse("ALARM(a) OR ALARM(b) AND NOT ALARM(c)") == AnyOf(
        (Is("ALARM", "a"), AllOf((Is("ALARM", "b"), Not(Is("ALARM", "c")))))
    )


def test_children_are_named_once_each():
    rule = parse('ALARM(a) AND (OK("b c") OR NOT ALARM(a)) AND AT_LEAST(1, OK, (d, a))')
    assert children(rule) == ("a", "b c", "d")
    assert parse("AT_LEAST(30%, NOT OK, (a, b, c, d))") == AtLeast(30, True, True, "OK", ("a", "b", "c", "d"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it ends where"),
        ("ALARM(a", "it ends where"),
        ("ALARM(a) AND", "it ends where|at character"),
        ("ALARM(a) ALARM(b)", "at character 10, from 'ALARM"),
        ("ALARM(a) and OK(b)", "at character 10"),
        ("alarm(a)", "at character 1"),
        ("ALARM(a b)", "at character 9"),
        ("ALARM(a,b)", "at character 8"),
        ("ALARM()", "at character 7"),
        ('ALARM("")', '"" is not the name'),
        ("NOTALARM(a)", "at character 1"),
        ("ALARM(a) XOR OK(b)", "at character 10"),
        ("AT_LEAST(0, ALARM, (a))", "from 1 to 1"),
        ("AT_LEAST(3, ALARM, (a, b))", "from 1 to 2"),
        ("AT_LEAST(101%, ALARM, (a, b))", "from 1 to 100"),
        ("AT_LEAST(-1, ALARM, (a))", "at character"),
        ("AT_LEAST(1, (a))", "at character"),
        ("AT_LEAST(1, ALARM, ())", "at character"),
        ("(" * 101 + "TRUE" + ")" * 101, "more than 100 levels"),
        (" OR ".join(["TRUE"] * 501), "501 elements"),
        (" OR ".join(f"ALARM(a{number})" for number in range(101)), "101 alarms"),
        ("NOT " * 501 + "TRUE", "501 times NOT"),
    ],
)
def test_what_is_no_rule_is_refused_with_the_place(text, said):
    with pytest.raises(ValidationFailed, match="Invalid alarm rule: ") as caught:
        parse(text)
    import re

    assert re.search(said, caught.value.message), caught.value.message


def test_rules_up_to_the_limits():
    assert len(children(parse(" OR ".join(f"ALARM(a{number})" for number in range(100))))) == 100
    assert parse("(" * 100 + "TRUE" + ")" * 100) is True
    assert parse(" AND ".join(["TRUE"] * 500)) is not None
    assert holds(parse("NOT " * 500 + "TRUE"), {}) is True


names = st.text("abcdefghij", min_size=1, max_size=3)
rules = st.recursive(
    st.booleans()
    | st.builds(Is, st.sampled_from(["OK", "ALARM", "INSUFFICIENT_DATA"]), names)
    | st.lists(names, min_size=1, max_size=4, unique=True).flatmap(
        lambda alarms: st.builds(
            AtLeast,
            st.integers(1, len(alarms)),
            st.just(False),
            st.booleans(),
            st.sampled_from(["OK", "ALARM"]),
            st.just(tuple(alarms)),
        )
    ),
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(AllOf, st.lists(inner, min_size=2, max_size=3).map(tuple))
        | st.builds(AnyOf, st.lists(inner, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=12,
)


def written(rule: object) -> str:
    match rule:
        case bool():
            return str(rule).upper()
        case Is(state, alarm):
            return f"{state}({alarm})"
        case AtLeast(number=number, negated=negated, state=state, alarms=alarms):
            return f"AT_LEAST({number}, {'NOT ' if negated else ''}{state}, ({', '.join(alarms)}))"
        case Not(inner):
            return f"NOT ({written(inner)})"
        case AllOf(inner):
            return " AND ".join(f"({written(each)})" for each in inner)
        case AnyOf(inner):
            return " OR ".join(f"({written(each)})" for each in inner)
    raise AssertionError(rule)


@given(rules)
def test_a_rule_that_is_written_down_is_read_again(rule):
    assert parse(written(rule)) == rule


def test_children_come_first_and_cycles_are_left_out():
    edges = {"a": ["b", "m"], "b": ["c"], "c": ["m"], "x": ["y"], "y": ["x", "a"], "z": ["x", "a"], "s": ["s"]}
    assert on_cycles(edges) == {"x", "y", "s"}
    found = order(edges)
    assert set(found) == {"a", "b", "c", "z"}
    assert found.index("c") < found.index("b") < found.index("a") < found.index("z")


@given(st.dictionaries(st.integers(0, 6), st.lists(st.integers(0, 8), max_size=4), max_size=7))
def test_an_alarm_is_on_a_cycle_when_it_reaches_itself(edges):
    def reaches(start: int) -> bool:
        seen, waiting = set(), list(edges[start])
        while waiting:
            node = waiting.pop()
            if node not in seen and node in edges:
                seen.add(node)
                waiting.extend(edges[node])
        return start in seen

    assert on_cycles(edges) == {node for node in edges if reaches(node)}
