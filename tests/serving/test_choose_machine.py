"""What a router chooses while instances die and come back and the weights change in the middle of it, as a machine."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kedge.serving import choose
from kedge.serving.choose import Split, block_length, shares

NAMES = ("blue", "green", "canary")
KEYS = tuple(f"session-{number}" for number in range(20))
LEAST = "LEAST_OUTSTANDING_REQUESTS"
some_weights = st.lists(st.integers(0, 9).map(float), min_size=len(NAMES), max_size=len(NAMES))


class Choices(RuleBasedStateMachine):
    """Of one endpoint by one router: three variants, up to four instances each."""

    @initialize(weights=some_weights, seed=st.integers())
    def begin(self, weights: list[float], seed: int) -> None:
        self.random = Random(seed)
        self.waiting = Counter[str]()
        self.there = {name: {f"{name}-{number}": 0 for number in range(2)} for name in NAMES}
        self.homes: dict[str, str] = {}
        self.set(weights)

    def set(self, weights: list[float]) -> None:
        self.weights, self.split = weights, Split(weights, self.random)
        self.drawn, self.count = Counter[int](), 0

    @rule(weights=some_weights)
    def weights_change(self, weights: list[float]) -> None:
        before, homes = self.weights, dict(self.homes)
        self.set(weights)
        for key, was in homes.items():
            if not any(weights):
                continue
            now = NAMES[choose.sticky(key, NAMES, weights)]
            if now != was:
                old, new = NAMES.index(was), NAMES.index(now)
                assert weights[new] * before[old] > weights[old] * before[new], "no key moves without a reason"
            self.homes[key] = now

    @precondition(lambda self: any(self.weights))
    @rule(key=st.sampled_from(KEYS))
    def a_session_comes(self, key: str) -> None:
        found = NAMES[choose.sticky(key, NAMES, self.weights)]
        assert self.homes.setdefault(key, found) == found, "it stays while the weights do"

    @precondition(lambda self: any(self.weights))
    @rule(count=st.integers(1, 40), routing=st.sampled_from([LEAST, "RANDOM"]))
    def requests_come(self, count: int, routing: str) -> None:
        for _ in range(count):
            index = self.split.draw()
            self.drawn[index] += 1
            self.count += 1
            self.send(NAMES[index], routing)

    def send(self, name: str, routing: str) -> None:
        there = self.there[name]
        if not there:
            self.waiting[name] += 1
            return
        ids, outstanding = list(there), list(there.values())
        chosen = choose.instance(routing, outstanding, self.random.random())
        assert routing != LEAST or outstanding[chosen] == min(outstanding)
        there[ids[chosen]] += 1

    @rule(name=st.sampled_from(NAMES), number=st.integers(0, 3))
    def an_instance_dies(self, name: str, number: int) -> None:
        """What it had goes to the others, as a suspect: the fewest that one of them has more of."""
        lost = self.there[name].pop(f"{name}-{number}", 0)
        before = max(self.there[name].values(), default=0)
        for _ in range(lost):
            self.send(name, LEAST)
        if self.there[name]:
            assert max(self.there[name].values()) <= before + -(-lost // len(self.there[name]))

    @rule(name=st.sampled_from(NAMES), number=st.integers(0, 3))
    def an_instance_is_ready(self, name: str, number: int) -> None:
        self.there[name].setdefault(f"{name}-{number}", 0)
        waiting, self.waiting[name] = self.waiting[name], 0
        for _ in range(waiting):
            self.send(name, "RANDOM")

    @rule(name=st.sampled_from(NAMES))
    def answers_come(self, name: str) -> None:
        self.there[name] = {id_: max(0, held - 3) for id_, held in self.there[name].items()}

    @precondition(lambda self: not any(self.weights))
    @rule()
    def nothing_takes_traffic(self) -> None:
        for draw in (self.split.draw, lambda: choose.sticky("a", NAMES, self.weights)):
            try:
                draw()
            except choose.NoTraffic:
                continue
            raise AssertionError("traffic went to a variant of weight 0")

    @invariant()
    def each_variant_has_its_share_since_the_weights_changed(self) -> None:
        """To within what one block can hold back or bring forward."""
        parts = shares(self.weights)
        for index, part in enumerate(parts):
            assert part or not self.drawn[index], "a variant of weight 0 gets nothing"
            away = abs(self.drawn[index] - float(part) * self.count)
            assert away <= block_length(parts) * float(part * (1 - part)) + 2

    @invariant()
    def nobody_waits_where_an_instance_is(self) -> None:
        assert all(not self.there[name] for name, count in self.waiting.items() if count)


TestChoices = Choices.TestCase
TestChoices.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
