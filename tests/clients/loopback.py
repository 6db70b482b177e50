"""Bring the loopback interface up, then become the program of the arguments. A new network namespace has it down."""

import fcntl
import os
import socket
import struct
import sys

GET_FLAGS, SET_FLAGS, UP = 0x8913, 0x8914, 0x1

with socket.socket() as any_socket:
    request = fcntl.ioctl(any_socket, GET_FLAGS, struct.pack("16sH14x", b"lo", 0))
    flags = struct.unpack("16xH14x", request)[0]
    fcntl.ioctl(any_socket, SET_FLAGS, struct.pack("16sH14x", b"lo", flags | UP))
os.execvp(sys.argv[1], sys.argv[1:])
