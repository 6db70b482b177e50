import contextlib
import io
import json
import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.serving.runtimes import payload
from kedge.serving.runtimes.base import BadInput, ModelFailure, NotAcceptable, UnsupportedContentType

NAN = math.nan


def npy(array: object, **options: object) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asarray(array), **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content_type", "body", "rows"),
    [
        ("text/csv", b"1,2\n3,4\n", [[1, 2], [3, 4]]),
        ("text/csv", b"1,2", [[1, 2]]),
        ("text/csv; charset=utf-8", b"1,2\r\n\r\n3,4\r\n", [[1, 2], [3, 4]]),
        ("Text/CSV", b'"1","2.5"\n', [[1, 2.5]]),
        ("text/csv", b"1,,3\n", [[1, NAN, 3]]),
        ("text/csv", b"\xef\xbb\xbf1,2\n", [[1, 2]]),
        ("text/csv", b"a document,1\n" + b"x" * 200_000 + b",2\n", [["a document", "1"], ["x" * 200_000, "2"]]),
        ("text/csv", b"a,1\nb,2\n", [["a", "1"], ["b", "2"]]),
        ("", b"[[1, 2]]", [[1, 2]]),
        ("application/json", b"[1, 2]", [1, 2]),
        ("application/json", b"7", 7),
        ("application/json;charset=UTF-8", b'{"instances": [[1, 2], [3, 4]]}', [[1, 2], [3, 4]]),
        ("application/json", b"[[NaN, Infinity, null, true]]", [[NAN, math.inf, NAN, 1.0]]),
        ("application/json", b'[["a", 1.5, null]]', [["a", 1.5, None]]),
        ("application/json", b'["some text", "more"]', ["some text", "more"]),
        ("application/json", b'{"instances": [{"y": 2, "x": 1}]}', [[1, 2]]),
        ("application/json", b'{"x": 1, "y": "red"}', [[1, "red"]]),
        ("application/jsonlines", b"[1, 2]\n\n[3, 4]\n", [[1, 2], [3, 4]]),
        ("application/x-ndjson", b'{"features": [1, 2]}\n', [[1, 2]]),
        ("application/jsonlines", b'{"x": 1, "y": 2}\r\n{"x": 3, "y": 4}', [[1, 2], [3, 4]]),
        ("application/jsonlines", '"a\u2028b"\n'.encode(), ["a\u2028b"]),
        ("application/x-npy", npy([[1, 2]]), [[1, 2]]),
        ("application/x-npy", npy(np.asfortranarray([[1.5, 2], [3, 4]])), [[1.5, 2], [3, 4]]),
        ("application/x-npy", npy(np.array([[1, 2]], dtype=">i4")), [[1, 2]]),
        ("application/x-npy", npy(["a", "bc"]), ["a", "bc"]),
    ],
)
def test_bodies_become_arrays(content_type: str, body: bytes, rows: list):
    array = payload.decode(body, content_type, columns=("x", "y"))
    assert array.dtype.kind in ("O" if any(isinstance(v, str) for v in np.array(rows, object).flat) else "fi")
    assert array.dtype.isnative
    np.testing.assert_array_equal(array, np.array(rows, dtype=array.dtype))


@pytest.mark.parametrize(
    ("content_type", "body", "error", "says"),
    [
        ("image/png", b"x", UnsupportedContentType, "image/png is not supported; send one of application/json"),
        ("text/csv; charset=latin-1", b"1", UnsupportedContentType, "latin-1"),
        ("text/csv", b"", BadInput, "empty"),
        ("text/csv", b"\n\n", BadInput, "no rows"),
        ("text/csv", b"1,2\n3\n", BadInput, "Row 2 has 1 fields, but row 1 has 2"),
        ("text/csv", b'"1,2', BadInput, "not CSV"),
        ("text/csv", b"\xff\xfe", BadInput, "byte 0 is 0xff"),
        ("application/json", b"", BadInput, "empty"),
        ("application/json", b"[1,", BadInput, "not JSON"),
        ("application/json", b"[[1, 2], [3]]", BadInput, "different lengths"),
        ("application/json", b"[[1, 2], 3]", BadInput, "different lengths"),
        ("application/json", b"[" * 100_000, BadInput, "nested too deeply"),
        ("application/json", b"[" * 70 + b"]" * 70, BadInput, "nested too deeply"),
        ("application/json", b"[1" + b"0" * 400 + b"]", BadInput, "too large"),
        ("application/json", b"[1" + b"0" * 5000 + b"]", BadInput, "not JSON"),
        ("application/json", b'[[{"a": 1}]]', BadInput, "is a JSON object"),
        ("application/json", b'{"data": [[1]]}', BadInput, 'without "instances"'),
        ("application/json", b'[{"x": 1}]', BadInput, "does not know its columns"),
        ("application/jsonlines", b"[1]\nnope\n", BadInput, "Line 2 is not JSON"),
        ("application/x-npy", b"no npy at all", BadInput, "no NPY file of"),
        ("application/x-npy", b"\x93NUMPY\x09\x00", BadInput, "NPY"),
        ("application/x-npy", npy([{"a": 1}], allow_pickle=True), BadInput, "pickled"),
        ("application/x-npy", npy([[1.0, 2.0]])[:-1], BadInput, "does not fit the 15 bytes"),
        ("application/x-npy", npy([1.0]).replace(b"(1,)", b"(9**"), BadInput, "header cannot be read"),
        ("application/x-npy", npy([1.0]).replace(b"(1,)", b"'x' "), BadInput, "shape x"),
        ("application/x-npy", npy([1.0]).replace(b"<f8", b"<q9"), BadInput, "header cannot be read"),
        ("application/x-npy", b"\x93NUMPY\x01\x00\xff\xff123", BadInput, "length, 65535"),
        ("application/x-npy", npy(np.zeros(1, "V0")), BadInput, "type"),
    ],
)
def test_bad_bodies_are_refused(content_type: str, body: bytes, error: type[Exception], says: str):
    with pytest.raises(error, match=says):
        payload.decode(body, content_type)


def test_an_absurd_shape_allocates_nothing():
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776, 1048576), }"
    body = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with pytest.raises(BadInput, match="does not fit the 0 bytes"):
        payload.decode(body, "application/x-npy")


def test_rows_by_name_are_put_in_the_models_order_and_checked():
    assert payload.decode(b'[{"b": 2, "a": 1}]', "", ("a", "b")).tolist() == [[1, 2]]
    for body in (b'[{"a": 1}]', b'[{"a": 1, "b": 2, "c": 3}]', b'[{"a": 1, "b": 2}, [1, 2]]'):
        with pytest.raises(BadInput, match="Row"):
            payload.decode(body, "", ("a", "b"))


def test_rows_as_a_model_takes_them():
    assert payload.rows(np.array([1.0, 2.0])).shape == (1, 2)
    assert payload.rows(np.array(["a", "b"], object)).shape == (2,)
    assert payload.rows(np.array(["a", 1.5], object)).shape == (1, 2)
    for empty in (np.array(5.0), np.array([])):
        with pytest.raises(BadInput):
            payload.rows(empty)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/csv", "text/csv"),
        ("TEXT/CSV; charset=utf-8", "text/csv"),
        ("text/html, application/x-npy", "application/x-npy"),
        ("application/json;q=0.1, text/csv;q=0.9", "text/csv"),
        ("text/html, */*;q=0.1", "application/json"),
        ("text/*", "text/csv"),
        ("application/*", "application/json"),
        ("application/x-jsonlines", "application/jsonlines"),
        ("application/json;q=nonsense, text/csv;q=0.1", "text/csv"),
    ],
)
def test_accept(accept: str, kind: str):
    assert payload.negotiate(accept) == kind


def test_accept_falls_back_to_the_default_and_refuses_the_rest():
    assert payload.negotiate("", "text/csv") == payload.negotiate("*/*", "text/csv") == "text/csv"
    assert payload.negotiate("", "image/png") == "application/json"
    for accept in ("image/png", "application/json;q=0", "text/html,text/plain"):
        with pytest.raises(NotAcceptable, match="answers in application/json"):
            payload.negotiate(accept)


@pytest.mark.parametrize(
    ("prediction", "kind", "body"),
    [
        (np.array([0, 1]), "application/json", b"[0, 1]"),
        (np.array([[0.5, NAN]]), "application/json", b"[[0.5, NaN]]"),
        (np.array(["setosa"]), "application/json", b'["setosa"]'),
        (np.float32(0.5), "application/json", b"0.5"),
        ({"label": np.int64(3), "scores": np.array([0.5])}, "application/json", b'{"label": 3, "scores": [0.5]}'),
        ([np.array([1.0]), np.array([2.0])], "application/json", b"[[1.0], [2.0]]"),
        (np.array([0, 1]), "text/csv", b"0\n1\n"),
        (np.array([[0.1, 1.0]]), "text/csv", b"0.1,1.0\n"),
        (np.array(['say "a, b"']), "text/csv", b'"say ""a, b"""\n'),
        (7, "text/csv", b"7\n"),
        (np.array([[1, 2], [3, 4]]), "application/jsonlines", b"[1, 2]\n[3, 4]\n"),
        ([{"a": np.int64(1)}, {"a": 2}], "application/jsonlines", b'{"a": 1}\n{"a": 2}\n'),
        ({"a": 1}, "application/jsonlines", b'{"a": 1}\n'),
        (7, "application/jsonlines", b"7\n"),
    ],
)
def test_predictions_become_bodies(prediction: object, kind: str, body: bytes):
    assert payload.encode(prediction, kind) == body


@pytest.mark.parametrize(
    ("prediction", "kind"),
    [
        (object(), "application/json"),
        (np.zeros((1, 1, 1)), "text/csv"),
        ({"a": 1}, "text/csv"),
        (np.array([{"a": 1}], object), "application/x-npy"),
    ],
)
def test_what_cannot_be_written_is_the_models_failure(prediction: object, kind: str):
    with pytest.raises(ModelFailure, match=f"cannot be written as {kind}"):
        payload.encode(prediction, kind)


def test_labels_in_npy_need_no_pickle():
    body = payload.encode(np.array(["a", "bc"], dtype=object), "application/x-npy")
    assert np.load(io.BytesIO(body), allow_pickle=False).tolist() == ["a", "bc"]


tables = st.integers(1, 5).flatmap(
    lambda width: st.lists(st.lists(st.floats(allow_nan=False), min_size=width, max_size=width), min_size=1, max_size=8)
)


@given(tables, st.sampled_from(payload.FORMATS))
def test_numbers_come_back_exactly(table: list[list[float]], kind: str):
    assert payload.decode(payload.encode(np.array(table), kind), kind).tolist() == table


@given(st.binary(max_size=200), st.sampled_from(payload.FORMATS))
def test_no_body_breaks_the_decoder(body: bytes, kind: str):
    with contextlib.suppress(BadInput):
        assert isinstance(payload.decode(body, kind), np.ndarray)


@given(st.text(max_size=60))
def test_no_npy_header_breaks_the_decoder(text: str):
    header = ("{'descr': '<f8', 'fortran_order': False, 'shape': " + text + "}").encode()
    body = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        with contextlib.suppress(BadInput):
            assert payload.decode(body, payload.NPY).size == 1


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=20))
def test_no_json_breaks_the_decoder(value: object):
    with contextlib.suppress(BadInput):
        assert isinstance(payload.decode(json.dumps(value).encode(), payload.JSON), np.ndarray)


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("1 0:1.5 3:2\n0 1:-1e3", [{0: 1.5, 3: 2.0}, {1: -1000.0}]),
        ("0:1\n\n  2:3  # why\n# nothing", [{0: 1.0}, {2: 3.0}]),
        ("1 qid:7 2:nan", "nan"),
        ("-1\n1", [{}, {}]),
    ],
)
def test_libsvm_lines(text: str, table: object):
    found = payload.libsvm(text)
    assert found == table if table != "nan" else list(found[0]) == [2]


@pytest.mark.parametrize("text", ["1 a:1", "1 1:b", "1 1", "1 -1:2", "1 :", "1 1.5:2", "1 9999999999:1", "1 ٣:1"])
def test_lines_that_are_no_libsvm(text: str):
    with pytest.raises(BadInput, match="Line 1 is not LIBSVM"):
        payload.libsvm(text)
