"""Sends the first half of a message with another policy, and ends."""

from harness.contract import policy, wire
from harness.trial import connect
from tests.adversaries import GAINED, publish

trial = connect()
trial.start()
publish(trial, gained=False)
arrays = policy.pack([GAINED] * 6, None)
message = wire.encode({"kind": "publish", "program_bytes": 0}, arrays)
trial._channel.sendall(message[: len(message) // 2])
