"""Messages between a confined process and its parent: a JSON header and a binary payload.

Frame: 4 bytes header length, 8 bytes payload length (little-endian), header, payload.
"""

import itertools
import json
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

Message = tuple[dict[str, Any], bytes]
"""Header and payload."""

CHANNEL_VARIABLE = "AUTORL_TRIAL_CHANNEL"
"""Environment variable with the file descriptor of the child's end of the socket."""

_LENGTHS = struct.Struct("<IQ")
MAX_HEADER_BYTES = 2**20
MAX_PAYLOAD_BYTES = 80 * 2**20
"""A little above the largest policy, which its own limits then refuse by name."""

CHUNK_BYTES = 2**20
"""Of one read from a channel."""

FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    "start": {"device": (str,), "backend": (str,)},
    "log": {"step": (int,), "metrics": (dict,), "compile_seconds": (int, float)},
    "publish": {"program_bytes": (int,)},
}
"""What a training may say: the fields of each kind of message, and what JSON makes of them."""


class WireError(Exception):
    """The other side does not speak the protocol."""


def encode(header: dict[str, Any], payload: bytes = b"") -> bytes:
    """One frame."""
    head = json.dumps(header).encode()
    return _LENGTHS.pack(len(head), len(payload)) + head + payload


def split(payload: bytes, *sizes: int) -> list[bytes]:
    """A payload's parts; the last one takes what these sizes leave."""
    ends = list(itertools.accumulate(sizes))
    return [payload[a:b] for a, b in zip([0, *ends], [*ends, len(payload)], strict=True)]


def check(header: dict[str, Any]) -> str:
    """The kind of a training's message, which has the fields of its kind and no others.

    Raises:
      WireError: it is none, or a field is of another type.
    """
    kind = header.get("kind")
    if type(kind) is not str or kind not in FIELDS:
        raise WireError(f"a message of no kind that there is ({', '.join(FIELDS)})")
    fields = FIELDS[kind]
    if header.keys() != {"kind", *fields}:
        raise WireError(f"a message {kind!r} with other fields than {', '.join(fields)}")
    for name, types in fields.items():
        if type(header[name]) not in types:  # a bool is no int
            raise WireError(
                f"a message {kind!r} whose {name} is of type {type(header[name]).__name__}"
            )
    return kind


def receive(channel: socket.socket) -> Message:
    """Wait for one frame.

    Raises:
      EOFError: the other side is gone.
    """
    decoder = Decoder()
    while True:
        frames = decoder.feed(channel.recv(min(decoder.missing(), CHUNK_BYTES)))
        if frames:
            return frames[0]


def serve(respond: Callable[[dict[str, Any], bytes], Message]) -> None:
    """Answer the one question of our parent, in a process that was started for it.

    The channel is a descriptor that only the two of us hold: nobody else can answer.
    """
    channel = socket.socket(fileno=int(os.environ.pop(CHANNEL_VARIABLE)))
    channel.sendall(encode(*respond(*receive(channel))))


class Decoder:
    """Cuts a stream of bytes, as it arrives, into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def missing(self) -> int:
        """Bytes that complete the frame under way, as far as is known."""
        return max(self._total() - len(self._buffer), 1)

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes, give the frames that they complete.

        Raises:
          EOFError: no bytes: the stream has ended.
          WireError: a frame is larger than allowed or its header is not a JSON object.
        """
        if not data:
            raise EOFError("the other side closed the channel")
        self._buffer += data
        frames = []
        while len(self._buffer) >= _LENGTHS.size and len(self._buffer) >= self._total():
            head_length, _ = _LENGTHS.unpack_from(self._buffer)
            total, body = self._total(), _LENGTHS.size + head_length
            header = _header(bytes(self._buffer[_LENGTHS.size : body]))
            frames.append((header, bytes(self._buffer[body:total])))
            del self._buffer[:total]
        return frames

    def _total(self) -> int:
        if len(self._buffer) < _LENGTHS.size:
            return _LENGTHS.size
        head_length, payload_length = _LENGTHS.unpack_from(self._buffer)
        if head_length > MAX_HEADER_BYTES or payload_length > MAX_PAYLOAD_BYTES:
            raise WireError(
                f"a message of {head_length + payload_length:,} bytes; "
                f"{MAX_PAYLOAD_BYTES:,} are allowed"
            )
        return _LENGTHS.size + head_length + payload_length


def _header(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise WireError(f"a header that is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise WireError("a header that is not a JSON object")
    return header


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object in which no name is used twice."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name is used twice in one object")
    return made
