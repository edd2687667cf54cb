"""Connects to UNIX sockets of other processes: one in /tmp, one in the abstract namespace."""

import socket

from tests.adversaries import WORLD, works


def attempt():
    paths = (WORLD / "sockets").read_text().split("\n")
    return any([works(lambda p=p: connect(p.replace("@", "\0"))) for p in paths])


def connect(address):
    with socket.socket(socket.AF_UNIX) as unix:
        unix.connect(address)
