"""Sends a UDP datagram to a server on this machine and waits for its answer."""

import socket

from harness.trial import connect
from tests.adversaries import WORLD, finish, works


def attempt():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(1)
        udp.sendto(b"weights, please", ("127.0.0.1", int((WORLD / "port").read_text())))
        return bool(udp.recv(10))


finish(connect(), gained=works(attempt))
