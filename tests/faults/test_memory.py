"""How much memory the control process takes for what passes through it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

MIB = 1024**2


def highest_bytes(pid: int) -> int:
    """The most memory that the process has had so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel does not say")


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_a_large_file_is_never_held_in_memory(server, tmp_path):
    there, back = tmp_path / "there", tmp_path / "back"
    block = os.urandom(MIB)
    with there.open("wb") as file:
        for number in range(300):
            file.write(number.to_bytes(4, "big") + block[4:])
    s3 = server.client("s3")
    s3.put_object(Bucket=server.bucket, Key="small", Body=b"what the first call loads is not the question")
    (control,) = server.pids("control")
    before = highest_bytes(control)
    s3.upload_file(str(there), server.bucket, "large")
    s3.download_file(server.bucket, "large", str(back))
    assert server.pids("control") == [control]
    assert highest_bytes(control) - before < 150 * MIB
    assert digest(back) == digest(there)
