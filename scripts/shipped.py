"""The shipped training file as a module: what is installed is the harness alone."""

import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from harness.engines.compiled import Compiled

FILE = Path(__file__).resolve().parent.parent / "agent_space" / "train.py"


def load() -> ModuleType:
    """`agent_space/train.py`, imported anew."""
    spec = importlib.util.spec_from_file_location("train", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Compiler:
    """Compiles as a `Trial` does, where there is none."""

    def __init__(self, num_envs: int) -> None:
        self._num_envs = num_envs

    def compile(
        self, function: Callable, *args: Any, devices: Sequence[jax.Device] | None = None
    ) -> Callable:
        """As `Trial.compile`."""
        return Compiled(function, args, devices or jax.devices(), [self._num_envs])


def iteration(
    train: ModuleType, env: Any, seed: int = 0, compiler: Compiler | None = None
) -> tuple[Callable[[tuple], tuple], tuple]:
    """The file's update on an environment, and what it begins with.

    Args:
      train: the file.
      env: that nothing else steps.
      seed: of parameters and actions.
      compiler: of its programs.

    Returns:
      A function of what it returned last; of its value the first item is the `TrainState`, and the
      last one the metrics.
    """
    net = train.ActorCritic(env.action_space)
    key, first_key = jax.random.split(jax.random.key(seed, impl="rbg"))
    state = jax.jit(partial(train.init, env=env, net=net))(key)
    begin, iterate = train.compiled(compiler or Compiler(env.num_envs), state, env, net)

    def update(before: tuple, left: float = 1.0) -> tuple:
        return iterate(*before[:3], jnp.float32(left))

    return update, (state, *begin(state, first_key), {})
