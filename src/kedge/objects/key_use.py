"""May the caller use the KMS key of a body? Using it through S3 takes a permission on the key as well as on the object.

Source: "Required permissions" of SSE-KMS in the S3 user guide.
"""

from __future__ import annotations

from typing import Literal

from kedge.call import Call
from kedge.objects.records import KMS, Encryption
from kedge.objects.vault import encryption_context

Action = Literal["kms:GenerateDataKey", "kms:Decrypt"]


def require(call: Call, encryption: Encryption | None, bucket: str, key: str, action: Action) -> None:
    """Blocks. Raises AccessDenied."""
    if encryption is None or encryption.algorithm != KMS:
        return
    context = encryption_context(bucket, key, encryption.context, encryption.bucket_key)
    conditions = {
        "kms:calleraccount": (call.caller.account,),
        "kms:viaservice": (f"s3.{encryption.key_arn.split(':')[3]}.amazonaws.com",),
        "kms:encryptioncontextkeys": tuple(context),
        **{f"kms:encryptioncontext:{name.lower()}": (value,) for name, value in context.items()},
    }
    call.require(call, action, encryption.key_arn, conditions)
