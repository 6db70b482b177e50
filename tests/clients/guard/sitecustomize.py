"""Refuses every connection and every name look-up that leaves the machine, and writes each down.

Python imports this file at start when its folder is on PYTHONPATH. It sees what passes Python's socket module; the
counter of `tests.clients.conftest.unroutable` sees the rest, where there is a network namespace to count in.
"""

import ipaddress
import os
import socket
import sys

_RECORD = os.environ.get("KEDGE_TEST_GUARD", "")


def _near(host):
    if host in (None, "", "localhost", b"localhost"):
        return True
    text = host.decode() if isinstance(host, bytes) else str(host)
    try:
        return ipaddress.ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _watch(event, args):
    if event in ("socket.connect", "socket.sendto"):
        if args[0].family not in (socket.AF_INET, socket.AF_INET6):
            return
        host = args[1][0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = args[0]
    else:
        return
    if not _near(host):
        with open(_RECORD, "a") as record:
            record.write(f"{event} {host!r}\n")
        raise OSError(101, f"{event} {host!r}: this client may not leave the machine")


if _RECORD:
    sys.addaudithook(_watch)
