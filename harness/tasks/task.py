"""What a task is, apart from who steps it."""

import dataclasses
import functools
import importlib.resources
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Protocol

import mujoco
import numpy as np

from harness.tasks.draws import Array, Draws


class Task(Protocol):
    """Anything with a Gymnasium id, which names its definition and its reference simulator."""

    @property
    def id(self) -> str:
        """The Gymnasium id, such as `HalfCheetah-v5`."""
        ...


@dataclasses.dataclass(frozen=True)
class GymnasiumTask:
    """A task that is known only by its Gymnasium id: Gymnasium itself defines and steps it."""

    id: str


@dataclasses.dataclass(frozen=True)
class Box2DTask(GymnasiumTask):
    """A Gymnasium Box2D task of which EnvPool has its own, faster build."""


@dataclasses.dataclass(frozen=True)
class BraxTask:
    """An environment of Brax or of MuJoCo Playground, which defines and simulates itself.

    Attributes:
      id: `brax:ant`, `playground:CheetahRun`.
    """

    id: str

    PACKAGES: ClassVar[Mapping[str, str]] = {"brax": "brax", "playground": "mujoco_playground"}
    """The module to import, by library."""

    @property
    def library(self) -> str:
        """`brax` or `playground`."""
        return self.id.partition(":")[0]

    @property
    def name(self) -> str:
        """Of the environment in its library."""
        return self.id.partition(":")[2]

    @property
    def package(self) -> str:
        """The module that holds the library."""
        return self.PACKAGES[self.library]


class Physics(Protocol):
    """The fields of `mujoco.MjData` that a task reads; their last axes are the physical ones."""

    qpos: Array
    qvel: Array

    def __getattr__(self, field: str) -> Array: ...


class MujocoTask(ABC):
    """A MuJoCo task over array-API functions: the same lines run in NumPy and under `jax.jit`.

    Every function takes arrays whose last axis (or last two, for fields such as `xpos`) is the
    physical one and works for any batch shape in front of it, none included.
    """

    id: ClassVar[str]
    model_file: ClassVar[str]
    """A model in Gymnasium's own assets."""
    frame_skip: ClassVar[int]
    """Simulation steps per environment step."""
    horizon: ClassVar[int]
    """Environment steps after which an episode is truncated."""
    fields: ClassVar[tuple[str, ...]] = ()
    """Fields of `mujoco.MjData` that are read besides `qpos` and `qvel`."""

    @functools.cached_property
    def model(self) -> mujoco.MjModel:
        """The compiled model, with Gymnasium's XML as it is."""
        assets = importlib.resources.files("gymnasium") / "envs" / "mujoco" / "assets"
        return mujoco.MjModel.from_xml_path(str(assets / self.model_file))

    @functools.cached_property
    def dt(self) -> float:
        """Seconds of simulated time in one environment step."""
        return self.model.opt.timestep * self.frame_skip

    @functools.cached_property
    def initial(self) -> Mapping[str, np.ndarray]:
        """`qpos` [nq] and `qvel` [nv] of the model as it is loaded."""
        data = mujoco.MjData(self.model)
        return {"qpos": data.qpos.copy(), "qvel": data.qvel.copy()}

    def noisy_initial(
        self, draws: Draws, scale: float, law: str = "uniform"
    ) -> tuple[Array, Array]:
        """The initial state with noise: uniform on positions; on velocities uniform or normal.

        Args:
          draws: where the noise comes from.
          scale: half the width of the uniform noise; the deviation of the normal noise.
          law: of the velocities, `uniform` or `normal`.
        """
        nq, nv = self.model.nq, self.model.nv
        qpos = self.initial["qpos"] + draws.uniform(-scale, scale, nq)
        noise = scale * draws.normal(nv) if law == "normal" else draws.uniform(-scale, scale, nv)
        return qpos, self.initial["qvel"] + noise

    @abstractmethod
    def reset(self, draws: Draws) -> tuple[Array, Array]:
        """Draw a first state: `qpos` [nq] and `qvel` [nv], for one environment."""

    @abstractmethod
    def observation(self, data: Physics) -> Array:
        """What the policy sees, [..., observation]."""

    def position(self, data: Physics) -> Array:
        """The coordinates whose rate over a step is rewarded, [..., k]; none by default."""
        return data.qpos[..., :0]

    @abstractmethod
    def reward(self, data: Physics, action: Array, velocity: Array) -> Array:
        """The reward of a step, [...].

        Args:
          data: the state after the step.
          action: the action as given, [..., nu]; the control cost is computed in its dtype.
          velocity: the change of `position` over the step divided by `dt`, [..., k].
        """

    def terminated(self, data: Physics) -> Array:
        """Whether the task itself has ended in this state, [...]; never by default."""
        return data.qpos[..., 0] != data.qpos[..., 0]
