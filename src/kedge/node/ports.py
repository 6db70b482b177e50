"""The two listening sockets, opened once and inherited by every role that comes and goes."""

from __future__ import annotations

import errno
import ipaddress
import socket

BACKLOG = 4096
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (compared with, not bound)


class PortError(Exception):
    """The address cannot be had; the message is one sentence that says what to do."""


def listen(host: str, port: int, flag: str) -> socket.socket:
    """port 0: any free one. flag: the option of `kedge up` that chooses the port."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise PortError(f"The address {host} is not known ({error.strerror}); choose another by --host.") from error
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise PortError(_sentence(error, host, port, flag)) from error
    sock.setblocking(False)
    return sock


def url(sock: socket.socket, *, tls: bool) -> str:
    """What a client on this machine uses; by IP address, which no resolver and no proxy rule can change."""
    host, port, *_ = sock.getsockname()
    host = _WILDCARDS.get(host, host)
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def _sentence(error: OSError, host: str, port: int, flag: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is taken; choose another by {flag} (0 takes any free port)."
    if error.errno == errno.EACCES:
        return f"Port {port} needs more rights than this user has; choose one above 1023 by {flag}."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"The address {host} is none of this machine's; choose another by --host."
    return f"Port {port} on {host} cannot be opened ({error.strerror}); choose another by {flag}."


def warnings(address: str, *, tls: bool) -> list[str]:
    """Sentences about what listening on this address (of a socket) means."""
    if tls or ipaddress.ip_address(address).is_loopback:
        return []
    return [f"Requests travel unencrypted: {address} is no loopback address, and TLS is off (--tls)."]
