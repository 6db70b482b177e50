"""The router with real worker processes behind it."""

from __future__ import annotations

import asyncio

from kedge.serving.table import Instance, Variant
from tests.serving.peers import endpoint, request, running, table, until
from tests.serving.test_worker import start  # noqa: F401 (a fixture)

SCRIPT = """
import os, time
def model_fn(model_dir):
    return None
def transform_fn(model, data, content_type, accept):
    if isinstance(data, str):
        data = data.encode()
    if data == b"die":
        os._exit(9)
    if data == b"raise":
        raise ValueError("no such column")
    while data == b"wait" and not os.path.exists("go"):
        open("waits", "w").close()
        time.sleep(0.002)
    return data, "application/octet-stream"
"""


async def test_a_real_worker(start, tmp_path):  # noqa: F811
    worker = start(SCRIPT, runtime="script")
    one = Variant("AllTraffic", 1.0, (Instance("i-1", worker.spec.socket),))
    first = table(endpoint(one, body_limit_bytes=16 << 20, timeout_s=30.0))
    async with running(first, body_limit_bytes=16 << 20) as served:
        kind = {"content_type": "application/octet-stream"}
        # It is asked before it has loaded its model.
        assert (await served.invoke(b"[1]", **kind)).body == b"[1]"
        large = bytes(range(256)) * (12 << 12)
        assert (await served.invoke(large, **kind)).body == large
        answers = await asyncio.gather(*(served.invoke(b"%d" % n, **kind) for n in range(100)))
        assert [answer.body for answer in answers] == [b"%d" % n for n in range(100)]
        raised = await served.invoke(b"raise", **kind)
        assert (raised.status, raised.json()["OriginalStatusCode"]) == (424, 500)
        assert "no such column" in raised.json()["OriginalMessage"]

        # Killed while it works on one request and has another in its queue: both are answered by its successor.
        waiting = [asyncio.create_task(served.invoke(body, **kind)) for body in (b"wait", b"next")]
        await until((tmp_path / "work" / "waits").exists, 30.0)
        worker.process.kill()
        await asyncio.to_thread(worker.process.wait)
        (tmp_path / "work" / "go").touch()
        worker = start(SCRIPT, runtime="script")
        assert [(await each).body for each in waiting] == [b"wait", b"next"]

        dying = asyncio.create_task(served.invoke(b"die", **kind))
        for _ in range(2):
            assert await asyncio.to_thread(worker.process.wait) == 9
            worker = start(SCRIPT, runtime="script")
        assert (await dying).status == 424
        async with served.client() as client:
            for n in range(20):
                assert (await client.send(request(b"%d" % n, **kind))).body == b"%d" % n
