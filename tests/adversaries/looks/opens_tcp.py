"""Opens a TCP connection to a server on this machine."""

import socket

from tests.adversaries import port


def attempt():
    socket.create_connection(("127.0.0.1", port()), 1).close()
