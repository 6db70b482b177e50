"""Bring the loopback interface up, which is down in a new network namespace; then become what the arguments name."""

import fcntl
import os
import socket
import struct
import sys

GET_FLAGS, SET_FLAGS, UP = 0x8913, 0x8914, 0x1


def up() -> None:
    """Raises OSError."""
    with socket.socket() as any_socket:
        request = fcntl.ioctl(any_socket, GET_FLAGS, struct.pack("16sH14x", b"lo", 0))
        flags = struct.unpack("16xH14x", request)[0]
        fcntl.ioctl(any_socket, SET_FLAGS, struct.pack("16sH14x", b"lo", flags | UP))


if __name__ == "__main__":
    up()
    os.execvp(sys.argv[1], sys.argv[1:])
