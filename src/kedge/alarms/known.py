"""Every alarm, as it was last read: of thousands, only those are read again that have changed.

It is a copy of the store and nothing more: a process that starts reads them all.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from kedge.alarms import rule
from kedge.alarms.records import COMPOSITE, METRIC, Alarm, name_in
from kedge.alarms.transition import repeats
from kedge.alarms.watched import Watched
from kedge.store.records import Resource, Scope
from kedge.store.store import Store

log = logging.getLogger(__name__)

Key = tuple[Scope, str]
"""Whose the alarm is, and its name."""

_ONE_BY_ONE = 64
"""When more have changed, the whole list is read at once."""


@dataclass(frozen=True)
class Composite:
    resource: Resource
    alarm: Alarm
    rule: rule.Rule
    children: dict[str, Key]
    """By what the rule calls them."""
    suppressor: Key | None

    @classmethod
    def of(cls, resource: Resource) -> Composite:
        alarm = Alarm.of(resource.document)
        parsed = rule.parsed(alarm.config["AlarmRule"])
        children = {each: (resource.scope, name_in(each)) for each in rule.children(parsed)}
        name = alarm.config.get("ActionsSuppressor")
        return cls(resource, alarm, parsed, children, None if name is None else (resource.scope, name_in(name)))


class KnownAlarms:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._versions: dict[str, dict[Key, tuple[int, int]]] = {METRIC: {}, COMPOSITE: {}}
        self.metric: dict[Key, Watched] = {}
        self.composite: dict[Key, Composite] = {}
        self.repeating: set[Key] = set()
        """Metric alarms with targets that are told again and again."""

    def refresh(self) -> list[Key]:
        """Read what has changed. Returns the metric alarms that are new, or watch something else. Blocks."""
        put = []
        for key, resource in self._changed(METRIC).items():
            before = self.metric.pop(key, None)
            self.repeating.discard(key)
            if resource is None:
                continue
            watched = self.metric[key] = Watched.of(resource)
            if repeats(watched.alarm):
                self.repeating.add(key)
            if before is None or before.alarm.config != watched.alarm.config:
                put.append(key)
        for key, resource in self._changed(COMPOSITE).items():
            if resource is None:
                self.composite.pop(key, None)
            else:
                self.composite[key] = Composite.of(resource)
        return put

    def resource(self, key: Key) -> Resource | None:
        found = self.metric.get(key) or self.composite.get(key)
        return None if found is None else found.resource

    def since(self, key: Key) -> float | None:
        """When the alarm came into its state; None when there is none."""
        found = self.metric.get(key) or self.composite.get(key)
        return None if found is None else found.alarm.transitioned_at_s

    def took(self, resource: Resource) -> None:
        """What was just written, so that it need not be read again."""
        key = (resource.scope, resource.name)
        self._versions[resource.kind][key] = (resource.id, resource.version)
        if resource.kind == METRIC:
            self.metric[key] = Watched.of(resource)
        else:
            self.composite[key] = Composite.of(resource)

    def _changed(self, kind: str) -> dict[Key, Resource | None]:
        """None for what is gone."""
        before, now = self._versions[kind], self._store.versions(kind)
        if before == now:
            return {}
        differing = {key for key, version in now.items() if before.get(key) != version}
        if len(differing) > _ONE_BY_ONE:
            every = ((each.scope, each.name, each) for each in self._store.list(None, kind).items)
            found = {(scope, name): each for scope, name, each in every if (scope, name) in differing}
        else:
            read = ((key, self._store.get(key[0], kind, key[1])) for key in differing)
            found = {key: each for key, each in read if each is not None}
        kept = {key: version for key, version in now.items() if key not in differing}
        self._versions[kind] = kept | {key: (each.id, each.version) for key, each in found.items()}
        return {**dict.fromkeys(before.keys() - self._versions[kind].keys()), **found}
