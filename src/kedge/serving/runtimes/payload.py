"""Bodies to arrays and predictions to bodies: JSON, CSV, JSON Lines and NPY. PURE.

Follows the default decoders and encoders of SageMaker's scikit-learn container (sagemaker-containers, _encoders.py),
except where docs/models.md says otherwise: numbers are float64 (there float32), one CSV line is one row (there a flat
array), text is kept, pickled arrays are refused.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kedge.serving.runtimes import numeric
from kedge.serving.runtimes.base import BadInput, ModelFailure, NotAcceptable, UnsupportedContentType

JSON = "application/json"
CSV = "text/csv"
JSON_LINES = "application/jsonlines"
NPY = "application/x-npy"
FORMATS = (JSON, CSV, JSON_LINES, NPY)
_ALIASES = {"application/x-jsonlines": JSON_LINES, "application/jsonl": JSON_LINES, "application/x-ndjson": JSON_LINES}
_NUMBERS = {int, float, bool, type(None)}
_WINDOWS_BOM = "\ufeff"
_MAX_NPY_HEADER_BYTES = 10_000
_QUICKLY = {
    "": numeric.from_json,
    JSON: numeric.from_json,
    CSV: numeric.from_csv,
    "application/json; charset=utf-8": numeric.from_json,
    "text/csv; charset=utf-8": numeric.from_csv,
    JSON_LINES: numeric.from_json_lines,
}
"""By the content types that nearly every request has."""


def media_type(header: str) -> str:
    """The type without parameters, in lower case."""
    return header.partition(";")[0].strip().lower()


def text(body: bytes, content_type: str) -> str:
    """The body as text. Raises UnsupportedContentType for a charset other than UTF-8, BadInput for broken UTF-8."""
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in ("utf-8", "utf8", "us-ascii"):
            raise UnsupportedContentType(f"Charset {value.strip()} is not supported; send UTF-8.")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"The body is not UTF-8 text: byte {error.start} is 0x{body[error.start]:02x}.") from error


def decode(
    body: bytes, content_type: str, columns: Sequence[str] | None = None, also: Sequence[str] = ()
) -> np.ndarray[Any, Any]:
    """The body as an array: float64 when every value is a number (a missing one is NaN), else objects.

    content_type: empty means JSON. columns: the model's column names, in whose order a row's JSON object is put.
    also: further types that the caller reads itself, for the message.
    Raises UnsupportedContentType and BadInput.
    """
    quickly = _QUICKLY.get(content_type)
    if quickly is not None and (array := quickly(body, columns)) is not None:
        return array
    return _decode(body, content_type, columns, also)


def _decode(
    body: bytes, content_type: str, columns: Sequence[str] | None, also: Sequence[str] = ()
) -> np.ndarray[Any, Any]:
    kind = media_type(content_type) or JSON
    kind = _ALIASES.get(kind, kind)
    if kind not in FORMATS:
        raise UnsupportedContentType(
            f"Content type {kind} is not supported; send one of {', '.join((*FORMATS, *also))}."
        )
    if not body:
        raise BadInput("The body is empty; rows of values were expected.")
    if kind == NPY:
        return _from_npy(body)
    content = text(body, content_type).removeprefix(_WINDOWS_BOM)
    if kind == CSV:
        return _from_csv(content)
    if kind == JSON:
        data = _json(content, "The body")
        if isinstance(data, dict) and "instances" in data:
            data = data["instances"]
        elif isinstance(data, dict) and columns is None:
            raise BadInput(
                'The body is a JSON object without "instances"; send a list of rows, or {"instances": [...]}.'
            )
        return _array([data] if isinstance(data, dict) else data, columns)
    # By line feeds only: a JSON text may hold the other line ends that splitlines knows.
    lines = [line for line in content.split("\n") if line.strip()]
    return _array([_line(line, number) for number, line in enumerate(lines, 1)], columns)


def rows(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """As a model takes it: a flat list of numbers is one row; a flat list of texts stays one text per row."""
    if array.ndim == 0:
        raise BadInput("The body holds a single value; a list of rows was expected.")
    if array.shape[0] == 0:
        raise BadInput("The body holds no rows.")
    texts = array.dtype.kind == "O" and set(map(type, array.ravel().tolist())) == {str}
    return array.reshape(1, -1) if array.ndim == 1 and not texts else array


def _json(content: str, what: str) -> Any:
    try:
        return json.loads(content)
    except RecursionError as error:
        raise BadInput(f"{what} is nested too deeply.") from error
    except ValueError as error:
        raise BadInput(f"{what} is not JSON: {error}.") from error


def _line(line: str, number: int) -> Any:
    value = _json(line, f"Line {number}")
    # The form that SageMaker's built-in algorithms take.
    if isinstance(value, dict) and list(value) == ["features"]:
        return value["features"]
    return value


def _array(data: Any, columns: Sequence[str] | None) -> np.ndarray[Any, Any]:
    if isinstance(data, list) and any(isinstance(row, dict) for row in data):
        data = [_in_order(row, columns, number) for number, row in enumerate(data, 1)]
    # Not the natural type: for texts numpy would make every element as wide as the longest.
    array = np.array(data, dtype=object)
    kinds = set(map(type, array.ravel().tolist()))
    if kinds <= _NUMBERS:
        try:
            return array.astype(np.float64)
        except OverflowError as error:
            raise BadInput("A number is too large for a 64-bit float.") from error
    if list in kinds:
        raise BadInput("The rows have different lengths, or are nested too deeply.")
    if dict in kinds:
        raise BadInput("A value is a JSON object; numbers, texts, true, false or null were expected.")
    return array


def _in_order(row: Any, columns: Sequence[str] | None, number: int) -> list[Any]:
    if columns is None:
        raise BadInput("The rows are JSON objects, but the model does not know its columns by name; send lists.")
    if not isinstance(row, dict):
        raise BadInput(f"Row {number} is no JSON object, unlike others; send all rows in one form.")
    wrong = [repr(name) for name in columns if name not in row] + [repr(n) for n in row if n not in columns]
    if wrong:
        raise BadInput(
            f"Row {number} lacks, or should not have, {', '.join(wrong[:5])}; the model knows other columns."
        )
    return [row[name] for name in columns]


def _from_csv(content: str) -> np.ndarray[Any, Any]:
    # csv's own limit is 128 KiB, for the whole process; a field may be a whole document, and bodies have their limit.
    csv.field_size_limit(max(csv.field_size_limit(), len(content)))
    try:
        table = [row for row in csv.reader(io.StringIO(content, newline=""), strict=True) if row]
    except csv.Error as error:
        raise BadInput(f"The body is not CSV: {error}.") from error
    if not table:
        raise BadInput("The body holds no rows.")
    for number, row in enumerate(table, 1):
        if len(row) != len(table[0]):
            raise BadInput(f"Row {number} has {len(row)} fields, but row 1 has {len(table[0])}.")
    try:
        return np.array([[float(field) if field.strip() else math.nan for field in row] for row in table])
    except ValueError:
        return np.array(table, dtype=object)


def parsed(body: bytes, content_type: str) -> Any:
    """A JSON body's value. Raises UnsupportedContentType and BadInput."""
    return _json(text(body, content_type).removeprefix(_WINDOWS_BOM), "The body")


def array(data: Any) -> np.ndarray[Any, Any]:
    """Nested lists as an array, as `decode` makes it of JSON. Raises BadInput."""
    return _array(data, None)


def libsvm(content: str) -> list[dict[int, float]]:
    """Each line's columns and values: `[LABEL] [qid:N] COLUMN:VALUE ... [# comment]`. Raises BadInput.

    Columns are taken as they are numbered; what is not named is missing. A line with a label alone is a row too.
    """
    table = []
    for number, line in enumerate(content.split("\n"), 1):
        entries = line.partition("#")[0].split()
        if not entries:
            continue
        row = {}
        for place, entry in enumerate(entries):
            column, colon, value = entry.partition(":")
            if (not colon and place == 0) or column == "qid":
                continue
            try:
                row[_column(column)] = float(value)
            except ValueError as error:
                raise BadInput(f"Line {number} is not LIBSVM: {entry[:80]!r} is not COLUMN:VALUE.") from error
        table.append(row)
    return table


def _column(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise ValueError(text)
    return int(text)


def _from_npy(body: bytes) -> np.ndarray[Any, Any]:
    """Checks the header against the body: numpy's own reader would allocate whatever size the header claims.

    Source of the format: numpy.lib.format.
    """
    # Version 1 has a length of 2 bytes, 2 and 3 have one of 4.
    start = {1: 10, 2: 12, 3: 12}.get(body[6], 0) if body[:6] == b"\x93NUMPY" and len(body) > 12 else 0
    if not start:
        raise BadInput("The body is no NPY file of version 1 to 3.")
    end = start + int.from_bytes(body[8:start], "little")
    if end - start > _MAX_NPY_HEADER_BYTES or end > len(body):
        raise BadInput(f"The NPY header's length, {end - start}, is wrong.")
    try:
        fields = ast.literal_eval(body[start:end].decode().strip())
        shape, fortran, dtype = fields["shape"], fields["fortran_order"], np.dtype(fields["descr"])
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError) as error:
        raise BadInput("The NPY header cannot be read.") from error
    if dtype.kind not in "fiubU":
        raise BadInput(f"The array's type is {dtype}; numbers or texts were expected (pickled objects are not read).")
    data = memoryview(body)[end:]
    if (
        not isinstance(shape, tuple)
        or not all(isinstance(length, int) and length >= 0 for length in shape)
        or not dtype.itemsize
        or math.prod(shape) * dtype.itemsize != len(data)
    ):
        raise BadInput(f"The array's shape {shape} of {dtype} does not fit the {len(data)} bytes that follow it.")
    flat = np.frombuffer(data, dtype)
    array = flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
    return array.astype(object if dtype.kind == "U" else dtype.newbyteorder("="))


def negotiate(accept: str, default: str = JSON) -> str:
    """The format to answer in: the best of Accept that there is. Raises NotAcceptable.

    default: for no Accept and for */*; a type that is not there counts as JSON.
    """
    if accept in FORMATS:
        return accept
    if default not in FORMATS:
        default = _ALIASES.get(media_type(default), media_type(default))
        default = default if default in FORMATS else JSON
    if not accept or accept == "*/*":
        return default
    for kind in accepted(accept):
        if kind == "*/*":
            return default
        if kind.endswith("/*"):
            found = next((each for each in FORMATS if each.startswith(kind[:-1])), None)
        else:
            found = _ALIASES.get(kind, kind if kind in FORMATS else None)
        if found:
            return found
    raise NotAcceptable(f"Accept is {accept}; this model answers in {', '.join(FORMATS)}.")


def accepted(accept: str) -> list[str]:
    """The media types of an Accept header, the most wanted first, those with q=0 left out."""
    wanted: list[tuple[float, str]] = []
    for entry in accept.split(","):
        weight = 1.0
        for parameter in entry.split(";")[1:]:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "q":
                try:
                    weight = float(value)
                except ValueError:
                    weight = 0.0
        if weight > 0 and media_type(entry):
            wanted.append((weight, media_type(entry)))
    return [kind for _, kind in sorted(wanted, key=lambda entry: -entry[0])]


def encode(prediction: Any, kind: str) -> bytes:
    """A prediction in one of FORMATS. Raises ModelFailure when it cannot be written in it."""
    if hasattr(prediction, "toarray"):
        prediction = prediction.toarray()
    try:
        return _ENCODERS[kind](prediction)
    except (TypeError, ValueError, csv.Error) as error:
        raise ModelFailure(
            f"The prediction, a {type(prediction).__name__}, cannot be written as {kind}: {error}"
        ) from error


def _to_json(prediction: Any) -> bytes:
    if type(prediction) is np.ndarray:
        if (text := numeric.to_json(prediction)) is not None:
            return text
        prediction = prediction.tolist()
    return _JSON.encode(prediction).encode()


def _plain(value: Any) -> Any:
    """What json does not know: numpy's scalars and arrays, data frames, bytes."""
    if hasattr(value, "toarray"):
        value = value.toarray()
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "to_numpy"):
        return value.to_numpy().tolist()
    if isinstance(value, bytes):
        return value.decode()
    raise TypeError(f"{type(value).__name__} is not known to JSON")


_JSON = json.JSONEncoder(default=_plain)


def _to_json_lines(prediction: Any) -> bytes:
    listed = prediction if isinstance(prediction, dict | str) else _values(prediction)
    each = listed if isinstance(listed, list) else [listed]
    return "".join(_JSON.encode(value) + "\n" for value in each).encode()


def _values(prediction: Any) -> Any:
    return list(prediction) if isinstance(prediction, list | tuple) else _plain(np.asarray(prediction))


def _to_csv(prediction: Any) -> bytes:
    if type(prediction) is np.ndarray and (text := numeric.to_csv(prediction)) is not None:
        return text
    array = np.asarray(prediction)
    if array.ndim > 2 or isinstance(prediction, dict):
        raise ValueError(f"it has {array.ndim} dimensions, CSV has rows and columns")
    table = array.reshape(-1, 1) if array.ndim < 2 else array
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(table.tolist())
    return stream.getvalue().encode()


def _to_npy(prediction: Any) -> bytes:
    array = np.asarray(prediction)
    if array.dtype.kind == "O" and set(map(type, array.ravel().tolist())) <= {str}:
        array = array.astype(str)
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


_ENCODERS: dict[str, Callable[[Any], bytes]] = {JSON: _to_json, CSV: _to_csv, JSON_LINES: _to_json_lines, NPY: _to_npy}
