"""Publishes parameters that are a pickle with a surprise."""

import io
import os

import numpy as np

from harness.trial import connect
from tests.adversaries import act


class Surprise:
    """Runs a command where it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch /tmp/autorl-surprise",)


trial = connect()
from harness.contract import policy  # noqa: E402

buffer = io.BytesIO()
np.savez(buffer, param_000=np.array([Surprise()], dtype=object))
program = policy.export(act, np.zeros(6, np.float32), None, trial.task.observation_space)
trial.start()
header = {"kind": "publish", "program_bytes": len(program)}
trial._send(header, program + buffer.getvalue())
