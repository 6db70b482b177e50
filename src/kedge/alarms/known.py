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
        """Read what has changed. Returns the metric alarms that are new, or not as they were. Blocks."""
        changed = self._changed(METRIC)
        for key, resource in changed.items():
            if resource is None:
                self.metric.pop(key, None)
                self.repeating.discard(key)
                continue
            watched = Watched.of(resource)
            self.metric[key] = watched
            (self.repeating.add if repeats(watched.alarm) else self.repeating.discard)(key)
        for key, resource in self._changed(COMPOSITE).items():
            if resource is None:
                self.composite.pop(key, None)
            else:
                self.composite[key] = Composite.of(resource)
        return [key for key, resource in changed.items() if resource is not None]

    def resource(self, key: Key) -> Resource | None:
        found = self.metric.get(key) or self.composite.get(key)
        return None if found is None else found.resource

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
        gone: dict[Key, Resource | None] = {key: None for key in before if key not in now}
        differing = [key for key, version in now.items() if before.get(key) != version]
        if len(differing) > _ONE_BY_ONE:
            wanted = set(differing)
            every = ((each.scope, each.name, each) for each in self._store.list(None, kind).items)
            found: dict[Key, Resource | None] = {(s, name): each for s, name, each in every if (s, name) in wanted}
        else:
            found = {key: self._store.get(key[0], kind, key[1]) for key in differing}
        self._versions[kind] = {
            key: version for key, version in now.items() if key not in differing or found.get(key) is not None
        }
        for key, each in found.items():
            if each is not None:
                self._versions[kind][key] = (each.id, each.version)
        return gone | found
