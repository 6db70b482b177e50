from __future__ import annotations

from kedge.node.captured import ask, merged


def one(variant: str, taken: int, problem: str = "") -> dict[str, object]:
    return {
        "account": "1", "region": "r", "endpoint": "e", "variant": variant, "taken": taken, "dropped": 1,
        "withheld": 0, "problem": problem,
    }  # fmt: skip


def test_the_routers_counts_are_added():
    found = merged([[one("v", 3), one("a", 1)], [one("v", 4, "no bucket")]])
    assert [(each["variant"], each["taken"], each["dropped"], each["problem"]) for each in found] == [
        ("a", 1, 1, ""),
        ("v", 7, 2, "no bucket"),
    ]


def test_a_router_that_is_not_there_says_nothing(tmp_path):
    assert ask([tmp_path / "router-0.sock"]) == []
