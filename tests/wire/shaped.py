"""Hypothesis strategies from botocore's shapes: requests that are right, almost right, and wrong."""

from __future__ import annotations

import base64
import copy
import json
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import botocore.serialize
from botocore.model import OperationModel, Shape
from hypothesis import strategies as st

from kedge.wire.http import Request
from kedge.wire.models import metadata_of
from kedge.wire.patterns import compiled

MAX_DEPTH = 6

NAMES = ["fuzz-a", "fuzz-b"]
POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*", "Principal": "*"}],
    }
)
TRUST = POLICY.replace("s3:GetObject", "sts:AssumeRole").replace('"Resource": "*", ', "")
OF_MEMBERS = {
    "RoleName": [*NAMES, "kedge-execution-role"],
    "Bucket": ["fuzz-bucket"],
    "Key": ["k", "a/b", "k é"],
    "ExecutionRoleArn": ["arn:aws:iam::000000000000:role/kedge-execution-role"],
    "RoleArn": ["arn:aws:iam::000000000000:role/kedge-execution-role"],
    "ResourceArn": [f"arn:aws:sagemaker:us-east-1:000000000000:{kind}/fuzz-a" for kind in ("model", "endpoint")],
    "Image": ["kedge/sklearn"],
    "ModelDataUrl": ["s3://fuzz-bucket/k"],
    "InstanceType": ["ml.t3.medium"],
    "KeyId": ["alias/fuzz"],
    "CopySource": ["fuzz-bucket/k", "fuzz-bucket/a/b?versionId=null"],
    "AssumeRolePolicyDocument": [TRUST],
    "PolicyDocument": [POLICY],
    "Policy": [POLICY],
}
"""What a member is given most of the time."""

TEXTS = [
    *NAMES,
    *("fuzz-bucket", "k", "a/b", "k é", "AllTraffic", "ml.t3.medium", "kedge/sklearn", "text/csv", "application/json"),
    *("1", "0", "60", "true", "*", "/", "/fuzz/", "2012-10-17", POLICY, "{}", "s3://fuzz-bucket/k", "bytes=0-3"),
    *("fuzz-bucket/k", "AKIAFUZZFUZZFUZZFUZZ", "alias/fuzz", "11111111-2222-3333-4444-555555555555", "us-east-1"),
    *(
        f"arn:aws:{kind}"
        for kind in (
            "iam::000000000000:role/kedge-execution-role",
            "iam::000000000000:user/fuzz-a",
            "iam::000000000000:policy/fuzz-a",
            "sagemaker:us-east-1:000000000000:endpoint/fuzz-a",
            "sagemaker:us-east-1:000000000000:model/fuzz-a",
            "kms:us-east-1:000000000000:key/11111111-2222-3333-4444-555555555555",
            "cloudwatch:us-east-1:000000000000:alarm:fuzz-a",
            "s3:::fuzz-bucket",
        )
    ),
]
"""Names that several operations draw, so that what one makes the next one finds."""

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 2**31 - 1, 2**31, 2**63, -(2**63) - 1, 10**40, 1.5, 1e308, math.nan, math.inf, -math.inf]),
    st.sampled_from(
        ["", " ", "\x00", "\r\nx: 1", "\ufffe", "😀", "../../etc/passwd", "a" * 300, "é" * 5000, "NaN", "-1"]
    ),
    st.sampled_from(
        ["%", "%zz", "${x}", "<a>&", "2012-10-17", "arn:aws:x", "arn:::::::", "s3://", "s3://b", "{", "[]"]
    ),
    st.sampled_from([[], {}, [None], [[]], {"": None}, {"Key": []}, [{}] * 60, ["a"] * 1100, {"a": {"b": {"c": []}}}]),
    st.text(max_size=40),
    st.binary(max_size=40),
    st.datetimes(timezones=st.just(UTC)),
).map(copy.deepcopy)


def valid(shape: Shape, name: str = "", depth: int = 0) -> st.SearchStrategy[Any]:
    """Values that the shape allows, as far as its constraints say."""
    return _valid(_Same(shape), name, depth)


class _Same:
    """A shape by its identity, for the cache."""

    def __init__(self, shape: Shape) -> None:
        self.shape: Any = shape
        self._key = (
            id(shape.service_model) if hasattr(shape, "service_model") else 0,
            shape.name,
            repr(shape.metadata),
        )
        self._key += (repr(shape.serialization),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


@cache
def _valid(same: _Same, name: str, depth: int) -> st.SearchStrategy[Any]:
    shape = same.shape
    low, high = shape.metadata.get("min", 0), shape.metadata.get("max")
    match shape.type_name:
        case "structure":
            return _structure(shape, depth)
        case "list":
            least = int(low) if depth < MAX_DEPTH else 0
            most = min(least + 2, high if high is not None else least + 2)
            return st.lists(valid(shape.member, name, depth + 1), min_size=least, max_size=max(least, int(most)))
        case "map":
            return st.dictionaries(
                valid(shape.key, "key", depth + 1), valid(shape.value, "value", depth + 1), max_size=2
            )
        case "string" | "character":
            any_text = _text(shape, int(low), int(high) if high is not None else None)
            usual = OF_MEMBERS.get(name) or (NAMES if name.endswith("Name") else [])
            return st.integers(0, 9).flatmap(lambda n: st.sampled_from(usual) if n else any_text) if usual else any_text
        case "integer" | "long":
            least, most = int(low), int(high) if high is not None else max(int(low), 0) + 1000
            return st.integers(least, max(least, most)) | st.just(least)
        case "float" | "double":
            return st.sampled_from([float(low), float(high if high is not None else 1.0)])
        case "boolean":
            return st.booleans()
        case "timestamp":
            return st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
        case "blob":
            return st.binary(min_size=int(low), max_size=int(low) + 60)
    raise AssertionError(shape.type_name)


def _structure(shape: Any, depth: int) -> st.SearchStrategy[Any]:
    if shape.is_document_type:
        return st.just({"a": 1})
    members = {name: member for name, member in shape.members.items() if not member.serialization.get("eventstream")}
    if not members:
        return st.just({})
    if shape.is_tagged_union:
        return st.sampled_from(sorted(members)).flatmap(
            lambda name: st.fixed_dictionaries({name: valid(members[name], name, depth + 1)})
        )
    required = {name: st.deferred(lambda n=name: valid(members[n], n, depth + 1)) for name in shape.required_members}
    optional = sorted(members.keys() - required.keys()) if depth < MAX_DEPTH else []
    if not optional:
        return st.fixed_dictionaries(required)
    some = st.lists(st.sampled_from(optional), max_size=3 if depth else 5, unique=True)
    return some.flatmap(
        lambda names: st.fixed_dictionaries(required | {name: valid(members[name], name, depth + 1) for name in names})
    )


def _text(shape: Any, low: int, high: int | None) -> st.SearchStrategy[str]:
    if shape.enum:
        return st.sampled_from(shape.enum)
    fitting = [text for text in TEXTS if len(text) >= low and (high is None or len(text) <= high)]
    pattern = shape.metadata.get("pattern")
    if pattern:
        fitting = [text for text in fitting if compiled(pattern).fullmatch(text)]
    if fitting:
        return st.sampled_from(fitting)
    if pattern:
        return st.from_regex(compiled(pattern), fullmatch=True)
    return st.just("x" * low)


@st.composite
def parameters(draw: st.DrawFn, shape: Shape | None) -> Any:
    """A request's parameters with nothing, little or much wrong."""
    if shape is None:
        return draw(st.sampled_from([{}, {"Unknown": 1}]))
    tree = {"": copy.deepcopy(draw(valid(shape)))}
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2, 4]))):
        places = [place for place in _places(tree) if place[0] is not tree]
        if not places:
            break
        container, key = draw(st.sampled_from(places))
        if isinstance(container, dict) and draw(st.integers(0, 3)) == 0:
            del container[key]
        else:
            container[key] = draw(JUNK)
    return tree[""]


def _places(tree: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    if isinstance(tree, dict | list):
        for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
            found.append((tree, key))
            found += _places(tree[key])
    return found


class CannotBeWritten(Exception):
    """botocore's serializer has no form for such a value."""


def written(operation: OperationModel, values: Any) -> Request:
    """Parameters of any type on the wire. The host is not filled in. Raises CannotBeWritten."""
    metadata = metadata_of(operation.service_model)
    protocol = "json" if "json" in metadata["protocols"] else metadata["protocols"][0]
    if protocol == "json":
        headers = {
            "x-amz-target": f"{metadata['targetPrefix']}.{operation.name}",
            "content-type": f"application/x-amz-json-{metadata['jsonVersion']}",
        }
        return Request("POST", "/", "", headers, json.dumps(values, default=_json_leaf).encode(errors="replace"))
    if protocol == "query":
        form = {"Action": operation.name, "Version": metadata["apiVersion"], **dict(_fields("", values))}
        headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
        return Request("POST", "/", "", headers, urlencode(form, errors="replace").encode())
    return _rest(operation, protocol, values)


def _json_leaf(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.timestamp() if isinstance(value, datetime) else str(value)


def _fields(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _fields(f"{name}.{key}" if name else str(key), item)
    elif isinstance(value, list):
        if not value:
            yield name, ""
        for number, item in enumerate(value, 1):
            yield from _fields(f"{name}.member.{number}", item)
    elif isinstance(value, datetime):
        yield name, value.isoformat()
    elif isinstance(value, bool):
        yield name, str(value).lower()
    else:
        yield name, base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _rest(operation: OperationModel, protocol: str, values: Any) -> Request:
    serializer = botocore.serialize.create_serializer(protocol, include_validation=False)
    try:
        raw = serializer.serialize_to_request(values, operation)
        body = raw["body"]
        body = body.encode() if isinstance(body, str) else bytes(body or b"")
        url = urlsplit(raw["url_path"])
        query = raw.get("query_string") or {}
        pairs = [(k, v) for k, vs in query.items() for v in (vs if isinstance(vs, list) else [vs])]
        text = "&".join(part for part in (url.query, urlencode(pairs, quote_via=quote)) if part)
        path = url.path
        if "Bucket" in values and "{Bucket}" not in operation.http["requestUri"]:
            path = "/" + quote(str(values["Bucket"]), safe="") + (path if path != "/" else "")
        headers = {name.lower(): str(value) for name, value in raw["headers"].items()}
        headers.pop("content-length", None)  # bodies of another length are a matter for test_bad_input
        for name, value in headers.items():
            if not re.fullmatch("[a-z0-9_.!#$%&'*+^`|~-]+", name) or re.search("[\r\n\0]", value):
                raise CannotBeWritten
            value.encode("ascii")
        path.encode("ascii")
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, RuntimeError, OverflowError) as error:
        raise CannotBeWritten from error
    if protocol == "rest-xml":
        headers.setdefault("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
    return Request(raw["method"], path or "/", text, headers, body)
