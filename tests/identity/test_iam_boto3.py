"""Users, roles and policies as real boto3 sees them, on both ports of a real server."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from kedge.testing import Kedge

ONCE = Config(retries={"total_max_attempts": 1})


class Person:
    """Somebody with keys."""

    def __init__(self, kedge: Kedge, credentials: dict[str, Any]) -> None:
        self._kedge = kedge
        self.credentials = credentials

    def client(self, service: str, **config: Any) -> Any:
        return boto3.client(
            service,
            endpoint_url=self._kedge.inference_url if service == "sagemaker-runtime" else self._kedge.api_url,
            region_name=self._kedge.region,
            aws_access_key_id=self.credentials["AccessKeyId"],
            aws_secret_access_key=self.credentials["SecretAccessKey"],
            aws_session_token=self.credentials.get("SessionToken"),
            config=ONCE.merge(Config(**config)),
        )


@pytest.fixture
def ann(kedge: Kedge) -> Person:
    iam = kedge.client("iam")
    iam.create_user(UserName="ann", Path="/team/", Tags=[{"Key": "team", "Value": "blue"}])
    return Person(kedge, iam.create_access_key(UserName="ann")["AccessKey"])


def may(kedge: Kedge, *statements: dict[str, Any]) -> None:
    """Ann's one policy."""
    document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    kedge.client("iam").put_user_policy(UserName="ann", PolicyName="may", PolicyDocument=document)


def allow(actions: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": resource, **more}


def refused(call: Callable[..., Any], **parameters: Any) -> tuple[str, int, str]:
    with pytest.raises(ClientError) as raised:
        call(**parameters)
    answer = raised.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]


def invoked(person: Person) -> str:
    """The code of what an invocation is answered with. There is no endpoint, which only who may invoke gets to hear."""
    return refused(person.client("sagemaker-runtime").invoke_endpoint, EndpointName="Blue", Body=b"1")[0]


def soon(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "it did not take effect in time"
        time.sleep(0.02)


def test_a_user_may_what_policies_say(kedge: Kedge, ann: Person) -> None:
    arn = f"arn:aws:iam::{kedge.account}:user/team/ann"
    assert ann.client("sts").get_caller_identity()["Arn"] == arn
    sagemaker = ann.client("sagemaker")
    model = f"arn:aws:sagemaker:{kedge.region}:{kedge.account}:model/mine"
    assert refused(sagemaker.describe_model, ModelName="Mine") == (
        "AccessDeniedException",
        400,
        (
            f"User: {arn} is not authorized to perform: sagemaker:DescribeModel on resource: {model} "
            "because no identity-based policy allows the sagemaker:DescribeModel action"
        ),
    )
    assert refused(ann.client("iam").get_user)[:2] == ("AccessDenied", 403)
    assert refused(ann.client("s3").list_buckets)[:2] == ("AccessDenied", 403)
    may(kedge, allow("sagemaker:*"), {**allow("sagemaker:Delete*"), "Effect": "Deny"})
    assert sagemaker.list_models()["Models"] == []
    assert refused(sagemaker.delete_model, ModelName="m")[2].endswith("explicit deny in an identity-based policy")
    container = {"Image": "kedge/sklearn", "ModelDataUrl": "s3://b/k"}
    model = {"ModelName": "m", "ExecutionRoleArn": kedge.role_arn, "PrimaryContainer": container}
    assert f"iam:PassRole on resource: {kedge.role_arn}" in refused(sagemaker.create_model, **model)[2]
    passing = {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
    may(kedge, allow("sagemaker:*"), allow("iam:PassRole", kedge.role_arn, Condition=passing))
    sagemaker.create_model(**model)


def test_conditions_on_tags_and_variables(kedge: Kedge, ann: Person) -> None:
    may(
        kedge,
        allow(
            "sagemaker:*",
            Condition={"StringEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}},
        ),
        allow("s3:*", [f"arn:aws:s3:::{kedge.bucket}/${{aws:username}}/*"]),
        allow("s3:ListBucket", Condition={"StringLike": {"s3:prefix": "${aws:username}/*"}}),
    )
    root = kedge.client("sagemaker")
    container = {"Image": "kedge/sklearn", "ModelDataUrl": "s3://b/k"}
    for name in ("blue", "red"):
        root.create_model(
            ModelName=name,
            ExecutionRoleArn=kedge.role_arn,
            PrimaryContainer=container,
            Tags=[{"Key": "team", "Value": name}],
        )
    sagemaker, s3 = ann.client("sagemaker"), ann.client("s3")
    assert sagemaker.describe_model(ModelName="blue")["ModelName"] == "blue"
    assert refused(sagemaker.describe_model, ModelName="red")[0] == "AccessDeniedException"
    s3.put_object(Bucket=kedge.bucket, Key="ann/x", Body=b"1")
    assert refused(s3.put_object, Bucket=kedge.bucket, Key="bob/x", Body=b"1")[0] == "AccessDenied"
    assert s3.list_objects_v2(Bucket=kedge.bucket, Prefix="ann/")["KeyCount"] == 1
    assert refused(s3.list_objects_v2, Bucket=kedge.bucket)[0] == "AccessDenied"
    assert (
        refused(s3.copy_object, Bucket=kedge.bucket, Key="ann/y", CopySource=f"{kedge.bucket}/x")[0] == "AccessDenied"
    )


@pytest.mark.parametrize(
    ("condition", "header", "url"),
    [
        ({"StringEquals": {"s3:authType": "REST-QUERY-STRING"}}, False, True),
        ({"StringEquals": {"s3:signatureversion": "AWS4-HMAC-SHA256"}}, True, True),
        ({"StringEquals": {"s3:signatureversion": "AWS"}}, False, False),
        ({"NumericLessThan": {"s3:signatureAge": "600000"}}, True, True),
        ({"NumericGreaterThan": {"s3:signatureAge": "600000"}}, False, False),
        ({"StringEquals": {"aws:ResourceAccount": "${aws:PrincipalAccount}"}}, True, True),
        ({"StringNotEquals": {"s3:ResourceAccount": "${aws:PrincipalAccount}"}}, False, False),
    ],
)
def test_a_policy_can_ask_how_a_request_was_signed_and_whose_the_bucket_is(
    kedge: Kedge, ann: Person, condition: dict[str, Any], header: bool, url: bool
) -> None:
    kedge.client("s3").put_object(Bucket=kedge.bucket, Key="k", Body=b"1")
    may(kedge, allow("s3:*", Condition=condition))
    s3 = ann.client("s3", signature_version="s3v4")
    seen = []
    for get in (
        lambda: s3.get_object(Bucket=kedge.bucket, Key="k"),
        lambda: urllib.request.urlopen(
            s3.generate_presigned_url("get_object", Params={"Bucket": kedge.bucket, "Key": "k"}), timeout=10
        ).close(),
    ):
        try:
            get()
            seen.append(200)
        except ClientError as error:
            seen.append(error.response["ResponseMetadata"]["HTTPStatusCode"])
        except urllib.error.HTTPError as error:
            seen.append(error.code)
    assert seen == [200 if let_in else 403 for let_in in (header, url)]


def test_missing_objects_are_told_only_to_those_who_may_list(kedge: Kedge, ann: Person) -> None:
    s3 = ann.client("s3")
    bucket = f"arn:aws:s3:::{kedge.bucket}"
    may(kedge, allow("s3:GetObject", f"{bucket}/*"))
    assert refused(s3.get_object, Bucket=kedge.bucket, Key="x")[:2] == ("AccessDenied", 403)
    assert refused(s3.head_object, Bucket=kedge.bucket, Key="x")[1] == 403
    assert refused(s3.get_object, Bucket="there-is-no-such-bucket", Key="x")[0] == "NoSuchBucket"
    may(kedge, allow("s3:GetObject", f"{bucket}/*"), allow("s3:ListBucket", bucket))
    assert refused(s3.get_object, Bucket=kedge.bucket, Key="x")[:2] == ("NoSuchKey", 404)
    assert refused(s3.head_object, Bucket=kedge.bucket, Key="x")[1] == 404


def test_each_object_of_a_delete_is_asked_for(kedge: Kedge, ann: Person) -> None:
    may(kedge, allow("s3:DeleteObject", f"arn:aws:s3:::{kedge.bucket}/mine/*"))
    root, s3 = kedge.client("s3"), ann.client("s3")
    for key in ("mine/a", "theirs/a"):
        root.put_object(Bucket=kedge.bucket, Key=key, Body=b"")
    objects = [{"Key": "mine/a"}, {"Key": "theirs/a"}]
    answer = s3.delete_objects(Bucket=kedge.bucket, Delete={"Objects": objects})
    assert [each["Key"] for each in answer["Deleted"]] == ["mine/a"]
    assert [(each["Key"], each["Code"]) for each in answer["Errors"]] == [("theirs/a", "AccessDenied")]
    answer = s3.delete_objects(Bucket=kedge.bucket, Delete={"Objects": objects[1:]})
    assert "Deleted" not in answer
    assert len(root.list_objects_v2(Bucket=kedge.bucket)["Contents"]) == 1


def test_bucket_policies(kedge: Kedge, ann: Person) -> None:
    root, s3 = kedge.client("s3"), ann.client("s3")
    root.put_object(Bucket=kedge.bucket, Key="k", Body=b"1")
    arn = ann.client("sts").get_caller_identity()["Arn"]
    objects = f"arn:aws:s3:::{kedge.bucket}/*"

    def put(*statements: dict[str, Any]) -> None:
        document = {"Version": "2012-10-17", "Statement": list(statements)}
        root.put_bucket_policy(Bucket=kedge.bucket, Policy=json.dumps(document))

    put(allow("s3:GetObject", objects, Principal={"AWS": arn}))
    assert s3.get_object(Bucket=kedge.bucket, Key="k")["Body"].read() == b"1"
    may(kedge, allow("s3:*"))
    put({**allow("s3:GetObject", objects, Principal="*"), "Effect": "Deny"})
    assert refused(s3.get_object, Bucket=kedge.bucket, Key="k")[2].endswith("explicit deny in a resource-based policy")
    assert root.get_object(Bucket=kedge.bucket, Key="k")["Body"].read() == b"1"
    root.delete_bucket_policy(Bucket=kedge.bucket)
    assert s3.get_object(Bucket=kedge.bucket, Key="k")["Body"].read() == b"1"


def test_nobody_reads_what_a_policy_opens(kedge: Kedge) -> None:
    root = kedge.client("s3")
    root.put_object(Bucket=kedge.bucket, Key="open/k", Body=b"1")
    root.put_object(Bucket=kedge.bucket, Key="shut/k", Body=b"1")
    nobody = boto3.client(
        "s3",
        endpoint_url=kedge.api_url,
        region_name=kedge.region,
        config=ONCE.merge(Config(signature_version=UNSIGNED)),
    )
    assert refused(nobody.get_object, Bucket=kedge.bucket, Key="open/k")[:2] == ("AccessDenied", 403)
    policy = {
        "Version": "2012-10-17",
        "Statement": [allow("s3:GetObject", f"arn:aws:s3:::{kedge.bucket}/open/*", Principal="*")],
    }
    assert refused(root.put_bucket_policy, Bucket=kedge.bucket, Policy=json.dumps(policy))[0] == "AccessDenied"
    root.delete_public_access_block(Bucket=kedge.bucket)
    root.put_bucket_policy(Bucket=kedge.bucket, Policy=json.dumps(policy))
    assert nobody.get_object(Bucket=kedge.bucket, Key="open/k")["Body"].read() == b"1"
    with urllib.request.urlopen(f"{kedge.api_url}/{kedge.bucket}/open/k", timeout=10) as answer:
        assert answer.read() == b"1"
    for override in ("ResponseContentType", "ResponseContentDisposition", "ResponseExpires"):
        more = {override: datetime.now(UTC) if override == "ResponseExpires" else "text/html"}
        assert refused(nobody.get_object, Bucket=kedge.bucket, Key="open/k", **more)[:2] == ("InvalidRequest", 400)
        assert refused(nobody.head_object, Bucket=kedge.bucket, Key="open/k", **more)[1] == 400
    assert refused(nobody.get_object, Bucket=kedge.bucket, Key="open/x")[0] == "AccessDenied"
    for call, more in (
        (nobody.get_object, {"Key": "shut/k"}),
        (nobody.put_object, {"Key": "open/k", "Body": b"2"}),
        (nobody.list_objects_v2, {}),
        (nobody.delete_object, {"Key": "open/k"}),
        (nobody.get_bucket_policy, {}),
    ):
        assert refused(call, Bucket=kedge.bucket, **more)[:2] == ("AccessDenied", 403)
    assert refused(nobody.list_buckets)[0] == "AccessDenied"
    root.put_public_access_block(Bucket=kedge.bucket, PublicAccessBlockConfiguration={"RestrictPublicBuckets": True})
    assert refused(nobody.get_object, Bucket=kedge.bucket, Key="open/k")[:2] == ("AccessDenied", 403)


def test_a_policy_can_ask_for_the_page_that_a_request_comes_from(kedge: Kedge) -> None:
    root = kedge.client("s3")
    root.put_object(Bucket=kedge.bucket, Key="image", Body=b"1")
    root.delete_public_access_block(Bucket=kedge.bucket)
    ours = {"StringLike": {"aws:Referer": "https://ours.example/*"}}
    allowing = allow("s3:GetObject", f"arn:aws:s3:::{kedge.bucket}/*", Principal="*", Condition=ours)
    root.put_bucket_policy(Bucket=kedge.bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [allowing]}))

    def status(headers: dict[str, str]) -> int:
        request = urllib.request.Request(f"{kedge.api_url}/{kedge.bucket}/image", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    assert status({}) == 403
    assert status({"Referer": "https://others.example/page"}) == 403
    assert status({"Referer": "https://ours.example/page"}) == 200


@pytest.mark.parametrize("target", ["SageMaker.ListModels", "TrentService.ListKeys"])
def test_elsewhere_nobody_is_answered(kedge: Kedge, target: str) -> None:
    headers = {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.1"}
    request = urllib.request.Request(kedge.api_url, b"{}", headers)
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(request, timeout=10)
    assert raised.value.code == 403
    assert b"MissingAuthenticationToken" in raised.value.read()


def test_both_ports_follow_changes_at_once(kedge: Kedge, ann: Person) -> None:
    iam, sagemaker = kedge.client("iam"), ann.client("sagemaker")
    endpoint = f"arn:aws:sagemaker:{kedge.region}:{kedge.account}:endpoint/blue"
    soon(lambda: invoked(ann) == "AccessDeniedException")
    assert refused(ann.client("sagemaker-runtime").invoke_endpoint, EndpointName="Blue", Body=b"1")[2] == (
        f"User: arn:aws:iam::{kedge.account}:user/team/ann is not authorized to perform: sagemaker:InvokeEndpoint "
        f"on resource: {endpoint} because no identity-based policy allows the sagemaker:InvokeEndpoint action"
    )
    may(kedge, allow(["sagemaker:InvokeEndpoint", "sagemaker:ListModels"], ["*", endpoint]))
    sagemaker.list_models()
    soon(lambda: invoked(ann) == "ValidationError")
    may(kedge, allow("sagemaker:ListModels"))
    soon(lambda: invoked(ann) == "AccessDeniedException")
    iam.create_group(GroupName="callers")
    policy = iam.create_policy(
        PolicyName="calls",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": allow("sagemaker:Invoke*", endpoint)}),
    )["Policy"]
    iam.attach_group_policy(GroupName="callers", PolicyArn=policy["Arn"])
    iam.add_user_to_group(GroupName="callers", UserName="ann")
    soon(lambda: invoked(ann) == "ValidationError")
    iam.create_policy_version(
        PolicyArn=policy["Arn"],
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": allow("sagemaker:ListModels")}),
        SetAsDefault=True,
    )
    soon(lambda: invoked(ann) == "AccessDeniedException")
    key = ann.credentials["AccessKeyId"]
    iam.update_access_key(UserName="ann", AccessKeyId=key, Status="Inactive")
    assert refused(sagemaker.list_models)[0] == "UnrecognizedClientException"
    soon(lambda: invoked(ann) == "UnrecognizedClientException")
    iam.update_access_key(UserName="ann", AccessKeyId=key, Status="Active")
    sagemaker.list_models()
    soon(lambda: invoked(ann) == "AccessDeniedException")
    iam.delete_access_key(UserName="ann", AccessKeyId=key)
    assert refused(ann.client("iam").get_user)[0] == "InvalidClientTokenId"
    soon(lambda: invoked(ann) == "UnrecognizedClientException")


def test_the_senders_address_is_known_on_both_ports(kedge: Kedge, ann: Person) -> None:
    own, other = ({"IpAddress": {"aws:SourceIp": network}} for network in ("127.0.0.0/8", "192.0.2.0/24"))
    through_the_api = boto3.client(
        "sagemaker-runtime",
        endpoint_url=kedge.api_url,
        region_name=kedge.region,
        aws_access_key_id=ann.credentials["AccessKeyId"],
        aws_secret_access_key=ann.credentials["SecretAccessKey"],
        config=ONCE,
    )
    for condition, code in ((own, "ValidationError"), (other, "AccessDeniedException")):
        may(kedge, allow("sagemaker:*", Condition=condition))
        soon(lambda code=code: invoked(ann) == code)
        assert refused(through_the_api.invoke_endpoint, EndpointName="Blue", Body=b"1")[0] == code
        allowed = code == "ValidationError"
        assert (refused(ann.client("sagemaker").describe_model, ModelName="m")[0] == "ValidationException") is allowed


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"StringLike": {"aws:Referer": "https://ours.example/*"}}, True),
        ({"StringLike": {"aws:Referer": "https://others.example/*"}}, False),
        ({"StringLike": {"aws:UserAgent": "mine/1 *"}}, True),
        ({"StringLike": {"aws:UserAgent": "yours/*"}}, False),
        ({"Bool": {"aws:SecureTransport": "false"}}, True),
        ({"Bool": {"aws:SecureTransport": "true"}}, False),
    ],
)
def test_what_a_request_tells_of_itself_is_known_on_both_ports(
    kedge: Kedge, ann: Person, condition: dict[str, Any], holds: bool
) -> None:
    may(kedge, allow("sagemaker:*", Condition=condition))
    codes = []
    for url in (kedge.inference_url, kedge.api_url):
        runtime = boto3.client(
            "sagemaker-runtime",
            endpoint_url=url,
            region_name=kedge.region,
            aws_access_key_id=ann.credentials["AccessKeyId"],
            aws_secret_access_key=ann.credentials["SecretAccessKey"],
            config=ONCE.merge(Config(user_agent="mine/1 python")),
        )
        runtime.meta.events.register("before-sign", lambda request, **_: _comes_from_our_page(request))
        for call, more in (
            (runtime.invoke_endpoint, {"Body": b"1"}),
            (runtime.invoke_endpoint_with_response_stream, {"Body": b"1"}),
            (runtime.invoke_endpoint_async, {"InputLocation": "s3://b/k"}),
        ):
            if holds:
                soon(lambda call=call, more=more: refused(call, EndpointName="Blue", **more)[0] == "ValidationError")
            codes.append(refused(call, EndpointName="Blue", **more)[0])
    assert set(codes) == {"ValidationError" if holds else "AccessDeniedException"}


def _comes_from_our_page(request: Any) -> None:
    request.headers["Referer"] = "https://ours.example/page"


def test_sessions(kedge: Kedge, ann: Person) -> None:
    iam = kedge.client("iam")
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{kedge.account}:root"}, "Action": "sts:*"}
    trust["Condition"] = {"StringEquals": {"sts:ExternalId": "x1"}}
    role = iam.create_role(
        RoleName="caller", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": trust})
    )["Role"]
    everything = {"Version": "2012-10-17", "Statement": allow("sagemaker:*")}
    iam.put_role_policy(RoleName="caller", PolicyName="p", PolicyDocument=json.dumps(everything))
    wish = {"RoleArn": role["Arn"], "RoleSessionName": "me", "ExternalId": "x1"}
    sts = ann.client("sts")
    assert refused(sts.assume_role, **wish)[0] == "AccessDenied"
    may(kedge, allow("sts:*", role["Arn"]), allow("sagemaker:List*"))
    assert refused(sts.assume_role, **{**wish, "ExternalId": "x2"})[0] == "AccessDenied"

    whole = Person(kedge, sts.assume_role(**wish)["Credentials"])
    assert whole.client("sagemaker").list_models()["Models"] == []
    assert refused(whole.client("s3").list_buckets)[0] == "AccessDenied"
    soon(lambda: invoked(whole) == "ValidationError")

    policy = json.dumps({"Version": "2012-10-17", "Statement": allow("sagemaker:List*")})
    answer = sts.assume_role(**wish, Policy=policy, Tags=[{"Key": "a", "Value": "b"}])
    assert 0 < answer["PackedPolicySize"] < 100
    held = Person(kedge, answer["Credentials"])
    held.client("sagemaker").list_models()
    assert "no session policy allows" in refused(held.client("sagemaker").describe_model, ModelName="m")[2]
    assert invoked(held) == "AccessDeniedException"

    arns = [{"arn": "arn:aws:iam::aws:policy/AmazonSageMakerReadOnly"}]
    reading = Person(kedge, sts.assume_role(**wish, PolicyArns=arns)["Credentials"])
    reading.client("sagemaker").list_models()
    assert invoked(reading) == "AccessDeniedException"

    iam.delete_role_policy(RoleName="caller", PolicyName="p")
    assert refused(whole.client("sagemaker").list_models)[0] == "AccessDeniedException"
    soon(lambda: invoked(whole) == "AccessDeniedException")
    iam.delete_role(RoleName="caller")
    assert refused(whole.client("sagemaker").list_models)[0] == "UnrecognizedClientException"
    soon(lambda: invoked(whole) == "UnrecognizedClientException")

    token = sts.get_session_token()["Credentials"]
    assert Person(kedge, token).client("sts").get_caller_identity()["Arn"].endswith(":user/team/ann")
    assert Person(kedge, token).client("sagemaker").list_models()["Models"] == []
    assert refused(sts.get_federation_token, Name="guest")[0] == "AccessDenied"
    may(kedge, allow("sts:GetFederationToken"), allow("sagemaker:List*"))
    guest = Person(kedge, sts.get_federation_token(Name="guest", Policy=policy)["Credentials"])
    assert guest.client("sts").get_caller_identity()["Arn"].endswith(":federated-user/guest")
    guest.client("sagemaker").list_models()
    nothing = Person(kedge, sts.get_federation_token(Name="guest")["Credentials"])
    assert refused(nothing.client("sagemaker").list_models)[0] == "AccessDeniedException"


def test_keys_follow_their_policy(kedge: Kedge, ann: Person) -> None:
    kms = kedge.client("kms")
    open_key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/open", TargetKeyId=open_key)
    arn = ann.client("sts").get_caller_identity()["Arn"]
    own = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{kedge.account}:root"}, "Action": "kms:*"}
    statement = {**own, "Principal": {"AWS": arn}, "Action": "kms:Encrypt"}
    document = {"Version": "2012-10-17", "Statement": [{**each, "Resource": "*"} for each in (own, statement)]}
    own_key = kms.create_key(Policy=json.dumps(document))["KeyMetadata"]["KeyId"]
    mine = ann.client("kms")
    assert refused(mine.encrypt, KeyId="alias/open", Plaintext=b"1")[0] == "AccessDeniedException"
    sealed = mine.encrypt(KeyId=own_key, Plaintext=b"1")["CiphertextBlob"]
    assert refused(mine.decrypt, CiphertextBlob=sealed)[0] == "AccessDeniedException"
    may(kedge, allow("kms:*", f"arn:aws:kms:{kedge.region}:{kedge.account}:key/{open_key}"))
    sealed = mine.encrypt(KeyId="alias/open", Plaintext=b"1")["CiphertextBlob"]
    assert mine.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"1"
