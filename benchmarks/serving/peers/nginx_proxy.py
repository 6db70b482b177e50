"""nginx in front of the Granian app: two hops with a router in C, as Kedge has two hops."""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.serving.peers import nginx


def main() -> None:
    port = int(os.environ["PORT"])
    granian = [str(Path(sys.executable).parent / "granian"), "--interface", "rsgi", "--host", "127.0.0.1"]
    granian += ["--port", str(port + 1), "--workers", "1", "--loop", "uvloop", "--no-access-log"]
    subprocess.Popen([*granian, "benchmarks.serving.peers.granian_app:app"])
    upstream = f"upstream app {{ server 127.0.0.1:{port + 1}; keepalive 64; keepalive_requests 100000000; }}"
    location = 'proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";'
    nginx.run(upstream, location)


if __name__ == "__main__":
    main()
