"""The benchmark of serving: what it sends is right, what it reads is read rightly, and its arithmetic."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

import pytest
from benchmarks.pairs import interval, start
from benchmarks.serving import docs_page, kedge_rows, own, prepared, works
from benchmarks.serving.bars import bars
from benchmarks.serving.checking import Checker
from benchmarks.serving.frames_load import over_frames, payloads
from benchmarks.serving.machine import Tree, memory_mib
from benchmarks.serving.picture import svg
from benchmarks.serving.prepared import Signer
from benchmarks.serving.registry import PEERS
from benchmarks.serving.report import Results, markdown
from threadpoolctl import threadpool_limits

from kedge import errors
from kedge.identity.records import AccessKey
from kedge.wire import sigv4
from kedge.wire.http import Request

PEER_APPS = Path(works.__file__).parent / "peers"
SIGNER = Signer("AKIATEST", "a secret", "eu-west-1")


def parsed(raw: bytes) -> tuple[Request, bytes]:
    head, _, body = raw.partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    method, path, _ = line.split(" ")
    headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in lines)}
    assert int(headers["content-length"]) == len(body)
    return Request(method, path, "", headers), body


def test_every_signed_request_verifies_and_none_is_like_another():
    bodies = works.bodies("gbdt1", "instances")
    paths = ["/endpoints/a/invocations", "/endpoints/b/invocations"]
    made = list(islice(prepared.requests(1234, paths, works.JSON, bodies, SIGNER), 200))
    key = AccessKey(SIGNER.access_key_id, SIGNER.secret_access_key, "123456789012", "arn", "user")
    signatures = set()
    for number, raw in enumerate(made):
        request, body = parsed(raw)
        assert request.path == paths[number % 2]
        digest = hashlib.sha256(body).hexdigest()
        verified = sigv4.verify(request, digest, lambda *_: key, datetime.now(UTC))
        assert (verified.region, verified.service) == ("eu-west-1", "sagemaker")
        signatures.add(verified.signature)
    assert len(signatures) == len(made)
    request, body = parsed(made[0])
    with pytest.raises(errors.ServiceError):
        sigv4.verify(request, "0" * 64, lambda *_: key, datetime.now(UTC))


def test_a_file_gives_back_what_was_written(tmp_path):
    made = [b"POST / HTTP/1.1\r\n\r\n", b"x" * 100_000, b""]
    prepared.write(tmp_path / "file", made)
    assert list(prepared.read(tmp_path / "file")) == made


@pytest.mark.parametrize("work", works.ROWS)
def test_a_work_has_ten_thousand_different_bodies(work):
    assert len({hash(body) for body in works.bodies(work, "instances")}) == works.COUNT == 10_000


@pytest.mark.parametrize("form", works.FORMATS)
def test_every_format_holds_the_same_rows(form):
    body = next(works.bodies("gbdt100", form))
    numbers = [float(each) for each in re.findall(r"-?\d+\.\d+", body.decode())]
    assert numbers == works.rows()[:100].ravel().tolist()
    if works.FORMATS[form][0] == works.JSON:
        json.loads(body)


def test_what_a_right_answer_is():
    with threadpool_limits(1):
        both = works.model().predict_proba(works.rows()[3:103])
    first, second = both[:2].tolist()
    assert works.right("gbdt1", 3, json.dumps([first]).encode())
    assert works.right("gbdt1", 3, json.dumps({"predictions": [first[1]]}).encode())
    assert works.right("gbdt1", 3, json.dumps({"outputs": [{"shape": [1, 1], "data": [first[1]]}]}).encode())
    assert not works.right("gbdt1", 3, json.dumps([second]).encode())
    assert not works.right("gbdt1", 3, json.dumps([first[::-1]]).encode())
    assert not works.right("gbdt1", 3, b"[]")
    assert not works.right("gbdt1", 3, b"<html>")
    assert works.right("gbdt100", 3, json.dumps(both.tolist()).encode())
    assert not works.right("gbdt100", 3, json.dumps(both[::-1].tolist()).encode())
    body = list(islice(works.bodies("echo", "instances"), 5))
    assert works.right("echo", 4, body[4])
    assert not works.right("echo", 4, body[3])


def test_the_registry_is_well_formed():
    names = [peer.name for peer in PEERS]
    assert len(set(names)) == len(names)
    assert not set(names) & {row.name for row in kedge_rows.ROWS}
    made_of = {}
    for peer in PEERS:
        assert peer.routes
        assert set(peer.routes) <= set(works.ROWS)
        for work, route in peer.routes.items():
            assert route.form in works.FORMATS
            assert route.path.startswith("/")
            assert work != "gbdt1" or route.form != "csv"
        for part in peer.command:
            part.format(python="", bin="", port="")
            _, ours, app = part.partition("benchmarks.serving.peers.")
            assert not ours or (PEER_APPS / f"{app.partition(':')[0]}.py").is_file()
        kind = (peer.packages, peer.behind, peer.python)
        assert made_of.setdefault(peer.environment_name, kind) == kind, "one environment, one set of packages"


def test_every_app_of_a_peer_is_somebodys():
    used = " ".join(part for peer in PEERS for part in peer.command)
    imported = "".join(file.read_text() for file in PEER_APPS.glob("*.py"))
    for file in PEER_APPS.glob("[!_]*.py"):
        assert file.stem in used or f"import {file.stem}" in imported or f"{file.stem}." in imported


def measured(row: str, work: str, connections: int, rps: float, **more: float) -> list[dict[str, object]]:
    """Two rounds; in the second everything is half as fast."""
    usual = {"p50_ms": 1.0, "p99_ms": 2.0, "cpu_us": 100.0, "pss_mib": 10.0, "errors": 0, "checked": 1}
    return [
        {"round": number, "row": row, "work": work, "connections": connections, **usual, **more, "rps": rps / number}
        for number in (1, 2)
    ]


RECORDED = [
    *measured("kedge", "echo", 64, 8000),
    *measured("kedge, unsigned", "echo", 64, 12_000),
    *measured("nginx", "echo", 64, 80_000),
    *measured("fastapi", "echo", 64, 4000, errors=3),
    *measured("granian", "echo", 64, 10_000),
    *measured("kedge, not compiled", "gbdt1", 1, 500, p50_ms=0.9),
    *measured("the model itself", "gbdt1", 1, 1000, p50_ms=0.6),
    *measured("kedge", "gbdt1", 64, 9000, p99_ms=10.0),
    *measured("kedge, not compiled", "gbdt1", 64, 6000, p99_ms=20.0),
    *measured("triton", "gbdt1", 64, 2000, p99_ms=40.0),
    *measured("kserve", "gbdt1", 64, 500, p99_ms=5.0),
]


def test_the_table_has_medians_and_ratios_within_rounds():
    results = Results([*RECORDED, {**RECORDED[0], "round": 3, "rps": 1.0}])
    assert results.median("kedge", "echo", 64, "rps") == 4000
    # The third round has no FastAPI, so it has no part in the ratio.
    assert results.ratio("kedge", "fastapi", "echo", 64) == 2.0
    assert results.ratio("kedge", "nobody", "echo", 64) is None
    table = markdown(results)
    assert "| fastapi | 3,000 | 1.00 | 2.00 | 100 | 10 | 6 | 2.00 times |" in table
    assert "| kedge, not compiled | 375 / 4,500 | 0.90 / 1.00 | 2.00 / 20.00 | 100 | 10 | 0 | 1.50 times |" in table
    assert "| the model itself | 750 /  | 0.60 /  | 2.00 /  |  |  | 0 |  |" in table
    echo = table[: table.index("### gbdt")]
    assert echo.index("| nginx") < echo.index("| kedge, unsigned") < echo.index("| fastapi")


def test_the_bars():
    found = {bar.what: bar for bar in bars(Results(RECORDED))}
    seen = {what: bar.seen for what, bar in found.items()}
    assert seen["gbdt, 1 row, c=64, not compiled: best that joins"] == 3.0
    assert seen["gbdt, 1 row, c=64, not compiled: best that does not"] == 12.0
    assert seen["gbdt, 1 row, c=64, compiled: best"] == 4.5
    assert seen["echo, c=64: share of nginx"] == 0.1
    assert not found["echo, c=64: share of nginx"].met
    assert found["echo, c=64, unsigned: Granian"].met
    # The p99 of KServe is the lowest of the others, and half of ours.
    assert seen["gbdt, 1 row, c=64: lowest p99 of the others"] == 0.5
    assert found["gbdt, 1 row, c=1: 0.35 ms / what is added to the model's p50"].met
    assert seen["gbdt, 100 rows, c=16, compiled: best"] is None


def test_the_picture_is_an_svg_with_a_bar_for_each_row():
    drawn = ET.fromstring(svg(Results(RECORDED)))
    bars_of = drawn.findall("{http://www.w3.org/2000/svg}rect")
    assert len(bars_of) == 5 + 5
    lengths = [float(each.get("width", "")) for each in bars_of]
    assert lengths[0] == max(lengths)
    assert lengths[1] == pytest.approx(lengths[0] * 12_000 / 80_000, abs=0.1)


def test_the_page_keeps_what_is_not_between_the_marks():
    page = f"before\n{docs_page.BEGIN}\nold\n{docs_page.END}\nafter\n"
    once = docs_page.placed(page, "new")
    assert once == f"before\n{docs_page.BEGIN}\n\nnew\n\n{docs_page.END}\nafter\n"
    assert docs_page.placed(once, "new") == once
    with pytest.raises(ValueError, match="no lines"):
        docs_page.placed("nothing", "new")
    assert docs_page.placed(docs_page.PAGE.read_text(), "new")


def test_the_interval_holds_the_median_with_95_percent():
    # Conover's table of the binomial distribution with p = 1/2: 20 values, the 6th and the 15th, 95.9 %.
    assert interval(list(range(1, 21))) == (6, 15)
    assert interval([3.0, 1.0, 2.0]) == (1.0, 3.0)


def test_a_side_that_says_nothing_is_refused(tmp_path):
    for words in (["nonsense"], ["KEDGE_ROUTERS"], ["model:NAME"]):
        with pytest.raises(ValueError, match=r"says nothing|has no value"):
            start(words, "echo", tmp_path)


def test_cpu_and_memory_of_a_tree_hold_its_children():
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    spin = "import time\nwhile time.process_time() < 0.3: pass\nprint('done', flush=True)\ninput()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, spin], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        tree = Tree(process.pid)
        assert process.stdout.readline() == "done\n"
        members = tree.members()
        assert len(members) == 2
        assert os.getpid() not in members
        assert tree.cpu_s() >= 0.29
        assert memory_mib(members) > memory_mib([process.pid]) > 0
        process.stdin.write("\n")
    assert process.wait(10) == 0


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200 if self.path != "/bad" else 500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.mark.parametrize(("path", "check", "wrong"), [("/", True, 0), ("/", False, 1), ("/bad", True, 1)])
def test_the_checker_counts_what_is_wrong(path, check, wrong):
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        asked = threading.Event()

        def compare(number: int, body: bytes) -> bool:
            asked.set()
            return check and body == b"one"

        raw = list(prepared.requests(server.server_address[1], [path], works.JSON, [b"one"], None))
        # So slow that it asks once.
        with Checker(server.server_address[1], [(0, raw[0])], compare, 0.0) as checker:
            if path == "/":
                assert asked.wait(10)
        server.shutdown()
        thread.join()
    assert checker.asked >= 1
    assert checker.wrong + checker.errors == checker.asked * wrong


def test_a_worker_alone_is_loaded_over_frames():
    worker = own.Worker("echo", own.Setup())
    try:
        made = payloads(works.JSON, islice(works.bodies("echo", "instances"), 50))
        sent = over_frames(worker.socket, made, 8, lambda number, body: works.right("echo", number, body))(0.3)
        wrong = over_frames(worker.socket, made, 8, lambda number, body: False)(0.1)
    finally:
        worker.stop()
    assert sent.requests > 50
    assert sent.errors == 0
    assert sent.checked == -(-sent.requests // 1000)
    assert 0 < sent.p50_ms <= sent.p99_ms <= sent.max_ms
    assert wrong.errors == wrong.checked >= 1
