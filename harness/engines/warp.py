"""The Warp engine: MJX's implementation in NVIDIA Warp, on NVIDIA GPUs."""

from harness.engines.mjx import MjxEngine
from harness.engines.native import spaces
from harness.tasks import MujocoTask

__all__ = ["WarpEngine", "spaces"]


class WarpEngine(MjxEngine):
    """An `MjxEngine` whose simulation steps are Warp kernels."""

    def __init__(self, task: MujocoTask, num_envs: int) -> None:
        super().__init__(task, num_envs, impl="warp")
