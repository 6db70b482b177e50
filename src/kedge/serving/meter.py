"""What a router counts of the requests it serves: per second, variant and instance; and the frames in which it tells.

    [FORMAT, boot, sequence, second, cells, concurrent, captured, measured, told]
    cell        [place, [invocations, 4xx, 5xx, model errors, {code: refused}, per instance], sketch, sketch]
    concurrent  [account, region, endpoint, variant, requests, instances; of a serverless one also
                 most, provisioned, peak]
    captured    [account, region, endpoint, variant, taken, dropped, withheld]
    measured    [place, container, name, sketch]: samples of a metric that only some requests have
    told        [account, region, endpoint, variant, metric, unit, sketch, feature?]; left out where there is none

A request costs an entry in a list, which is added up some hundred at once: while others are in between, everything that
a request touches costs several times what it does in a loop. Latencies become sketches, which merge over instances,
routers and longer periods. PURE: who calls says which second it is.

The counting rules are those of the metrics of the same names in AWS/SageMaker: a sample for each request that was sent
to a model, 1 or 0 for each kind of error, so that an average is a rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from kedge.metrics.sketch import Sketch

FORMAT = 3
"""1 had one count of all that was refused, and nothing of concurrent requests; 2 nothing measured. They are understood,
too."""
MAX_FRAME_BYTES = 16 * 1024 * 1024
_ADDED_AT_ONCE = 200
"""Few enough that no request waits for it, a tenth of a millisecond."""

FIRST_CHUNK, FIRST_CHUNK_MODEL, FIRST_CHUNK_OVERHEAD, MID_STREAM_ERRORS = (
    *("FirstChunkLatency", "FirstChunkModelLatency", "FirstChunkOverheadLatency", "MidStreamErrors"),
)
"""Of answers that are given part by part. Latencies are in microseconds; an error is 1, none is 0."""
CONTAINER_LATENCY = "ContainerLatency"
"""Of one of several containers, in microseconds."""
CACHE_HIT, LOADING_WAIT, LOADING, DOWNLOADING, UNLOADING = (
    *("ModelCacheHit", "ModelLoadingWaitTime", "ModelLoadingTime", "ModelDownloadingTime", "ModelUnloadingTime"),
)
"""Of models that are loaded by name. Times are in microseconds; a hit is 1, a miss 0."""
SETUP = "ModelSetupTime"
"""Of a serverless variant's request that waited for an instance to start, in microseconds."""
PROVISIONED_INVOCATIONS, SPILLOVER_INVOCATIONS = (
    *("ServerlessProvisionedConcurrencyInvocations", "ServerlessProvisionedConcurrencySpilloverInvocations"),
)
"""Of a serverless variant that has some: 1 for a request that was within it, or beyond."""
OF_MODELS = frozenset((CACHE_HIT, LOADING_WAIT, LOADING, DOWNLOADING, UNLOADING))
MOST_CONTAINERS = 15
"""Of one instance, as SageMaker has it: an instance cannot make up series without end."""
_LONGEST_NAME = 63


class Place(NamedTuple):
    """Where a request was served."""

    account: str
    region: str
    endpoint: str
    """Its name; of an inference component ENDPOINT/COMPONENT, as the routing table keys it."""
    variant: str
    instance: str
    """Id; "" when it reached none."""
    config: str = ""
    """The endpoint config that the instance was started for, where its metrics are told by that, too."""
    by_instance: bool = False
    """Whether its metrics are told by the instance, too."""

    @property
    def of_variant(self) -> VariantPlace:
        return VariantPlace(self.account, self.region, self.endpoint, self.variant)


class VariantPlace(NamedTuple):
    account: str
    region: str
    endpoint: str
    """As of Place."""
    variant: str

    @property
    def endpoint_name(self) -> str:
        return self.endpoint.partition("/")[0]

    @property
    def component(self) -> str:
        """The inference component whose copies serve; "" where the variant's own instances do."""
        return self.endpoint.partition("/")[2]


class Concurrent(NamedTuple):
    """How much one router had to do for a variant at the end of a second."""

    place: VariantPlace
    requests: int
    """With the model, and waiting for it."""
    instances: int
    """Healthy ones."""
    most: int = 0
    """Of a serverless variant: how many it may have to do at a time; 0 for any other."""
    provisioned: int = 0
    """How many of these its warm instances are for."""
    peak: int = 0
    """The most that it had to do at a time since it was told last."""


class Captured(NamedTuple):
    """What became of data capture in one second; a record is dropped or withheld later than it is taken."""

    place: VariantPlace
    taken: int
    dropped: int
    withheld: int


class Told(NamedTuple):
    """What else there is to say of a variant in one second: values of a metric of Kedge's own."""

    place: VariantPlace
    name: str
    unit: str
    values: Sketch
    """At least one."""
    feature: str = ""
    """The column that it is about, where it is about one."""


class Measured(NamedTuple):
    """A metric that only some requests have, in one second."""

    place: Place
    container: str
    """Which of several; "" for what is not one container's."""
    name: str
    """As the metric is called."""
    values: Sketch


_Served = tuple[Place, int, int, float, float]
"""(place, status, instances, model_us, overhead_us) of one invocation."""


class Cell:
    """One place in one second."""

    __slots__ = (
        "errors_4xx",
        "errors_5xx",
        "invocations",
        "model_errors",
        "model_latency_us",
        "overhead_latency_us",
        "per_instance",
        "refused",
    )

    def __init__(self) -> None:
        self.invocations = 0
        self.errors_4xx = 0
        self.errors_5xx = 0
        self.model_errors = 0
        self.refused: dict[str, int] = {}
        """Answered without a model, by the code of the error: throttled, unavailable, badly asked."""
        self.per_instance = 0.0
        """Sum over the invocations of 1 / healthy instances of the variant."""
        self.model_latency_us = Sketch()
        self.overhead_latency_us = Sketch()

    def add(self, served: Sequence[_Served]) -> None:
        self.invocations += len(served)
        for _, status, instances, _, _ in served:
            self.per_instance += 1 / instances if instances > 1 else 1.0
            if not 200 <= status < 300:
                self.model_errors += 1
                if 400 <= status < 500:
                    self.errors_4xx += 1
                elif status >= 500:
                    self.errors_5xx += 1
        self.model_latency_us.extend([model_us for _, _, _, model_us, _ in served])
        self.overhead_latency_us.extend([overhead_us for _, _, _, _, overhead_us in served])


@dataclass(frozen=True)
class Counted:
    """A cell as it is told."""

    place: Place
    invocations: int
    errors_4xx: int
    errors_5xx: int
    model_errors: int
    refused: Mapping[str, int]
    per_instance: float
    model_latency_us: Sketch
    overhead_latency_us: Sketch


@dataclass(frozen=True)
class Frame:
    """All that one router counted in one second.

    boot: of the router's process. sequence: from 1, without a gap unless frames were dropped. Who stores a frame keeps
    the last sequence of each boot with it, in one transaction; so a frame that is sent again counts once.
    """

    boot: str
    sequence: int
    second: int
    """Since 1970."""
    cells: tuple[Counted, ...] = ()
    concurrent: tuple[Concurrent, ...] = ()
    captured: tuple[Captured, ...] = ()
    measured: tuple[Measured, ...] = ()
    told: tuple[Told, ...] = ()


def samples_of(told: object, containers: set[str]) -> Iterator[tuple[str, str, float]]:
    """(container, metric, value) of what an instance has told. What it cannot tell is left out.

    containers: those that it has told of until now; they become more.
    """
    for each in told if isinstance(told, list) else ():
        if not (isinstance(each, list) and len(each) == 3):
            continue
        container, name, value = each
        if not (isinstance(container, str) and isinstance(name, str) and isinstance(value, int | float)):
            continue
        if not 0 <= value < math.inf:
            continue
        if name in OF_MODELS and not container:
            yield "", name, float(value)
        known = container in containers or len(containers) < MOST_CONTAINERS
        if name == CONTAINER_LATENCY and known and 0 < len(container) <= _LONGEST_NAME:
            containers.add(container)
            yield container, name, float(value)


class FrameRefused(ValueError):
    """The bytes are no frame that this release can read."""


class Meter:
    """The second that is going on."""

    def __init__(self, boot: str) -> None:
        self.boot = boot
        self._cells: dict[Place, Cell] = {}
        self._new: list[_Served] = []
        """Not in the cells yet."""
        self._measured: dict[tuple[Place, str, str], Sketch] = {}
        self.sequence = 0
        """Of the frame that was made last."""

    @property
    def is_empty(self) -> bool:
        return not self._cells and not self._new and not self._measured

    def invocation(self, place: Place, status: int, instances: int, model_us: float, overhead_us: float) -> None:
        """A request that was sent to a model. status: the model's, 0 when it gave none. instances: healthy ones."""
        new = self._new
        new.append((place, status, instances, model_us, overhead_us))
        if len(new) >= _ADDED_AT_ONCE:
            self._add()

    def refusal(self, place: Place, code: str) -> None:
        """A request that was answered without a model. code: of the error that it got."""
        refused = self._cell(place).refused
        refused[code] = refused.get(code, 0) + 1

    def measure(self, place: Place, container: str, name: str, value: float) -> None:
        """A sample of a metric that only some requests have. container: as for Measured."""
        key = (place, container, name)
        sketch = self._measured.get(key)
        if sketch is None:
            sketch = self._measured[key] = Sketch()
        sketch.add(value)

    def roll(
        self,
        second: int,
        concurrent: Iterable[Concurrent] | None = (),
        captured: Iterable[Captured] = (),
        told: Iterable[Told] = (),
    ) -> bytes:
        """The encoded frame of the second that is over, or of a part of it. The next one begins empty.

        concurrent: of the variants that have something to do; one that had, and has not, is told to have nothing. None:
        nothing is told of it, since it is not known or the second is not over.
        """
        self._add()
        cells, self._cells = self._cells, {}
        measured, self._measured = self._measured, {}
        self.sequence += 1
        now: dict[VariantPlace, tuple[int, ...]] = {}
        if concurrent is not None:
            now = {place.of_variant: (0, 0) for place in cells}
            now.update({each.place: each[1:] if each.most else each[1:3] for each in concurrent})
        frame = [
            FORMAT,
            self.boot,
            self.sequence,
            second,
            [_packed(*each) for each in cells.items()],
            [[*place, *counts] for place, counts in now.items()],
            [[*place, *counts] for place, *counts in captured],
            [[list(place), container, name, each.as_json()] for (place, container, name), each in measured.items()],
        ]
        if more := [[*each.place, each.name, each.unit, each.values.as_json(), *_feature(each)] for each in told]:
            frame.append(more)  # a release that knows none of it reads all other frames
        return orjson.dumps(frame)

    def _add(self) -> None:
        new, self._new = self._new, []
        by_place: dict[Place, list[_Served]] = {}
        for each in new:
            by_place.setdefault(each[0], []).append(each)
        for place, served in by_place.items():
            self._cell(place).add(served)

    def _cell(self, place: Place) -> Cell:
        cell = self._cells.get(place)
        if cell is None:
            cell = self._cells[place] = Cell()
        return cell


def _feature(each: Told) -> list[str]:
    return [each.feature] if each.feature else []


def _packed(place: Place, cell: Cell) -> list[Any]:
    return [
        list(place),
        [cell.invocations, cell.errors_4xx, cell.errors_5xx, cell.model_errors, cell.refused, cell.per_instance],
        cell.model_latency_us.as_json(),
        cell.overhead_latency_us.as_json(),
    ]


def decode(data: bytes) -> Frame:
    """Raises FrameRefused."""
    try:
        form, boot, sequence, second, cells, *more = orjson.loads(data)
        if form not in (1, 2, FORMAT):
            raise FrameRefused(f"format {form!r}; 1 to {FORMAT} are understood")
        if not (isinstance(boot, str) and isinstance(sequence, int) and isinstance(second, int) and sequence > 0):
            raise FrameRefused("a frame without its boot, sequence and second")
        now, captured, measured, told = (*more, (), (), (), ())[:4]
        return Frame(
            boot,
            sequence,
            second,
            tuple(_counted(cells)),
            tuple(Concurrent(VariantPlace(*each[:4]), *each[4:]) for each in now),
            tuple(Captured(VariantPlace(*each[:4]), *each[4:]) for each in captured),
            tuple(
                Measured(Place(*place), container, name, Sketch.from_json(values))
                for place, container, name, values in measured
            ),
            tuple(_told(*each) for each in told),
        )
    except (ValueError, TypeError) as error:
        raise FrameRefused(str(error)) from error


def _told(
    account: str, region: str, endpoint: str, variant: str, name: str, unit: str, values: Any, feature: str = ""
) -> Told:
    return Told(VariantPlace(account, region, endpoint, variant), name, unit, Sketch.from_json(values), feature)


def _counted(cells: list[Any]) -> Iterator[Counted]:
    for place, (invocations, errors_4xx, errors_5xx, model_errors, refused, per_instance), model, overhead in cells:
        yield Counted(
            Place(*place),
            invocations,
            errors_4xx,
            errors_5xx,
            model_errors,
            refused if isinstance(refused, dict) else {"": refused} if refused else {},
            per_instance,
            Sketch.from_json(model),
            Sketch.from_json(overhead),
        )
