"""The objects of one account, by their addresses: what the platform reads and writes for it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing

from kedge.errors import AccessDenied, ServiceError, ValidationFailed
from kedge.objects import address
from kedge.objects.bodies import OpenBody
from kedge.objects.encryption import Wanted
from kedge.objects.files import Objects
from kedge.objects.receiving import Body, BodyReader
from kedge.objects.records import KMS, Attributes, Bucket, ObjectInfo


class AccountObjects:
    """Every method raises a ServiceError that says what of the address is wrong, or OSError, sqlite3.Error."""

    def __init__(self, objects: Objects, account: str) -> None:
        """account: whose buckets may be used."""
        self._objects, self._account = objects, account

    async def open(self, uri: str) -> tuple[ObjectInfo, BodyReader]:
        """Close the reader, whatever happens."""
        body = await self._objects.run(self._opened, uri)
        return body.info, self._objects.stream(body, 0, body.info.size)

    async def read(self, uri: str, most: int) -> bytes:
        """most: bytes; a larger object is a ValidationFailed that says so, and is not read."""
        info, reader = await self.open(uri)
        async with aclosing(reader):
            if info.size > most:
                raise ValidationFailed(f"{uri} has {info.size:,} bytes; at most {most:,} are read.")
            return b"".join([part async for part in reader])

    async def head(self, uri: str) -> ObjectInfo | None:
        """None where there is no object, or no bucket that may be used."""

        def look() -> ObjectInfo | None:
            try:
                bucket, key = self._place(uri)
                return self._objects.head(bucket, key)
            except ServiceError:
                return None

        return await self._objects.run(look)

    async def keys(self, uri: str) -> list[str]:
        """Of all objects whose address begins so."""

        def find() -> list[str]:
            bucket, prefix = self._place(uri)
            return list(self._objects.list_keys(bucket, prefix))

        return await self._objects.run(find)

    async def holds(self, uri: str) -> bool:
        """Whether there is an object whose address begins so."""

        def look() -> bool:
            bucket, prefix = self._place(uri)
            return bool(self._objects.list_page(bucket, prefix, "", None, 1).rows)

        return await self._objects.run(look)

    async def folders(self, uri: str) -> list[str]:
        """Names of the folders right below the address."""

        def find() -> list[str]:
            bucket, prefix = self._place(f"{uri.rstrip('/')}/")
            found: list[str] = []
            after: str | None = None
            while True:
                page = self._objects.list_page(bucket, prefix, "/", after, 1000)
                found += [each.removeprefix(prefix).rstrip("/") for each in page.common_prefixes]
                if not page.truncated:
                    return found
                after = page.last

        return await self._objects.run(find)

    async def put(
        self, uri: str, body: Body, content_type: str, *, metadata: Mapping[str, str] | None = None, kms_key: str = ""
    ) -> None:
        """The object appears whole or not at all. kms_key: "" is the bucket's default."""
        bucket, key = await self._objects.run(self._place, uri)
        wanted = Wanted(KMS, kms_key) if kms_key else None
        sealing = await self._objects.run(self._objects.seal, bucket, key, wanted)
        headers = {"ContentType": content_type} if content_type else {}
        await self._objects.put(bucket, key, body, Attributes(headers, metadata or {}), sealing=sealing)

    def _opened(self, uri: str) -> OpenBody:
        bucket, key = self._place(uri)
        return self._objects.open_body(bucket, key)

    def _place(self, uri: str) -> tuple[Bucket, str]:
        try:
            name, key = address.parse(uri)
        except ValueError as error:
            raise ValidationFailed(f'The address is "{uri}"; {error}.') from None
        bucket = self._objects.bucket(name)
        if bucket.account != self._account:
            raise AccessDenied(f'The bucket "{name}" belongs to another account.')
        return bucket, key
