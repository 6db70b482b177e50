"""A model behind an endpoint as a function of rows: bodies of requests, and what their answers say.

`Invoke` is all that has to be known of where the model is. Requests are cut below the size that an endpoint takes, and
some are under way at once.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from kedge.monitoring.clarify.config import CSV, Predictor
from kedge.monitoring.reading import merged_records
from kedge.monitoring.reading.captured import Odd

Invoke = Callable[[bytes, str, str], tuple[bytes, str]]
"""(body, content type, accept) to (body, content type)."""
LARGEST_BODY_BYTES = 4 << 20
MOST_ROWS = 10_000
_AT_ONCE = 4


class PredictionFailed(Exception):
    """The message says what the model was asked and what was wrong with its answer."""


class Model:
    """names: of the columns, for templates of records."""

    def __init__(self, invoke: Invoke, predictor: Predictor, names: Sequence[str]) -> None:
        self._invoke = invoke
        self._predictor = predictor
        self._names = names

    def numbers(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Probabilities, or else the only value, of each row: shape (rows, outputs). Raises PredictionFailed."""
        found = self.values(rows, self._predictor.probability or self._predictor.label)
        lists = [each if isinstance(each, list) else [each] for each in found]
        try:
            return np.array(lists, dtype=float)
        except (TypeError, ValueError):
            raise PredictionFailed(
                f"The model's answers are no numbers, such as {found[0]!r}; name its probabilities by "
                "predictor.probability."
            ) from None

    def values(self, rows: npt.NDArray[Any], attribute: str | None) -> list[Any]:
        """What the attribute finds in the answers, one for each row. Raises PredictionFailed."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            asked = pool.map(lambda part: self._asked(part[0], part[1], attribute), self._bodies(rows))
            return list(itertools.chain.from_iterable(asked))

    def _bodies(self, rows: npt.NDArray[Any]) -> Iterator[tuple[bytes, int]]:
        lines: list[bytes] = []
        size = 0
        for row in rows.tolist():
            line = self._line(row)
            if lines and (size + len(line) > LARGEST_BODY_BYTES or len(lines) >= MOST_ROWS):
                yield b"".join(lines), len(lines)
                lines, size = [], 0
            lines.append(line)
            size += len(line)
        if lines:
            yield b"".join(lines), len(lines)

    def _line(self, row: list[Any]) -> bytes:
        if self._predictor.content_type == CSV:
            return (",".join(map(_text, row)) + "\n").encode()
        plain = [_plain(each) for each in row]
        filled = self._predictor.content_template.replace("$features", json.dumps(plain))
        if "$record" in filled:
            record = self._predictor.record_template.replace(
                "$features_kvp", json.dumps(dict(zip(self._names, plain, strict=True)))
            )
            filled = filled.replace("$record", record.replace("$features", json.dumps(plain)))
        return filled.encode() + b"\n"

    def _asked(self, body: bytes, rows: int, attribute: str | None) -> list[Any]:
        accept = self._predictor.accept_type or self._predictor.content_type
        answer, kind = self._invoke(body, self._predictor.content_type, accept)
        encoding = "CSV" if "csv" in (kind or accept) else "JSON"
        try:
            side = {"data": answer.decode(), "encoding": encoding, "observedContentType": kind}
            found = answers(side, attribute)
        except (Odd, UnicodeDecodeError) as odd:
            raise PredictionFailed(
                f"An answer of the model cannot be read: {odd}; it begins with {answer[:80]!r}."
            ) from None
        if len(found) != rows:
            raise PredictionFailed(f"The model was asked about {rows} rows and answered {len(found)}.")
        return found


def answers(side: dict[str, str], attribute: str | None) -> list[Any]:
    """One value, or list of values, for each row. Raises Odd."""
    document = merged_records.parsed(side)
    if attribute is not None:
        if isinstance(document, list) and not isinstance(document, merged_records.Table) and not attribute.isdigit():
            return [merged_records.search(attribute, each) for each in document]  # JSON Lines: of each row
        return merged_records.values(side, attribute, "the prediction")
    if isinstance(document, merged_records.Table):
        return [row[0] if len(row) == 1 else list(row) for row in document]
    if isinstance(document, dict) and len(document) == 1:
        document = next(iter(document.values()))
    return document if isinstance(document, list) else [document]


def _text(value: Any) -> str:
    """As CSV has it; nothing for what is missing, and no fraction where there is none."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if any(each in text for each in ',"\n\r') else text


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        if not math.isfinite(value):
            return None  # JSON has neither
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    return value
