"""Running a batch through decode, predict and encode so that nobody can tell who else was in it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from kedge.serving.runtimes import joining
from kedge.serving.runtimes.base import Answer, Outcome, Outcomes, Streamed, as_outcome

log = logging.getLogger(__name__)

Call = TypeVar("Call")


def in_steps(
    calls: Sequence[Call],
    decode: Callable[[Call], object],
    predict: Callable[[object, Call | None], object],
    encode: Callable[[object, Call], Answer | Streamed],
    *,
    joinable: bool,
) -> Iterator[Outcomes]:
    """Run decode, predict and encode for each call; calls whose rows fit together share one predict.

    predict is given the call only when it is for that call alone. When a shared predict fails, or gives something that
    cannot be taken apart by rows, each of its calls is run alone: one bad request never fails its neighbours.

    Whatever the model's code raises is that call's outcome, also what is no Exception: a panic of a library that is
    written in Rust is none, nor is asyncio's CancelledError. Signals play no part: an instance ignores SIGINT.
    """

    if not joinable:
        for index, call in enumerate(calls):
            try:
                outcome: Outcome = encode(predict(decode(call), call), call)
            except BaseException as error:  # noqa: BLE001 (as_outcome logs it)
                outcome = as_outcome(error)
            yield [(index, outcome)]
        return
    decoded: dict[int, object] = {}
    refused: Outcomes = []
    for index, call in enumerate(calls):
        try:
            decoded[index] = decode(call)
        except BaseException as error:  # noqa: BLE001 (as_outcome logs it)
            refused.append((index, as_outcome(error)))
    if refused:
        yield refused
    for group in joining.groups(decoded):
        parts = None if len(group) == 1 else _together([decoded[index] for index in group], predict)
        if parts is None:
            for index in group:
                yield [(index, _alone(calls[index], decoded[index], predict, encode))]
            continue
        outcomes: Outcomes = []
        for index, part in zip(group, parts, strict=True):
            try:
                outcomes.append((index, encode(part, calls[index])))
            except BaseException as error:  # noqa: BLE001 (as_outcome logs it)
                outcomes.append((index, as_outcome(error)))
        yield outcomes


def _alone(
    call: Call,
    data: object,
    predict: Callable[[object, Call], object],
    encode: Callable[[object, Call], Answer | Streamed],
) -> Outcome:
    try:
        return encode(predict(data, call), call)
    except BaseException as error:  # noqa: BLE001 (as_outcome logs it)
        return as_outcome(error)


def _together(datas: list[object], predict: Callable[[object, None], object]) -> list[object] | None:
    try:
        return joining.split(predict(joining.join(datas), None), datas)
    except BaseException:
        log.debug("a joined batch of %d requests failed; each is run alone", len(datas), exc_info=True)
        return None
