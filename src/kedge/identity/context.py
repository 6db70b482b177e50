"""What conditions can ask about a request whatever it is for. PURE.

Sources: "AWS global condition context keys"; "Amazon S3 Signature Version 4 authentication specific policy keys".
"""

from __future__ import annotations

from datetime import UTC, datetime

from kedge.identity.patterns import Values
from kedge.identity.principals import Directory
from kedge.identity.records import Caller

LASTING = frozenset(
    {"aws:principalaccount", "aws:principalarn", "aws:principaltype", "aws:requestedregion", "aws:resourceaccount",
     "aws:tokenissuetime", "aws:userid", "aws:username", "aws:sourceidentity", "aws:viaawsservice",
     "aws:multifactorauthpresent"}
)  # fmt: skip
"""Keys whose values are the same for every request that one key signs for one resource."""
LASTING_PREFIXES = ("aws:principaltag/", "aws:resourcetag/", "sagemaker:resourcetag/")


def is_lasting(key: str) -> bool:
    return key in LASTING or key.startswith(LASTING_PREFIXES)


def context_of(caller: Caller, directory: Directory, now: datetime, user_agent: str = "") -> dict[str, Values]:
    """By condition key in lower case. A key that a request of this kind does not have is left out."""
    context: dict[str, Values] = {
        "aws:currenttime": (now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),),
        "aws:epochtime": (str(int(now.timestamp())),),
        "aws:securetransport": ("true" if caller.secure else "false",),
        "aws:requestedregion": (caller.region,),
        "aws:viaawsservice": ("false",),
    }
    if caller.source_ip:
        context["aws:sourceip"] = (caller.source_ip,)
    if caller.referer:
        context["aws:referer"] = (caller.referer,)
    if (signature := caller.signature) is not None:
        context |= {"s3:signatureversion": (signature.version,), "s3:authtype": (signature.place,)}
        if signature.made_s is not None:
            context["s3:signatureage"] = (str(max(0, int((now.timestamp() - signature.made_s) * 1000))),)
    if user_agent:
        context["aws:useragent"] = (user_agent,)
    if caller.is_anonymous:
        return context | {"aws:principaltype": ("Anonymous",)}
    context |= {"aws:principalaccount": (caller.account,), "aws:userid": (caller.user_id,)}
    principal, session = directory.principal(caller), caller.session
    resource = caller.arn.split(":", 5)[-1]
    kind, _, name = resource.partition("/")
    context["aws:principaltype"] = (_TYPES.get(kind, "Account"),)
    context["aws:principalarn"] = (principal.arn if principal and kind == "assumed-role" else caller.arn,)
    if kind == "user":
        context["aws:username"] = (name.rpartition("/")[2],)
    tags = dict(principal.tags) if principal else {}
    if session is not None:
        tags |= session.tags
        issued = datetime.fromtimestamp(session.issued_s, UTC)
        context["aws:tokenissuetime"] = (issued.strftime("%Y-%m-%dT%H:%M:%SZ"),)
        context["aws:multifactorauthpresent"] = ("false",)
        if session.source_identity:
            context["aws:sourceidentity"] = (session.source_identity,)
    return context | {f"aws:principaltag/{key.lower()}": (value,) for key, value in tags.items()}


_TYPES = {"user": "User", "assumed-role": "AssumedRole", "federated-user": "FederatedUser"}
