"""Opens a TCP connection to a server on this machine."""

import socket

from harness.trial import connect
from tests.adversaries import WORLD, finish, works

port = int((WORLD / "port").read_text())
finish(connect(), gained=works(lambda: socket.create_connection(("127.0.0.1", port), 1) and True))
