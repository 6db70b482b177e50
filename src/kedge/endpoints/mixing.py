"""Which variants of which fleets serve an endpoint, and with what parts of its traffic. PURE.

Mostly that is one fleet with its weights. In a deployment a part of the traffic goes to the pending fleet: of each
variant that both fleets have, its instances there get that part. A variant that only one fleet has gets what its weight
is worth of that fleet's part. After a roll-back that failed two fleets serve, by the numbers of their instances. Shadow
variants have no part in this: they answer nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from kedge.endpoints.records import Endpoint, Fleet, Variant
from kedge.endpoints.shifting import ROLLING, policy_of, steps_of

Part = tuple[Fleet, Variant]
Share = Callable[[str], Fraction]
"""The newer fleet's part of a variant's traffic; "" for a variant that only one fleet has."""


@dataclass(frozen=True)
class Mixed:
    """One variant, as requests see it."""

    name: str
    weight: Fraction
    parts: tuple[Part, ...]
    """In the fleets whose instances share its traffic evenly."""
    new: Part | None = None
    share: Fraction = Fraction(0)
    """The part of its traffic that goes to `new`."""

    @property
    def settings(self) -> Variant:
        """Whose settings count."""
        return self.new[1] if self.new is not None and self.share == 1 else self.parts[-1][1]


def mixed(endpoint: Endpoint) -> list[Mixed]:
    """Every variant to which requests may go. endpoint: with a live fleet."""
    live, pending, beside, shift = endpoint.live, endpoint.pending, endpoint.beside, endpoint.shift
    assert live is not None
    if shift is not None and shift.accepted and pending is not None:
        return _alone(pending)
    found = _alone(live) if beside is None else _joined(_combined(_alone(live), beside, _by_counts(live, beside)))
    if shift is None or pending is None or not shift.steps:
        return found
    by_counts = policy_of(endpoint).kind == ROLLING or shift.back
    return _combined(found, pending, _by_counts(live, pending) if by_counts else _by_policy(endpoint, pending))


def serving(endpoint: Endpoint) -> list[Fleet]:
    """The fleets that get requests, the one first that most of the endpoint's settings come from."""
    live, pending, beside, shift = endpoint.live, endpoint.pending, endpoint.beside, endpoint.shift
    if live is None:
        return []
    old = [live] if beside is None else [live, beside]
    if shift is None or pending is None or not shift.steps:
        return old
    if shift.accepted:
        return [pending]
    whole = not shift.back and len(shift.steps) >= steps_of(endpoint) and policy_of(endpoint).kind != ROLLING
    return [pending, *old] if whole else [*old, pending]


def _alone(fleet: Fleet) -> list[Mixed]:
    return [Mixed(v.name, Fraction(v.desired_weight), ((fleet, v),)) for v in fleet.production]


def _combined(old: list[Mixed], fleet: Fleet, share: Share) -> list[Mixed]:
    """Each side's weights count in proportion to that side's sum."""
    named = {variant.name: variant for variant in fleet.production}
    new = _parts_of({v.name: Fraction(v.desired_weight) for v in fleet.production})
    before = _parts_of({each.name: each.weight for each in old})
    found = []
    for each in old:
        variant = named.get(each.name)
        if variant is None:
            found.append(replace(each, weight=before[each.name] * (1 - share(""))))
            continue
        part = share(each.name)
        weight = before[each.name] * (1 - part) + new[each.name] * part
        own = new[each.name] * part / weight if weight else part
        found.append(replace(each, weight=weight, new=(fleet, variant), share=own))
    known = {each.name for each in old}
    return found + [
        Mixed(v.name, new[v.name] * share(""), ((fleet, v),)) for v in fleet.production if v.name not in known
    ]


def _joined(found: list[Mixed]) -> list[Mixed]:
    """All instances of a variant as one."""
    return [
        each if each.new is None else replace(each, parts=(*each.parts, each.new), new=None, share=Fraction(0))
        for each in found
    ]


def _parts_of(weights: Mapping[str, Fraction]) -> dict[str, Fraction]:
    total = sum(weights.values())
    return {name: weight / total if total else Fraction(0) for name, weight in weights.items()}


def _by_counts(old: Fleet, new: Fleet) -> Share:
    """By the instances that each has in service."""

    def share(name: str) -> Fraction:
        counts = [[v.current_count for v in fleet.production if name in ("", v.name)] for fleet in (old, new)]
        before, after = map(sum, counts)
        return Fraction(after, before + after) if before + after else Fraction(0)

    return share


def _by_policy(endpoint: Endpoint, pending: Fleet) -> Share:
    """By what the deployment's last step says."""
    assert endpoint.shift is not None
    policy, steps, step = policy_of(endpoint), steps_of(endpoint), len(endpoint.shift.steps)
    sizes = {v.name: max(1, v.desired_count) for v in pending.production}
    parts = {name: policy.share(step, steps, size) for name, size in sizes.items()}
    whole = sum((parts[name] * size for name, size in sizes.items()), Fraction(0)) / sum(sizes.values())
    return lambda name: parts.get(name, whole)
