"""Which composite alarms can be evaluated, and in which order: children first, none that is on a cycle. PURE."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping
from graphlib import TopologicalSorter
from typing import TypeVar

T = TypeVar("T", bound=Hashable)


def order(edges: Mapping[T, Collection[T]]) -> list[T]:
    """The keys of `edges` (alarm -> alarms that its rule names) that are on no cycle, each after those it names."""
    stuck = on_cycles(edges)
    free = {node: [child for child in named if child not in stuck] for node, named in edges.items()}
    sorter = TopologicalSorter({node: named for node, named in free.items() if node not in stuck})
    return [node for node in sorter.static_order() if node in edges]


def on_cycles(edges: Mapping[T, Collection[T]]) -> set[T]:
    """The alarms that depend on themselves. By Tarjan's strongly connected components, without recursion."""
    found: set[T] = set()
    number: dict[T, int] = {}
    lowest: dict[T, int] = {}
    path: list[T] = []
    on_path: set[T] = set()
    for root in edges:
        if root in number:
            continue
        work: list[tuple[T, Iterator[T]]] = []

        def enter(node: T, work: list[tuple[T, Iterator[T]]] = work) -> None:
            number[node] = lowest[node] = len(number)
            path.append(node)
            on_path.add(node)
            work.append((node, iter(edges.get(node, ()))))

        enter(root)
        while work:
            node, rest = work[-1]
            child = next((each for each in rest if each in edges), None)
            if child is not None:
                if child not in number:
                    enter(child)
                elif child in on_path:
                    lowest[node] = min(lowest[node], number[child])
                continue
            work.pop()
            if work:
                parent = work[-1][0]
                lowest[parent] = min(lowest[parent], lowest[node])
            if lowest[node] == number[node]:
                place = path.index(node)
                component = path[place:]
                del path[place:]
                on_path.difference_update(component)
                if len(component) > 1 or node in edges.get(node, ()):
                    found.update(component)
    return found
