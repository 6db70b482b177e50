"""REST with XML, and S3, which is REST with XML and some habits of its own."""

from __future__ import annotations

from typing import Any

from botocore.model import Shape, StructureShape

from kedge.errors import ServiceError
from kedge.wire.aws_json import error_shape
from kedge.wire.event_bodies import EventFormat, event_response
from kedge.wire.http import Request, Response
from kedge.wire.models import Codec, Target
from kedge.wire.rest import NO_BODY, decode_with, payload_member, raw_payload, write_located
from kedge.wire.shapes import (
    completed,
    response_body,
    wire_name,
    write,
    write_members,
)
from kedge.wire.xml import DECLARATION, XML_READER, XML_WRITER, element, escape, parse

S3_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"

S3_ROOTS = {
    "CompleteMultipartUpload": "CompleteMultipartUploadResult",
    "CreateMultipartUpload": "InitiateMultipartUploadResult",
    "DeleteObjects": "DeleteResult",
    "GetBucketLocation": "LocationConstraint",
    "ListBuckets": "ListAllMyBucketsResult",
    "ListMultipartUploads": "ListMultipartUploadsResult",
    "ListObjects": "ListBucketResult",
    "ListObjectsV2": "ListBucketResult",
    "ListObjectVersions": "ListVersionsResult",
    "ListParts": "ListPartsResult",
}
"""Root elements of S3's answers. The models do not have them; SDKs other than botocore look at them."""


def decode(target: Target, request: Request) -> dict[str, Any]:
    return decode_with(XML_READER, parse, target, request)


def encode(target: Target, result: dict[str, Any], request_id: str) -> Response:
    return _encode(target, result, {"x-amzn-requestid": request_id})


def _encode(target: Target, result: dict[str, Any], headers: dict[str, str]) -> Response:
    operation = target.model()
    response = Response(int(operation.http.get("responseCode", 200)), headers)
    shape = operation.output_shape
    if not isinstance(shape, StructureShape):
        return response
    if operation.has_event_stream_output:
        write_located(shape, result, response)
        return event_response(operation, result, response, XML_EVENTS)
    result = completed(operation, result)
    payload = payload_member(shape)
    if payload is None:
        members = response_body(shape)
        if members:
            written = XML_WRITER.structure(shape, write_members(members, result, XML_WRITER))
            root = S3_ROOTS.get(operation.name, wire_name(shape, shape.name))
            response.body = _document(target, root, shape, written)
    elif result.get(payload[0]) is not None:
        name, member = payload
        if member.type_name in ("blob", "string"):
            response.body = raw_payload(result[name])
        else:
            written = write(member, result[name], XML_WRITER)
            response.body = _document(target, wire_name(member, member.name), member, written)
    if response.body and (payload is None or payload[1].type_name == "structure"):
        response.headers["content-type"] = "application/xml"
    write_located(shape, result, response)
    return response


def _document(target: Target, root: str, shape: Shape, content: Any) -> bytes:
    text = element(root, shape, content)
    if target.protocol == "s3" and not shape.serialization.get("xmlNamespace"):
        text = text.replace(f"<{root}", f'<{root} xmlns="{S3_NAMESPACE}"', 1)
    return (DECLARATION + text).encode()


def encode_error(target: Target, error: ServiceError, request_id: str) -> Response:
    code, status = error.named_for("rest-xml")
    response = Response(status, {"content-type": "text/xml", "x-amzn-requestid": request_id})
    if status in NO_BODY:
        return response
    shape = error_shape(target, code)
    members = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in error.members.items())
    if shape is not None:
        write_located(shape, error.members, response)
        response.status = status
        written = write_members(response_body(shape), error.members, XML_WRITER)
        members = XML_WRITER.structure(shape, written).text
    kind = "Sender" if status < 500 else "Receiver"
    response.body = (
        f"{DECLARATION}<ErrorResponse><Error><Type>{kind}</Type><Code>{escape(code)}</Code>"
        f"<Message>{escape(error.message)}</Message>{members}</Error>"
        f"<RequestId>{escape(request_id)}</RequestId></ErrorResponse>"
    ).encode()
    return response


def encode_s3(target: Target, result: dict[str, Any], request_id: str) -> Response:
    if target.operation_name == "GetBucketLocation":
        # The one answer whose root element is the value; the model shows it as a member.
        location = escape(result.get("LocationConstraint") or "")
        root = f'<LocationConstraint xmlns="{S3_NAMESPACE}">{location}</LocationConstraint>'
        headers = s3_headers(request_id) | {"content-type": "application/xml"}
        return Response(200, headers, (DECLARATION + root).encode())
    response = _encode(target, result, s3_headers(request_id))
    if result.get("ContentRange") is not None:
        response.status = 206
    return response


def encode_s3_error(target: Target, error: ServiceError, request_id: str) -> Response:
    code, status = error.named_for("s3")
    response = Response(status, s3_headers(request_id) | dict(error.headers))
    if status in NO_BODY:
        return response
    response.headers["content-type"] = "application/xml"
    members = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in error.members.items())
    response.body = (
        f"{DECLARATION}<Error><Code>{escape(code)}</Code><Message>{escape(error.message)}</Message>{members}"
        f"<Resource>{escape(target.path)}</Resource><RequestId>{escape(request_id)}</RequestId>"
        f"<HostId>{escape(request_id)}</HostId></Error>"
    ).encode()
    return response


def s3_headers(request_id: str) -> dict[str, str]:
    return {"x-amz-request-id": request_id, "x-amz-id-2": request_id}


def _event_document(shape: Shape, value: Any) -> bytes:
    return element(wire_name(shape, shape.name), shape, write(shape, value, XML_WRITER)).encode()


XML_EVENTS = EventFormat("text/xml", _event_document, initial=False)
REST_XML = Codec(decode, encode, encode_error)
S3 = Codec(decode, encode_s3, encode_s3_error)
