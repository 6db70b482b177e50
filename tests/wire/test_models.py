"""Which operation a request asks for."""

import copy
import time
from functools import cache
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel

from kedge.errors import UnknownOperation
from kedge.wire.http import Request
from kedge.wire.models import AmbiguousModels, Models

SERVICES = ["sagemaker", "sagemaker-runtime", "s3", "sts", "iam"]
FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
SIGNED = "AWS4-HMAC-SHA256 Credential=AKID/20260102/us-east-1/{}/aws4_request, SignedHeaders=host, Signature=0"


@cache
def models() -> Models:
    return Models(SERVICES)


def request(line: str, headers: dict[str, str] | None = None, body: bytes = b"") -> Request:
    method, _, url = line.partition(" ")
    path, _, query = url.partition("?")
    return Request(method, path, query, {"host": "127.0.0.1:8770"} | (headers or {}), body)


@pytest.mark.parametrize(
    ("line", "headers", "key", "labels"),
    [
        ("GET /", {}, "s3.ListBuckets", {}),
        ("GET /?max-buckets=3", {}, "s3.ListBuckets", {}),
        ("PUT /b", {}, "s3.CreateBucket", {"Bucket": "b"}),
        ("PUT /b/", {}, "s3.CreateBucket", {"Bucket": "b"}),
        ("HEAD /b", {}, "s3.HeadBucket", {"Bucket": "b"}),
        ("DELETE /b", {}, "s3.DeleteBucket", {"Bucket": "b"}),
        ("GET /b?location", {}, "s3.GetBucketLocation", {"Bucket": "b"}),
        ("GET /b?location=", {}, "s3.GetBucketLocation", {"Bucket": "b"}),
        ("GET /b", {}, "s3.ListObjects", {"Bucket": "b"}),
        ("GET /b?list-type=2&prefix=a%2Fb", {}, "s3.ListObjectsV2", {"Bucket": "b"}),
        ("GET /b?uploads", {}, "s3.ListMultipartUploads", {"Bucket": "b"}),
        ("GET /b?versions", {}, "s3.ListObjectVersions", {"Bucket": "b"}),
        ("POST /b?delete", {}, "s3.DeleteObjects", {"Bucket": "b"}),
        ("GET /b?lifecycle", {}, "s3.GetBucketLifecycleConfiguration", {"Bucket": "b"}),
        ("GET /b?analytics", {}, "s3.ListBucketAnalyticsConfigurations", {"Bucket": "b"}),
        ("GET /b?analytics&id=1", {}, "s3.GetBucketAnalyticsConfiguration", {"Bucket": "b"}),
        ("PUT /b/k", {}, "s3.PutObject", {"Bucket": "b", "Key": "k"}),
        ("PUT /b/k?x-id=PutObject", {}, "s3.PutObject", {"Bucket": "b", "Key": "k"}),
        ("PUT /b/a//b/../c", {}, "s3.PutObject", {"Bucket": "b", "Key": "a//b/../c"}),
        ("PUT /b//k/", {}, "s3.PutObject", {"Bucket": "b", "Key": "/k/"}),
        ("PUT /b/k", {"x-amz-copy-source": "/b/o"}, "s3.CopyObject", {"Bucket": "b", "Key": "k"}),
        ("PUT /b/k?partNumber=1&uploadId=u", {}, "s3.UploadPart", {"Bucket": "b", "Key": "k"}),
        (
            "PUT /b/k?partNumber=1&uploadId=u",
            {"x-amz-copy-source": "/b/o"},
            "s3.UploadPartCopy",
            {"Bucket": "b", "Key": "k"},
        ),
        ("GET /b/k?partNumber=1", {}, "s3.GetObject", {"Bucket": "b", "Key": "k"}),
        ("GET /b/k?uploadId=u", {}, "s3.ListParts", {"Bucket": "b", "Key": "k"}),
        ("POST /b/k?uploads", {}, "s3.CreateMultipartUpload", {"Bucket": "b", "Key": "k"}),
        ("POST /b/k?uploadId=u", {}, "s3.CompleteMultipartUpload", {"Bucket": "b", "Key": "k"}),
        ("DELETE /b/k?uploadId=u", {}, "s3.AbortMultipartUpload", {"Bucket": "b", "Key": "k"}),
        ("DELETE /b/k?versionId=v", {}, "s3.DeleteObject", {"Bucket": "b", "Key": "k"}),
        ("GET /k", {"host": "bucket.localhost:8770"}, "s3.GetObject", {"Bucket": "bucket", "Key": "k"}),
        ("GET /k", {"host": "my.dotted.bucket.localhost"}, "s3.GetObject", {"Bucket": "my.dotted.bucket", "Key": "k"}),
        ("GET /k", {"host": "bucket.s3.localhost"}, "s3.GetObject", {"Bucket": "bucket", "Key": "k"}),
        ("GET /k", {"host": "bucket.s3.eu-west-1.localhost"}, "s3.GetObject", {"Bucket": "bucket", "Key": "k"}),
        ("GET /k", {"host": "s3.localhost"}, "s3.ListObjects", {"Bucket": "k"}),
        ("GET /k", {"host": "s3.eu-west-1.localhost"}, "s3.ListObjects", {"Bucket": "k"}),
        ("GET /k", {"host": "localhost:8770"}, "s3.ListObjects", {"Bucket": "k"}),
        ("POST /?delete", {"host": "bucket.localhost", **FORM}, "s3.DeleteObjects", {"Bucket": "bucket"}),
        ("GET /", {"host": "bucket.localhost"}, "s3.ListObjects", {"Bucket": "bucket"}),
        (
            "POST /endpoints/e%20x/invocations",
            {},
            "sagemaker-runtime.InvokeEndpoint",
            {"EndpointName": "e%20x"},
        ),
        (
            "POST /endpoints/e/invocations",
            {"host": "runtime.localhost", "authorization": SIGNED.format("sagemaker")},
            "sagemaker-runtime.InvokeEndpoint",
            {"EndpointName": "e"},
        ),
        (
            "POST /endpoints/e/invocations?uploads",
            {"authorization": SIGNED.format("s3")},
            "s3.CreateMultipartUpload",
            {"Bucket": "endpoints", "Key": "e/invocations"},
        ),
        ("GET /?Action=GetCallerIdentity&Version=2011-06-15", {}, "sts.GetCallerIdentity", {}),
        ("POST /", {"x-amz-target": "SageMaker.ListTags"}, "sagemaker.ListTags", {}),
    ],
)
def test_found(line: str, headers: dict[str, str], key: str, labels: dict[str, str]) -> None:
    target = models().find(request(line, headers))
    assert (target.key, dict(target.labels)) == (key, labels)
    assert target.operation is not None
    assert models().guess(request(line, headers)) == target


def test_a_form_names_its_action_in_the_body() -> None:
    asked = request("POST /", FORM, b"Action=ListRoles&Version=2010-05-08")
    target = models().find(asked)
    assert (target.key, target.protocol, target.signing_name) == ("iam.ListRoles", "query", "iam")
    assert models().needs_body(asked)
    assert models().guess(asked).protocol == "query"


@pytest.mark.parametrize(
    ("asked", "protocol", "named"),
    [
        (
            request("POST /", {"x-amz-target": "SageMaker.MakeCoffee"}),
            "json",
            'sagemaker has no operation "MakeCoffee"',
        ),
        (request("POST /", {"x-amz-target": "Nobody.MakeCoffee"}), "json", '"Nobody.MakeCoffee"'),
        (
            request("POST /", FORM, b"Action=MakeCoffee&Version=2010-05-08"),
            "query",
            "MakeCoffee for version 2010-05-08",
        ),
        (request("POST /", FORM, b"Action=ListRoles"), "query", "ListRoles for version NO_VERSION_SPECIFIED"),
        (request("DELETE /b/k?acl"), "s3", "DELETE /b/k?acl"),
        (request("PUT /b/k?partNumber=1"), "s3", "PUT /b/k?partNumber"),
        (request("GET /b?acl&tagging"), "s3", "GET /b?acl?tagging"),
        (request("POST /b/k"), "s3", "POST /b/k"),
        (request("GET /nowhere", {"authorization": SIGNED.format("sagemaker")}), "rest-json", "GET /nowhere"),
    ],
)
def test_unknown_operations_are_named(asked: Request, protocol: str, named: str) -> None:
    target = models().find(asked)
    assert target.protocol == protocol
    with pytest.raises(UnknownOperation) as unknown:
        target.model()
    assert named in unknown.value.message
    if protocol == "s3":
        assert unknown.value.named_for("s3") == ("MethodNotAllowed", 405)


def test_the_index_is_quick() -> None:
    started = time.process_time()
    Models(SERVICES)
    assert time.process_time() - started < 1.0


def s3_description() -> dict[str, Any]:
    return copy.deepcopy(dict(Loader().load_service_model("s3", "service-2")))


def test_a_model_whose_uris_leave_the_bucket_out() -> None:
    description = s3_description()
    for operation in description["operations"].values():
        operation["http"]["requestUri"] = operation["http"]["requestUri"].replace("/{Bucket}", "") or "/"
    found = Models([ServiceModel(description, "s3")])
    for line, key in (("GET /b", "ListObjects"), ("PUT /b/k", "PutObject"), ("GET /", "ListBuckets")):
        assert found.find(request(line)).operation_name == key


def test_twins_are_refused_at_the_start() -> None:
    description = s3_description()
    twin = description["operations"]["GetBucketAcl"] | {"name": "GetBucketAclToo"}
    description["operations"]["GetBucketAclToo"] = twin
    with pytest.raises(AmbiguousModels, match="GetBucketAclToo"):
        Models([ServiceModel(description, "s3")])
    for service, message in (("sts", "2011-06-15"), ("sagemaker", "SageMaker"), ("sagemaker-runtime", "invocations")):
        model = ServiceModel(Loader().load_service_model(service, "service-2"), f"{service}-too")
        with pytest.raises(AmbiguousModels, match=f"{service}.*{service}-too|{message}"):
            Models([service, model])
    with pytest.raises(AmbiguousModels, match="twice"):
        Models(["sts", "sts"])
