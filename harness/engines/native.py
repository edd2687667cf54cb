"""The native engine: MuJoCo tasks on a thread pool of C MuJoCo, equal to Gymnasium to the last bit.

It is `mujoco.batch.Batch` underneath. Equality with Gymnasium is exact because both run the same
C code from the same states, draw first states from the same generators in the same order, and
compute observation and reward with the same NumPy operations in the same dtypes.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import gymnasium
import mujoco.batch
import numpy as np
from gymnasium.utils import seeding

from harness.engines.engine import Step, available_cpus
from harness.tasks import MujocoTask, Task
from harness.tasks.draws import HostDraws

CONTACT_FORCES = "cfrc_ext"
"""The one field that MuJoCo does not compute in a step."""


def unsupported(task: Task) -> str | None:
    """Why this engine cannot run the task, or None."""
    return None if isinstance(task, MujocoTask) else f"{task.id} is not a MuJoCo task"


class NativeEngine:
    """A `HostEngine` of one MuJoCo task."""

    def __init__(self, task: MujocoTask, num_envs: int, seed: int, autoreset: bool = True) -> None:
        self.task = task
        self.num_envs = num_envs
        self.autoreset = autoreset
        contacts = CONTACT_FORCES in task.fields
        threads = min(available_cpus(), num_envs)
        self._batch = mujoco.batch.Batch(task.model, num_envs, threads, persistent=contacts)
        bound = {"qpos", "qvel", "ctrl", *task.fields} - {CONTACT_FORCES}
        self._data: Any = SimpleNamespace(**{name: self._batch.bind(name) for name in bound})
        self._contacts = _ContactForces(self._batch, self._data) if contacts else None
        sequences = np.random.SeedSequence(seed).spawn(num_envs)
        self._generators = [np.random.default_rng(sequence) for sequence in sequences]
        self._initial_state = self._batch.state[0].copy()
        self._elapsed = np.zeros(num_envs, np.int64)
        self._running = np.ones(num_envs, bool)
        self.observation_space, self.action_space = spaces(task)

    def reset(self, seeds: Sequence[int] | None = None) -> np.ndarray:
        """Start new episodes everywhere; see `HostEngine.reset`."""
        if seeds is not None:
            self._generators = [seeding.np_random(int(seed))[0] for seed in seeds]
        self._running[:] = True
        self._restart(np.arange(self.num_envs))
        return self.task.observation(self._data)

    def step(self, actions: np.ndarray) -> Step:
        """One environment step; see `HostEngine.step`."""
        task, data, running = self.task, self._data, self._running
        before = task.position(data).copy()
        data.ctrl[:] = actions
        self._batch.step(None if self.autoreset else running, nstep=task.frame_skip)
        if self._contacts:
            self._contacts.compute(np.flatnonzero(running))
        velocity = (task.position(data) - before) / task.dt

        next_obs = task.observation(data)
        self._elapsed += 1
        step = Step(
            obs=next_obs,
            next_obs=next_obs,
            reward=task.reward(data, actions, velocity),
            terminated=task.terminated(data),
            truncated=self._elapsed >= task.horizon,
        )
        if not self.autoreset:
            self._hold_still(step)
        elif (ended := np.flatnonzero(step.terminated | step.truncated)).size:
            self._restart(ended)
            step.obs = task.observation(data)
        return step

    def _hold_still(self, step: Step) -> None:
        """Without auto-reset: environments whose episode was over take no part in a step."""
        step.reward = np.where(self._running, step.reward, 0.0)
        step.terminated = step.terminated & self._running
        step.truncated = step.truncated & self._running
        self._running = self._running & ~(step.terminated | step.truncated)

    def close(self) -> None:
        """Nothing to free: the thread pool ends with the object."""

    def _restart(self, ids: np.ndarray) -> None:
        """Draw first states for some environments, as `MujocoEnv.reset` does."""
        self._batch.state[ids] = self._initial_state  # what mj_resetData does, without a call
        for i in ids:
            qpos, qvel = self.task.reset(HostDraws(self._generators[i]))
            self._data.qpos[i], self._data.qvel[i] = qpos, qvel
        self._batch.forward(ids)
        if self._contacts:
            self._contacts.clear(ids)
        self._elapsed[ids] = 0


class _ContactForces:
    """`cfrc_ext` of every environment, by `mj_rnePostConstraint` after the last substep.

    As `MujocoEnv` computes it. A sensor that makes MuJoCo compute it within the step gives other
    numbers under RK4, and a batch cannot bind it.
    """

    def __init__(self, batch: mujoco.batch.Batch, data: SimpleNamespace) -> None:
        self._batch = batch
        self._scratch = mujoco.MjData(batch.model)
        self._forces = np.zeros((batch.nsim, *self._scratch.cfrc_ext.shape))
        setattr(data, CONTACT_FORCES, self._forces)

    def compute(self, ids: np.ndarray) -> None:
        """Bring some environments up to date."""
        for i in ids:
            self._batch.get_data(i, self._scratch)
            mujoco.mj_rnePostConstraint(self._batch.model, self._scratch)
            self._forces[i] = self._scratch.cfrc_ext

    def clear(self, ids: np.ndarray) -> None:
        """A reset zeroes them; `mj_forward` does not compute them."""
        self._forces[ids] = 0


def spaces(task: MujocoTask) -> tuple[gymnasium.spaces.Box, gymnasium.spaces.Box]:
    """The observation and action space of a MuJoCo task, equal to Gymnasium's."""
    data = mujoco.MjData(task.model)
    size = task.observation(data).shape[-1]
    low, high = task.model.actuator_ctrlrange.astype(np.float32).T
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float64)
    return observation_space, gymnasium.spaces.Box(low, high, dtype=np.float32)
