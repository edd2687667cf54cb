"""Announces a policy of an exabyte."""

import json
import struct

from harness.trial import connect
from tests.adversaries import finish

trial = connect()
header = json.dumps({"kind": "publish", "program_bytes": 0}).encode()
trial._channel.sendall(struct.pack("<IQ", len(header), 2**60) + header)
finish(trial, gained=True)
