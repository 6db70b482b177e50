"""Composite alarms by themselves: evaluated when a child has changed, and their actions held back by a suppressor.

What a composite was last evaluated on is written with it: each child and since when it is in its state. So it is
evaluated again when, and only when, one of them differs, whichever process looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from kedge.alarms import reasons, rule, suppression
from kedge.alarms.evaluate import State
from kedge.alarms.graph import order
from kedge.alarms.known import Composite, Key, KnownAlarms
from kedge.alarms.reasons import INITIAL
from kedge.alarms.records import COMPOSITE, Alarm, arn_of, moment, seconds
from kedge.alarms.transition import act, set_state
from kedge.store.records import Author, Resource
from kedge.store.store import Store
from kedge.store.transaction import Transaction


class Composites:
    def __init__(self, store: Store, known: KnownAlarms) -> None:
        self._store, self._known = store, known

    def look(self, author: Author, held: tuple[str, int]) -> None:
        """Blocks. Raises LeaseLost."""
        for key in [key for key, each in self._known.composite.items() if each.suppressor is not None]:
            self._suppress(self._known.composite[key], author, held)
        for key in self._to_evaluate():
            self._evaluate(self._known.composite[key], author, held)

    def _to_evaluate(self) -> list[Key]:
        """Those whose children have changed and those that name them, children first; none on a cycle."""
        composites = self._known.composite
        changed = {key for key, each in composites.items() if self._children(each) != each.alarm.seen}
        if not changed:
            return []
        found = []
        for key in order({key: list(each.children.values()) for key, each in composites.items()}):
            if key in changed or not changed.isdisjoint(composites[key].children.values()):
                changed.add(key)
                found.append(key)
        return found

    def _children(self, composite: Composite) -> dict[str, float]:
        """ARN -> when it came into its state."""
        since = ((key, self._known.since(key)) for key in composite.children.values())
        return {arn_of(*key): at_s for key, at_s in since if at_s is not None}

    def _evaluate(self, composite: Composite, author: Author, held: tuple[str, int]) -> None:
        children = self._children(composite)
        seen = composite.alarm.seen
        if children == seen:
            return  # a child was evaluated before it, and did not change
        found = {name: self._known.resource(key) for name, key in composite.children.items()}
        holds = rule.holds(composite.rule, {name: each.status for name, each in found.items() if each is not None})
        state = State.ALARM if holds else State.OK
        causes = {
            arn: each
            for key in composite.children.values()
            if (each := self._known.resource(key)) is not None and (arn := arn_of(*key)) is not None
            if seen is None or seen.get(arn) != children[arn]
        }
        alarm = replace(composite.alarm, seen=children)
        with self._store.transaction(author, lease=held) as tx:
            current = _current(tx, composite)
            if current is None:
                return
            if state == current.status:
                after = tx.observe(current, alarm.document())
            else:
                data = reasons.composite_data(
                    [(arn, each.status, moment(_since(each))) for arn, each in causes.items()]
                )
                after = set_state(tx, current, state, _reason(composite, state, causes), data, author.at, alarm)
        self._known.took(after)

    def _suppress(self, composite: Composite, author: Author, held: tuple[str, int]) -> None:
        """The suppressor has changed, or one of its periods is over."""
        assert composite.suppressor is not None
        suppressor = composite.alarm.suppressor(self._known.resource(composite.suppressor))
        assert suppressor is not None
        state, runs = suppression.passed(composite.alarm.suppression, suppressor, seconds(author.at))
        if state == composite.alarm.suppression and not runs:
            return
        with self._store.transaction(author, lease=held) as tx:
            current = _current(tx, composite)
            if current is None:
                return
            after = tx.observe(current, replace(composite.alarm, suppression=state).document())
            if runs:
                act(tx, after, composite.alarm.owed_from, author.at)
        self._known.took(after)


def _current(tx: Transaction, composite: Composite) -> Resource | None:
    """None where it was changed since it was read; the next pass sees it as it is."""
    read = composite.resource
    found = tx.get(read.scope, COMPOSITE, read.name)
    same = found is not None and (found.id, found.version) == (read.id, read.version)
    return found if same else None


def _since(resource: Resource) -> float:
    return Alarm.of(resource.document).transitioned_at_s


def _reason(composite: Composite, state: State, causes: Mapping[str, Resource]) -> str:
    resource = composite.resource
    own = arn_of(resource.scope, resource.name)
    if composite.alarm.reason == INITIAL:
        return reasons.first_composite_reason(own, state)
    if composite.alarm.seen is None or not causes:
        return reasons.updated_composite_reason(own, state)
    arn, child = max(causes.items(), key=lambda each: _since(each[1]))
    return reasons.composite_reason(arn, child.status, moment(_since(child)))
