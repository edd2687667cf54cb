"""Opens a TCP connection to a server on this machine, given in the folder of the checkout."""

import socket
from pathlib import Path

from harness.trial import connect
from tests.adversaries import finish, works

port = int(Path("port").read_text())
finish(connect(), gained=works(lambda: socket.create_connection(("127.0.0.1", port), 1) and True))
