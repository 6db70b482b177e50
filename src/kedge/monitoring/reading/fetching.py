"""Objects that a manifest names, brought here one at a time."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from kedge.monitoring.reading.pieces import Unreadable


class Fetcher:
    """From S3 as the job's environment has it (AWS_ENDPOINT_URL, its keys). Each object replaces the one before."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._s3: Any = None

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder:
            self._folder.cleanup()

    def __call__(self, uri: str) -> Path:
        """Raises Unreadable."""
        bucket, slash, key = uri.removeprefix("s3://").partition("/")
        if not uri.startswith("s3://") or not slash or not key:
            raise Unreadable(f"A manifest names {uri}, which is no s3:// URI of an object, nor a file beside it.")
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError

        self._folder = self._folder or tempfile.TemporaryDirectory(prefix="kedge-monitor-")
        to = Path(self._folder.name) / "object"
        try:
            self._s3 = self._s3 or boto3.client("s3")
            self._s3.download_file(bucket, key, str(to))
        except (BotoCoreError, ClientError) as error:
            raise Unreadable(f"{uri}, which a manifest names, cannot be read: {error}") from None
        return to
