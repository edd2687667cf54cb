"""Messages between a confined process and its parent: a JSON header and a binary payload.

Frame: 4 bytes header length, 8 bytes payload length (little-endian), header, payload.
"""

import dataclasses
import itertools
import json
import os
import socket
import struct
from collections.abc import Callable
from typing import Any, TypeVar

from harness.contract import schema

T = TypeVar("T")

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


class WireError(Exception):
    """The other side does not speak the protocol."""


def encode(head: dict[str, Any], payload: bytes = b"") -> bytes:
    """One frame."""
    words = json.dumps(head).encode()
    return _LENGTHS.pack(len(words), len(payload)) + words + payload


def split(payload: bytes, *sizes: int) -> list[bytes]:
    """A payload's parts; the last one takes what these sizes leave.

    Raises:
      WireError: it has not so many bytes, or a size is none.
    """
    ends = list(itertools.accumulate(sizes))
    if min(sizes, default=0) < 0 or sum(sizes) > len(payload):
        raise WireError(f"a payload of {len(payload):,} bytes with parts of {sum(sizes):,}")
    return [payload[a:b] for a, b in zip([0, *ends], [*ends, len(payload)], strict=True)]


def header(message: Any) -> dict[str, Any]:
    """The header of a message that is a dataclass: its kind, and its fields."""
    return {"kind": _kind(type(message)), **dataclasses.asdict(message)}


def read(given: dict[str, Any], *kinds: type[T]) -> T:
    """The message that a header holds.

    Args:
      given: as it arrived: nothing of it is believed.
      kinds: dataclasses of the messages that may arrive.

    Raises:
      WireError: it is none of these, has other fields than its kind, or one of another type.
    """
    named = {_kind(kind): kind for kind in kinds}
    name = given.get("kind")
    if type(name) is not str or name not in named:
        raise WireError(f"a message of no kind that there is ({', '.join(named)})")
    try:
        fields = {field: value for field, value in given.items() if field != "kind"}
        return schema.decoded(named[name], fields)
    except schema.SchemaError as error:
        raise WireError(f"a message {name!r} {error}") from error


def text(message: Any) -> bytes:
    """A message for a payload, where a header has no room."""
    return json.dumps(header(message)).encode()


def read_text(given: bytes, kind: type[T]) -> T:
    """The message that `text` made.

    Raises:
      WireError: as `read`.
    """
    return read(_header(given), kind)


def _kind(message: type) -> str:
    """What the messages of a dataclass are called in their headers."""
    return message.__name__.lower()


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


def serve(kind: type[T], respond: Callable[[T, bytes], tuple[Any, bytes]]) -> None:
    """Answer the one question of our parent, in a process that was started for it.

    The channel is a descriptor that only the two of us hold: nobody else can answer.

    Args:
      kind: of the question.
      respond: gives the answer, a message and a payload, to a question with its payload.
    """
    channel = socket.socket(fileno=int(os.environ.pop(CHANNEL_VARIABLE)))
    question, payload = receive(channel)
    answer, content = respond(read(question, kind), payload)
    channel.sendall(encode(header(answer), content))


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
            head = _header(bytes(self._buffer[_LENGTHS.size : body]))
            frames.append((head, bytes(self._buffer[body:total])))
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


def _header(given: bytes) -> dict[str, Any]:
    try:
        found = json.loads(given, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise WireError(f"a header that is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise WireError("a header that is not a JSON object")
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object in which no name is used twice."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name is used twice in one object")
    return made
