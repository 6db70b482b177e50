"""A forest as an ONNX model, written byte by byte: the package that writes them is larger than all of Kedge. PURE.

One TreeEnsemble node of ai.onnx.ml 5, whose thresholds, leaves and sums are float64: older operators sum in float32,
and compare in it. Sources: onnx.proto (field numbers), the Protocol Buffers encoding, the operator's documentation.
"""

from __future__ import annotations

import numpy as np

from kedge.serving.compiled.program import Array, Forest

_IR_VERSION, _OPSET, _ML_OPSET = 10, 21, 5
_FLOAT64, _UINT8 = 11, 2
_INT, _TENSOR, _INTS = 2, 4, 7
"""AttributeProto.AttributeType."""
_LESS_OR_EQUAL = 0


def suits(forest: Forest) -> bool:
    """Whether each leaf adds to one output at most, and no tree is a leaf alone: the operator has no other."""
    leaves = forest.values[forest.is_leaf]
    return bool(((leaves != 0).sum(axis=1) <= 1).all()) and not forest.is_leaf[forest.roots].any()


def of(forest: Forest, width: int) -> bytes:
    """From "x", shape (rows, width), to "y", shape (rows, outputs); `forest.base` is left to the caller."""
    leaf = forest.is_leaf
    # Leaves and the nodes above them are numbered apart.
    number = np.where(leaf, np.cumsum(leaf), np.cumsum(~leaf)) - 1
    inner = np.flatnonzero(~leaf)
    left, right = forest.left[inner], forest.right[inner]
    values = forest.values[leaf]
    targets = (values != 0).argmax(axis=1)
    node = b"".join(
        [
            _text(1, "x"),
            _text(2, "y"),
            _text(4, "TreeEnsemble"),
            _text(7, "ai.onnx.ml"),
            _int("n_targets", values.shape[1]),
            _int("aggregate_function", 1),
            _int("post_transform", 0),
            _ints("tree_roots", number[forest.roots]),
            _ints("nodes_featureids", forest.feature[inner]),
            _tensor("nodes_splits", _FLOAT64, forest.threshold[inner].astype("<f8")),
            _tensor("nodes_modes", _UINT8, np.full(len(inner), _LESS_OR_EQUAL, dtype=np.uint8)),
            _ints("nodes_truenodeids", number[left]),
            _ints("nodes_trueleafs", leaf[left]),
            _ints("nodes_falsenodeids", number[right]),
            _ints("nodes_falseleafs", leaf[right]),
            _ints("nodes_missing_value_tracks_true", forest.missing_left[inner]),
            _ints("leaf_targetids", targets),
            _tensor("leaf_weights", _FLOAT64, values[np.arange(len(values)), targets].astype("<f8")),
        ]
    )
    graph = b"".join(
        [_bytes(1, node), _text(2, "forest"), _bytes(11, _value("x", width)), _bytes(12, _value("y", values.shape[1]))]
    )
    return b"".join(
        [
            _varint(1 << 3) + _varint(_IR_VERSION),
            _bytes(7, graph),
            _bytes(8, _text(1, "") + _varint(2 << 3) + _varint(_OPSET)),
            _bytes(8, _text(1, "ai.onnx.ml") + _varint(2 << 3) + _varint(_ML_OPSET)),
        ]
    )


def _value(name: str, width: int) -> bytes:
    """ValueInfoProto of a float64 tensor of shape (rows, width)."""
    rows = _bytes(1, _text(2, "rows"))
    columns = _bytes(1, _varint(1 << 3) + _varint(width))
    tensor = _varint(1 << 3) + _varint(_FLOAT64) + _bytes(2, rows + columns)
    return _text(1, name) + _bytes(2, _bytes(1, tensor))


def _int(name: str, value: int) -> bytes:
    return _bytes(5, _text(1, name) + _varint(3 << 3) + _varint(value) + _kind(_INT))


def _ints(name: str, values: Array) -> bytes:
    packed = b"".join(map(_varint, values.astype(np.int64).tolist()))
    return _bytes(5, _text(1, name) + _bytes(8, packed) + _kind(_INTS))


def _tensor(name: str, data_type: int, values: Array) -> bytes:
    tensor = _varint(1 << 3) + _varint(len(values)) + _varint(2 << 3) + _varint(data_type)
    tensor += _bytes(9, values.tobytes())
    return _bytes(5, _text(1, name) + _bytes(5, tensor) + _kind(_TENSOR))


def _kind(number: int) -> bytes:
    return _varint(20 << 3) + _varint(number)


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())


def _bytes(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)
