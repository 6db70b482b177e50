#!/usr/bin/env python
"""A server that keeps SageMaker's contract for containers with many models. Each multiplies by what its file says."""

import http.server
import json
import os
import pathlib
import signal
import threading
import time

LOADED, COUNTS = {}, {"loads": 0, "unloads": 0}
LOCK = threading.Lock()
BEGAN = time.time()


def load(wish, headers):
    name = wish["model_name"]
    with LOCK:
        if name in LOADED:
            return 409, b"it is loaded"
        factor = pathlib.Path(wish["url"], "factor").read_text()
        if len(LOADED) >= int(os.environ.get("CAPACITY", "1000")):
            return 507, b"no more room"
        if factor == "bad":
            return 500, b"no such luck"
        LOADED[name] = (int(factor), wish["url"], headers.get("X-Amzn-SageMaker-Target-Model"))
        COUNTS["loads"] += 1
    return 200, b""


def unload(name):
    with LOCK:
        if LOADED.pop(name, None) is None:
            return 404, b"it is not loaded"
        COUNTS["unloads"] += 1
    return 200, b""


def invoke(name, body, headers):
    if name not in LOADED:
        return 404, b"it is not loaded"
    if body == b"forget":  # its own affair, and from now on it does not have it
        del LOADED[name]
        return 200, b"forgotten"
    if body == b"404":
        return 404, b"an answer of the model's own"
    if body == b"exit":
        os._exit(3)
    factor, url, target = LOADED[name]
    if body == b"see":
        seen = {"name": name, "url": url, "target": target, "files": sorted(os.listdir(url)), "counts": COUNTS}
        seen |= {"models": sorted(each[2] for each in LOADED.values()), "headers": dict(headers), "began": BEGAN}
        return 200, json.dumps({**seen, "environment": dict(os.environ)}).encode()
    return 200, str(int(body) * factor).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/ping":
            self.answer(200, b"")
        elif self.path.startswith("/models/"):
            known = self.path.split("/")[2] in LOADED
            self.answer(200 if known else 404, b"{}")
        else:
            self.answer(405, b"")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/models":
            self.answer(*load(json.loads(body), self.headers))
        elif self.path.endswith("/invoke"):
            self.answer(*invoke(self.path.split("/")[2], body, self.headers))
        else:
            self.answer(405, b"")

    def do_DELETE(self):
        self.answer(*unload(self.path.split("/")[2]))

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
    http.server.ThreadingHTTPServer(("", port), Handler).serve_forever()
