"""nginx with one answer of 200 bytes for every request: what HTTP itself costs on this machine."""

import os
from pathlib import Path

ANSWER = '{"pad": "' + "x" * 189 + '"}'
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def run(upstream: str, location: str) -> None:
    """Become an nginx of one worker process. upstream, location: lines of its configuration."""
    folder = Path(os.environ["BENCH_FOLDER"]) / f"nginx-{os.getpid()}"
    folder.mkdir()
    paths = "\n".join(f"  {name}_temp_path {folder}/{name};" for name in _TEMPORARY)
    (folder / "nginx.conf").write_text(
        f"""
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_requests 100000000;
{paths}
  {upstream}
  server {{
    listen 127.0.0.1:{os.environ["PORT"]};
    location / {{ {location} }}
  }}
}}
"""
    )
    os.execvp("nginx", ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")])


if __name__ == "__main__":
    run("", f"default_type application/json; return 200 '{ANSWER}';")
