"""Sends a UDP datagram to a server on this machine and waits for its answer."""

import socket

from tests.adversaries import port


def attempt():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(1)
        udp.sendto(b"weights, please", ("127.0.0.1", port()))
        return bool(udp.recv(10))
