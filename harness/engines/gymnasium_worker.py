"""One worker of the Gymnasium engine: a chunk of environments, one step of all a message."""

import json
import mmap
import socket
import sys
import traceback

import gymnasium
import numpy as np

from harness.engines.gymnasium import DONE, FAILED, RESET, RESET_SEEDED, STEP, Layout


class Chunk:
    """Environments `low` to `high` of the whole, over shared arrays."""

    def __init__(self, task_id: str, arrays: dict[str, np.ndarray], autoreset: bool) -> None:
        self.arrays = arrays
        self.autoreset = autoreset
        num_envs = len(arrays["reward"])
        self.envs = [gymnasium.make(task_id, disable_env_checker=True) for _ in range(num_envs)]
        self.running = np.ones(num_envs, bool)

    def reset(self, seeded: bool) -> None:
        """Start new episodes in the whole chunk."""
        self.running[:] = True
        for i, env in enumerate(self.envs):
            seed = int(self.arrays["seeds"][i]) if seeded else None
            self.arrays["obs"][i] = env.reset(seed=seed)[0]

    def step(self) -> None:
        """Step every running environment of the chunk."""
        arrays = self.arrays
        for name in ("reward", "terminated", "truncated"):
            arrays[name][:] = 0
        for i in np.flatnonzero(self.running):
            env = self.envs[i]
            action = arrays["actions"][i]
            obs, reward, terminated, truncated, _ = env.step(action.copy())
            arrays["next_obs"][i] = obs
            arrays["reward"][i] = reward
            arrays["terminated"][i] = terminated
            arrays["truncated"][i] = truncated
            if terminated or truncated:
                if self.autoreset:
                    obs, _ = env.reset()
                else:
                    self.running[i] = False
            arrays["obs"][i] = obs


def main() -> None:
    """Serve commands until the parent closes the channel."""
    settings = json.loads(sys.argv[1])
    layout = Layout(**settings["layout"])
    arrays = layout.views(mmap.mmap(settings["memory"], layout.nbytes))
    chunk_arrays = {name: a[settings["low"] : settings["high"]] for name, a in arrays.items()}
    channel = socket.socket(fileno=settings["channel"])
    chunk = None
    try:
        chunk = Chunk(settings["task"], chunk_arrays, settings["autoreset"])
        while command := channel.recv(1):
            if command == STEP:
                chunk.step()
            elif command in (RESET, RESET_SEEDED):
                chunk.reset(seeded=command == RESET_SEEDED)
            channel.sendall(DONE)
    except (KeyboardInterrupt, BrokenPipeError, ConnectionResetError):
        pass  # the parent is ending, or has ended
    except Exception:  # the parent raises it
        channel.sendall(FAILED + traceback.format_exc().encode())
    finally:
        channel.close()


if __name__ == "__main__":
    main()
