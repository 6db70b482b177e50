"""A bucket's default encryption: what bodies are encrypted with whose request asks for nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kedge.call import Call
from kedge.objects import encryption
from kedge.objects.access import bucket_of
from kedge.objects.encryption import Default
from kedge.objects.errors import NoConfiguration


async def get_bucket_encryption(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    bucket = await call.objects.run(bucket_of, call, request)
    if not call.objects.encrypts:
        raise NoConfiguration(
            "ServerSideEncryptionConfigurationNotFoundError",
            "The server side encryption configuration was not found",
            bucket.name,
        )
    return encryption.shown_default(encryption.from_json(bucket.encryption))


async def put_bucket_encryption(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Whether there is such a key is asked when it is needed, as S3 does."""
    return await _set(call, request, lambda: encryption.parse_default(request["ServerSideEncryptionConfiguration"]))


async def delete_bucket_encryption(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    return await _set(call, request, Default)


async def _set(call: Call, request: dict[str, Any], choose: Callable[[], Default]) -> dict[str, Any]:
    def write() -> None:
        bucket, default = bucket_of(call, request), choose()
        call.objects.set_encryption(bucket, "" if default == Default() else encryption.to_json(default))

    await call.objects.run(write)
    return {}
