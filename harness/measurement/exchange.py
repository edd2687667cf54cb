"""One question to a process of its own, and its answer: everything else that it does is bounded."""

import os
import selectors
import socket
import subprocess
import time

from harness.contract import wire

TAIL_BYTES = 2000
"""Of what such a process prints, for messages."""


class Exchange:
    """One question and its answer, while what the process prints is read and forgotten."""

    def __init__(self, process: subprocess.Popen, channel: socket.socket, question: bytes) -> None:
        assert process.stdout is not None
        self._output, self._channel = process.stdout, channel
        self._unsent, self._decoder, self._printed = memoryview(question), wire.Decoder(), b""
        channel.setblocking(False)
        os.set_blocking(self._output.fileno(), False)

    @property
    def tail(self) -> str:
        """The end of what the process has printed, indented."""
        lines = self._printed.decode(errors="replace").splitlines()
        return "\n".join(f"  {in_a_line(line)}" for line in lines)

    def answer(self, limit: float) -> wire.Message:
        """Wait for the answer.

        Raises:
          TimeoutError: there was none within so many seconds.
          EOFError, OSError, WireError: there will be none.
        """
        deadline = time.monotonic() + limit
        with self._output, selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ | selectors.EVENT_WRITE)
            selector.register(self._output, selectors.EVENT_READ)
            try:
                return self._go_on(selector, deadline)
            finally:
                self._read_output()

    def _go_on(self, selector: selectors.BaseSelector, deadline: float) -> wire.Message:
        """Send, read and forget until there is an answer."""
        while True:
            left = deadline - time.monotonic()
            ready = {key.fileobj: events for key, events in selector.select(max(left, 0))}
            if self._output in ready and not self._read_output():
                selector.unregister(self._output)
            events = ready.get(self._channel, 0)
            if events & selectors.EVENT_WRITE and not self._send():
                selector.modify(self._channel, selectors.EVENT_READ)
            if events & selectors.EVENT_READ:
                if messages := self._decoder.feed(self._channel.recv(wire.CHUNK_BYTES)):
                    return messages[0]
            elif left <= 0:
                raise TimeoutError

    def _send(self) -> bool:
        """Send what there is room for; whether there is more."""
        self._unsent = self._unsent[self._channel.send(self._unsent) :]
        return bool(self._unsent)

    def _read_output(self) -> bool:
        """Read what was printed; False at its end."""
        try:
            data = os.read(self._output.fileno(), wire.CHUNK_BYTES)
        except BlockingIOError:
            return True
        self._printed = (self._printed + data)[-TAIL_BYTES:]
        return bool(data)


def in_a_line(text: str) -> str:
    """Words of a hostile process as they may be shown.

    They hold no codes that a terminal acts on, and begin no line, as results do.
    """
    return "".join(c if c.isprintable() else "�" for c in " ".join(text.split()))
