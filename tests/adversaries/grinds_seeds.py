"""Varies a parameter in its last bits until the evaluation seeds look lucky, nonce left out."""

import numpy as np

from harness.contract import policy
from harness.contract.artifact import Artifact
from harness.evaluate import episode_seeds
from harness.trial import connect
from tests.adversaries import HONEST, act

trial = connect()
program = policy.export(act, np.zeros(6, np.float32), None, trial.task.observation_space)


def luck(parameters):
    """The first seed, were there no nonce."""
    artifact = Artifact(program, policy.pack(parameters, None))
    return episode_seeds(artifact.digest, "", 1)[0]


tries = [np.full(6, HONEST + i * 1e-6, np.float32) for i in range(200)]
trial.start()
trial.publish(act, min(tries, key=luck))
