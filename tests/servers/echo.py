#!/usr/bin/env python
"""A server that keeps SageMaker's contract for containers, and does as its request says."""

import http.server
import json
import os
import signal
import time
import urllib.error
import urllib.request


def fetched(url, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:
            return answer.read()
    except OSError as error:
        return f"refused: {error}".encode()


def do(body, headers):
    """(status, answer); None closes the connection without one."""
    word, _, rest = body.decode(errors="replace").partition(" ")
    if word == "exit":
        os._exit(int(rest))
    if word == "drop":
        return None
    if word == "status":
        return int(rest), b"as you like it"
    if word == "sleep":
        time.sleep(float(rest))
    if word == "fill":
        held = bytearray(int(rest))
        held[:: os.sysconf("SC_PAGE_SIZE")] = b"x" * len(held[:: os.sysconf("SC_PAGE_SIZE")])
    if word == "see":
        model = "/opt/ml/model" if os.path.isdir("/opt/ml/model") else os.environ["SM_MODEL_DIR"]
        seen = {"files": sorted(os.listdir(model)), "headers": dict(headers), "environment": dict(os.environ)}
        return 200, json.dumps({**seen, "pid": os.getpid(), "cwd": os.getcwd()}).encode()
    if word == "write":
        try:
            with open(rest, "w") as file:
                file.write("x")
        except OSError as error:
            return 200, type(error).__name__.encode()
    if word == "api":
        return 200, fetched(os.environ["AWS_ENDPOINT_URL"] + "/kedge/health")
    if word == "keys":
        token = os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
        return 200, fetched(os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"], Authorization=token)
    if word == "reach":
        return 200, fetched(rest)
    return 200, body


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(200, b"")

    def do_POST(self):
        done = do(self.rfile.read(int(self.headers["Content-Length"])), self.headers)
        if done is None:
            self.close_connection = True
        else:
            self.answer(*done)

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "text/plain")
        self.send_header("X-Amzn-SageMaker-Custom-Attributes", "echo")
        session = self.headers.get("X-Amzn-SageMaker-Session-Id", "")
        if session == "NEW_SESSION":
            self.send_header("X-Amzn-SageMaker-New-Session-Id", "talk-1; Expires=2099-01-02T03:04:05Z")
        elif session == "talk-1" and body == b"bye":
            self.send_header("X-Amzn-SageMaker-Closed-Session-Id", session)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


if __name__ == "__main__":
    print("the server starts", flush=True)
    # The first process of a container is not ended by a signal for which it has no handler.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
    http.server.ThreadingHTTPServer(("", port), Handler).serve_forever()
