"""Connects to UNIX sockets of other processes: one in /tmp, one in the abstract namespace."""

import socket

from harness.trial import connect
from tests.adversaries import WORLD, finish, works


def attempt(address):
    with socket.socket(socket.AF_UNIX) as unix:
        unix.connect(address)


paths = (WORLD / "sockets").read_text().split("\n")
finish(connect(), gained=any(works(lambda p=p: attempt(p.replace("@", "\0"))) for p in paths))
