"""Which operation a request asks for, found from the request alone by an index over botocore's models.

In this order, first match wins:

1. With the header `smithy-protocol` the path `/service/NAME/operation/Operation` names an RPC v2 operation.
2. `X-Amz-Target: PREFIX.Operation` names a JSON operation.
3. A signature made for "s3" is S3, and so is a Host of the form BUCKET.DOMAIN unless signed for another service.
4. Method and path of a REST service.
5. `Action` and `Version` in a form body or the query string name a query operation.
6. What is left is S3, path style.

The Host does not matter otherwise: a prefix that a model puts before it, such as "stream-", changes nothing.

The protocol follows from the way in which the operation was named, never from the model: one service may speak several.
Whatever could be two operations is refused when the index is built.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel

from kedge.errors import NoSuchMethod, SerializationFailed, ServiceError, UnknownOperation, ValidationFailed
from kedge.wire.http import Request, Response

MAX_FIELDS = 50_000
"""Fields of one form body or query string."""

NOT_SERVED = {
    "s3.ListDirectoryBuckets": "S3 Express lives on a host of its own and would shadow ListBuckets",
    "s3.CreateSession": "S3 Express",
    "s3.WriteGetObjectResponse": "S3 Object Lambda lives on a host of its own and would shadow a bucket's name",
}
"""Operations left out of the index, with the reason."""

VERSIONLESS = {"ConfirmSubscription": "2010-03-31", "Unsubscribe": "2010-03-31"}
"""Query operations that links in messages of SNS ask for without a version, and the version that is meant."""

RPC_V2_CBOR = "smithy-rpc-v2-cbor"

_CODE_SERVICE = {"protocols": [RPC_V2_CBOR, "json"]}
SPOKEN_SINCE: Mapping[str, Mapping[str, Any]] = {
    "cloudwatch": {
        "protocols": [RPC_V2_CBOR, "json", "query"],
        "targetPrefix": "GraniteServiceVersion20100801",
        "jsonVersion": "1.0",
        "awsQueryCompatible": {},
    },
    "codebuild": _CODE_SERVICE,
    "codepipeline": _CODE_SERVICE,
}
"""What a service has learned to speak since the oldest botocore that the server runs with: a client may be newer."""

_RPC_PATH = re.compile(r"(?:/.*)?/service/([^/]+)/operation/([^/]+)")


@dataclass(frozen=True)
class Target:
    """What a request asks for. `operation` is None where the service has no such operation."""

    service: str
    """botocore's name of the service; empty where not even that is known."""
    operation_name: str
    protocol: str
    """"json", "rest-json", "rest-xml", "query", "smithy-rpc-v2-cbor", or "s3": rest-xml with errors of its own."""
    operation: OperationModel | None = None
    signing_name: str = ""
    """What the credential scope has to say; empty where the service is not known."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Members that stand in the path or host, still percent-encoded."""
    path: str = "/"
    bucket_in_host: str = ""
    """The bucket where the Host header names it (virtual-host style)."""
    json_version: str = "1.1"
    query_mode: bool = False
    """The client of a former query service expects the error's old name too."""

    @property
    def key(self) -> str:
        return f"{self.service}.{self.operation_name}"

    def model(self) -> OperationModel:
        """Raises UnknownOperation, which names the operation."""
        if self.operation is None:
            raise (NoSuchMethod if self.protocol == "s3" else UnknownOperation)(_unknown(self))
        return self.operation

    def streamed_input(self) -> str | None:
        """The member whose bytes are read while the operation runs, such as PutObject's Body."""
        return _streamed(self.operation.input_shape) if self.operation is not None else None


@dataclass(frozen=True)
class Codec:
    """A protocol. decode raises ServiceError; the last argument of the encoders is the request id."""

    decode: Callable[[Target, Request], dict[str, Any]]
    encode: Callable[[Target, dict[str, Any], str], Response]
    encode_error: Callable[[Target, ServiceError, str], Response]


class AmbiguousModels(Exception):
    """Two operations that no request could tell apart."""


@dataclass(frozen=True)
class _Route:
    """A REST operation. `fixed` stands in its URI's query string; `needs` are required members outside the path."""

    service: str
    operation_name: str
    pattern: re.Pattern[str]
    fixed: frozenset[tuple[str, str]]
    needs: frozenset[str]
    """"?name" for the query string, "name" for a header."""
    accepts: frozenset[str]
    """Every name of the query string that the operation knows."""

    def fits(self, query: Mapping[str, str], headers: Mapping[str, str]) -> bool:
        fixed = all(name in query and (not value or query[name] == value) for name, value in self.fixed)
        return fixed and all(n[1:] in query if n.startswith("?") else n in headers for n in self.needs)


class Models:
    """The index. services: botocore's names, or models of one's own. Raises AmbiguousModels."""

    def __init__(self, services: Iterable[str | ServiceModel], s3_domain: str = "localhost") -> None:
        loader = Loader()
        self.services: dict[str, ServiceModel] = {}
        self._prefixes: dict[str, str] = {}
        self._rpc_names: dict[str, str] = {}
        self._actions: dict[tuple[str, str], str] = {}
        self._routes: dict[str, list[_Route]] = {}
        self._s3_routes: dict[tuple[str, int], list[_Route]] = {}
        self._s3_subresources: set[str] = set()
        self._s3_domain = s3_domain.lower()
        for service in services:
            model = service
            if isinstance(model, str):
                model = ServiceModel(loader.load_service_model(model, "service-2"), service_name=model)
            self._add(model.service_name, model)

    def _add(self, name: str, model: ServiceModel) -> None:
        if name in self.services:
            raise AmbiguousModels(f"the service {name} is listed twice")
        self.services[name] = model
        metadata = metadata_of(model)
        protocols = set(metadata["protocols"])
        if "json" in protocols:
            _claim(self._prefixes, metadata["targetPrefix"], name)
        if RPC_V2_CBOR in protocols:
            _claim(self._rpc_names, metadata["targetPrefix"], name)
        if "query" in protocols:
            for operation_name in model.operation_names:
                _claim(self._actions, (metadata["apiVersion"], operation_name), name)
        if name == "s3":
            self._add_s3(model)
        elif protocols & {"rest-json", "rest-xml"}:
            for operation_name in model.operation_names:
                method, route = _route(name, model, operation_name)
                others = self._routes.setdefault(method, [])
                for other in others:
                    if (_without_names(other), other.fixed) == (_without_names(route), route.fixed):
                        raise AmbiguousModels(f"{_title(other)} and {_title(route)} have one method and path")
                others.append(route)
        for routes in self._routes.values():
            routes.sort(key=lambda route: len(route.fixed), reverse=True)

    def _add_s3(self, model: ServiceModel) -> None:
        groups: dict[tuple[str, int, frozenset[tuple[str, str]]], list[_Route]] = {}
        for operation_name in model.operation_names:
            definition = _definition(model, operation_name)
            if f"s3.{operation_name}" in NOT_SERVED or definition.get("deprecated"):
                continue
            method, route = _route("s3", model, operation_name)
            depth = len(_s3_labels(model, definition))
            groups.setdefault((method, depth, route.fixed), []).append(route)
        for (method, depth, fixed), routes in groups.items():
            if fixed and len(routes) == 1:  # named by its sub-resource: what else is missing is a matter for the checks
                routes = [_Route(r.service, r.operation_name, r.pattern, fixed, frozenset(), r.accepts) for r in routes]
            needs = {route.needs for route in routes}
            if len(needs) < len(routes):
                raise AmbiguousModels("cannot be told apart: " + ", ".join(map(_title, routes)))
            self._s3_routes.setdefault((method, depth), []).extend(routes)
            for route in routes:
                self._s3_subresources |= {key for key, _ in route.fixed}
                self._s3_subresources |= {need[1:] for need in route.needs if need.startswith("?")}
        for routes in self._s3_routes.values():
            routes.sort(key=lambda route: (len(route.fixed), len(route.needs)), reverse=True)

    def needs_body(self, request: Request) -> bool:
        """Whether only the body tells the operation: a form posted to the root."""
        return (
            request.method == "POST"
            and request.path == "/"
            and "x-amz-target" not in request.headers
            and request.headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded")
            and not self._is_s3(request, {})
        )

    def guess(self, request: Request) -> Target:
        """As `find`, before the body is read and without an error: at least the protocol is right."""
        if self.needs_body(request):
            return Target("", "a form", "query", path=request.path)
        try:
            return self.find(request)
        except ServiceError:
            is_s3 = "s3" in self.services and _signing_service(request, {}) in ("", "s3")
            protocol = "s3" if is_s3 else "rest-json"
            return Target("", request.method, protocol, path=request.path)

    def find(self, request: Request) -> Target:
        """What is asked for; a form posted to the root has to carry its body.

        Raises SerializationFailed for a form and ValidationFailed for a query string that is none.
        """
        rpc = self._find_rpc(request)
        if rpc is not None:
            return rpc
        target_header = request.headers.get("x-amz-target")
        if target_header is not None:
            return self._find_json(target_header, request)
        query = fields(request.query) if request.query else {}
        if self._is_s3(request, query):
            return self._find_s3(request, query)
        for route in self._routes.get(request.method, ()):
            found = route.pattern.fullmatch(request.path)
            if found and route.fits(query, request.headers):
                return self._target(route, request, found.groupdict())
        if self.needs_body(request):
            return self._find_action(query | fields(request.body), request)
        if request.path == "/" and "Action" in query:
            return self._find_action(query, request)
        if "s3" in self.services and not _signing_service(request, query):
            return self._find_s3(request, query)
        return Target("", f"{request.method} {request.path}", "rest-json", path=request.path)

    def _find_json(self, target_header: str, request: Request) -> Target:
        prefix, _, operation_name = target_header.rpartition(".")
        service = self._prefixes.get(prefix, "")
        content_type = request.headers.get("content-type", "")
        return Target(
            service=service,
            operation_name=operation_name if service else target_header,
            protocol="json",
            operation=self._operation(service, operation_name),
            signing_name=self._signing_name(service),
            path=request.path,
            json_version="1.0" if "json-1.0" in content_type else "1.1",
            query_mode=_query_mode(request),
        )

    def _find_rpc(self, request: Request) -> Target | None:
        if "smithy-protocol" not in request.headers:
            return None
        found = _RPC_PATH.fullmatch(request.path)
        if found is None:
            return Target("", f"{request.method} {request.path}", RPC_V2_CBOR, path=request.path)
        service = self._rpc_names.get(found[1], "") if request.method == "POST" else ""
        return Target(
            service=service,
            operation_name=found[2] if service else f"{found[1]}.{found[2]}",
            protocol=RPC_V2_CBOR,
            operation=self._operation(service, found[2]),
            signing_name=self._signing_name(service),
            path=request.path,
            query_mode=_query_mode(request),
        )

    def _find_action(self, form: Mapping[str, str], request: Request) -> Target:
        action = form.get("Action", "")
        version = form.get("Version") or VERSIONLESS.get(action, "")
        service = self._actions.get((version, action), "")
        if service:
            operation, signing_name = self._operation(service, action), self._signing_name(service)
            return Target(service, action, "query", operation, signing_name, path=request.path)
        return Target("", f"{action} for version {version or 'NO_VERSION_SPECIFIED'}", "query", path=request.path)

    def _is_s3(self, request: Request, query: Mapping[str, str]) -> bool:
        if "s3" not in self.services:
            return False
        signed_for = _signing_service(request, query)
        return signed_for == "s3" or (not signed_for and bool(self._bucket_in_host(request)))

    def _find_s3(self, request: Request, query: Mapping[str, str]) -> Target:
        bucket = self._bucket_in_host(request)
        path = f"/{bucket}{request.path}" if bucket else request.path
        bucket_name, _, key = path.removeprefix("/").partition("/")
        labels = {name: value for name, value in (("Bucket", bucket_name), ("Key", key)) if value}
        asked = query.keys() & self._s3_subresources
        for route in self._s3_routes.get((request.method, len(labels)), ()):
            # A sub-resource that the operation does not know is not overlooked: DELETE /b/k?acl is not DeleteObject.
            if route.fits(query, request.headers) and asked <= route.accepts:
                operation = self._operation("s3", route.operation_name)
                return Target("s3", route.operation_name, "s3", operation, "s3", labels, request.path, bucket)
        name = f"{request.method} {request.path}" + "".join(f"?{part}" for part in sorted(asked))
        return Target("s3", name, "s3", None, "s3", labels, request.path, bucket)

    def _target(self, route: _Route, request: Request, groups: Mapping[str, str]) -> Target:
        operation = self._operation(route.service, route.operation_name)
        assert operation is not None
        names = _labels(operation.http["requestUri"])
        labels = {name: groups[f"label{number}"] for number, name in enumerate(names)}
        protocol = next(each for each in metadata_of(operation.service_model)["protocols"] if each.startswith("rest-"))
        signing_name = self._signing_name(route.service)
        return Target(route.service, route.operation_name, protocol, operation, signing_name, labels, request.path)

    def _operation(self, service: str, operation_name: str) -> OperationModel | None:
        model = self.services.get(service)
        if model is None or operation_name not in model.operation_names:
            return None
        return model.operation_model(operation_name)

    def _signing_name(self, service: str) -> str:
        return str(self.services[service].signing_name) if service in self.services else ""

    def _bucket_in_host(self, request: Request) -> str:
        """BUCKET of BUCKET.s3_domain, BUCKET.s3.s3_domain and BUCKET.s3.REGION.s3_domain."""
        host = re.sub(r":\d+$", "", request.headers.get("host", "")).lower()
        if not host.endswith("." + self._s3_domain):
            return ""
        found = re.fullmatch(r"(?:(.+)\.)?s3(?:[.-][a-z0-9-]+)?|(.+)", host.removesuffix("." + self._s3_domain))
        return (found[1] or found[2] or "") if found else ""


def metadata_of(model: ServiceModel) -> dict[str, Any]:
    """A model's metadata with all protocols that are spoken for it under "protocols"; the models of botocore before
    1.35 name one alone."""
    since = SPOKEN_SINCE.get(model.service_name, {})
    metadata: dict[str, Any] = {**since, **model.metadata}
    listed = [*metadata.get("protocols", ()), metadata["protocol"], *since.get("protocols", ())]
    return metadata | {"protocols": list(dict.fromkeys(listed))}


def fields(form: str | bytes) -> dict[str, str]:
    """The fields of a form body, else SerializationFailed, or of a query string, else ValidationFailed."""
    try:
        text = form.decode("ascii") if isinstance(form, bytes) else form
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError as error:
        wrong: type[ServiceError] = SerializationFailed if isinstance(form, bytes) else ValidationFailed
        raise wrong(f"These are not percent-encoded fields: {str(error)[:200]}") from None
    named: dict[str, str] = {}
    for name, value in pairs:
        named.setdefault(name, value)
    return named


def _unknown(target: Target) -> str:
    if target.protocol == "query":
        return f"Could not find operation {target.operation_name}"
    if target.protocol == "s3":
        return f"S3 has no operation for {target.operation_name}."
    if not target.service:
        return f'No service here has an operation "{target.operation_name}".'
    return f'{target.service} has no operation "{target.operation_name}".'


def _query_mode(request: Request) -> bool:
    return request.headers.get("x-amzn-query-mode", "").lower() == "true"


def _claim(index: dict[Any, str], key: Any, service: str) -> None:
    other = index.setdefault(key, service)
    if other != service:
        raise AmbiguousModels(f"{other} and {service} both answer to {key}")


def _signing_service(request: Request, query: Mapping[str, str]) -> str:
    """The service in the credential scope, empty for an unsigned request; version 2 signatures are S3's alone."""
    authorization = request.headers.get("authorization", "")
    if "AWSAccessKeyId" in query or authorization.startswith("AWS "):
        return "s3"
    found = re.search(r"/([a-z0-9-]+)/aws4_request", query.get("X-Amz-Credential") or authorization)
    return found[1] if found else ""


def _definition(model: ServiceModel, operation_name: str) -> Any:
    # botocore's public accessor makes a model object for each of hundreds of operations; the index needs the raw text.
    return model._service_description["operations"][operation_name]  # type: ignore[attr-defined]


def _members(model: ServiceModel, definition: Any) -> tuple[Any, list[str]]:
    if "input" not in definition:
        return {}, []
    shape = model._service_description["shapes"][definition["input"]["shape"]]  # type: ignore[attr-defined]
    return shape["members"], shape.get("required", [])


def _route(service: str, model: ServiceModel, operation_name: str) -> tuple[str, _Route]:
    definition = _definition(model, operation_name)
    path, _, query = definition["http"]["requestUri"].partition("?")
    fixed = frozenset(parse_qsl(query, keep_blank_values=True))
    members, required = _members(model, definition)
    needs: set[str] = set()
    accepts = {name for name, _ in fixed}
    for name, member in members.items():
        wire, where = member.get("locationName", name), member.get("location")
        if where == "querystring":
            accepts.add(wire)
        if name in required and where in ("querystring", "header") and service == "s3":
            needs.add(f"?{wire}" if where == "querystring" else wire.lower())
    pattern, parts = "", re.split(r"\{([^}]+)\}", path)
    for number, part in enumerate(parts):
        literal = number % 2 == 0
        pattern += re.escape(part) if literal else f"(?P<label{number // 2}>{'.+' if part.endswith('+') else '[^/]+'})"
    route = _Route(service, operation_name, re.compile(pattern), fixed, frozenset(needs), frozenset(accepts))
    return definition["http"]["method"], route


def _labels(uri: str) -> list[str]:
    return [name.rstrip("+") for name in re.findall(r"\{([^}]+)\}", uri.partition("?")[0])]


def _s3_labels(model: ServiceModel, definition: Any) -> list[str]:
    """Bucket and Key. From the members, because a botocore client takes the bucket out of the URI."""
    members, _ = _members(model, definition)
    return [name for name in ("Bucket", "Key") if members.get(name, {}).get("location") == "uri"]


def _without_names(route: _Route) -> str:
    return re.sub(r"\?P<label\d+>", "", route.pattern.pattern)


def _title(route: _Route) -> str:
    return f"{route.service}.{route.operation_name}"


def _streamed(shape: Any) -> str | None:
    if shape is None:
        return None
    payload: str | None = shape.serialization.get("payload")
    return payload if payload and shape.members[payload].serialization.get("streaming") else None
