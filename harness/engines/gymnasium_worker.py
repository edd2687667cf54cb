"""The processes in which Gymnasium's environments live: nothing that they do reaches their parent.

A worker of the engine steps a chunk of environments, all of them a message. Another process only
makes an environment, says what its spaces are, and ends.
"""

import contextlib
import mmap
import os
import socket
import sys
from typing import Any

import gymnasium
import numpy as np

from harness.contract import wire
from harness.contract.messages import Refusal
from harness.engines.engine import reason
from harness.engines.gymnasium import (
    DONE,
    FAULTY,
    RESET,
    RESET_SEEDED,
    STEP,
    Describe,
    Part,
    Space,
    Spaces,
)
from harness.system import origin


class MisfitError(Exception):
    """An environment does not keep to Gymnasium's interface, or to what it says of itself."""


class Chunk:
    """Environments `low` to `high` of the whole, over shared arrays."""

    def __init__(self, task_id: str, arrays: dict[str, np.ndarray], autoreset: bool) -> None:
        self.arrays = arrays
        self.autoreset = autoreset
        self.envs: list[gymnasium.Env] = []
        num_envs = len(arrays["reward"])
        origin.allow(task_id)
        for i in range(num_envs):
            try:
                self.envs.append(gymnasium.make(task_id, disable_env_checker=True))
            except Exception as error:
                raise MisfitError(_cannot_be_made(error, i, num_envs)) from error
        self.running = np.ones(num_envs, bool)

    def reset(self, seeded: bool) -> None:
        """Start new episodes in the whole chunk."""
        self.running[:] = True
        for i, env in enumerate(self.envs):
            seed = int(self.arrays["seeds"][i]) if seeded else None
            self.arrays["obs"][i] = self._first(env, seed)

    def step(self) -> None:
        """Step every running environment of the chunk."""
        arrays = self.arrays
        for name in ("reward", "terminated", "truncated"):
            arrays[name][:] = 0
        for i in np.flatnonzero(self.running):
            env = self.envs[i]
            result = env.step(arrays["actions"][i].copy())
            if not isinstance(result, tuple) or len(result) != 5:
                raise MisfitError(
                    f"step gives {_shown(result)}; (observation, reward, terminated, truncated, "
                    "info) is needed"
                )
            obs, reward, terminated, truncated, _ = result
            obs = self._checked("step", obs)
            arrays["next_obs"][i] = obs
            arrays["reward"][i] = reward
            arrays["terminated"][i] = terminated
            arrays["truncated"][i] = truncated
            if terminated or truncated:
                if self.autoreset:
                    obs = self._first(env, None)
                else:
                    self.running[i] = False
            arrays["obs"][i] = obs

    def close(self) -> None:
        """Close the environments, whatever they say to it."""
        for env in self.envs:
            with contextlib.suppress(Exception):
                env.close()

    def _first(self, env: gymnasium.Env, seed: int | None) -> Any:
        result = env.reset(seed=seed)
        if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)):
            raise MisfitError(f"reset gives {_shown(result)}; (observation, info) is needed")
        return self._checked("reset", result[0])

    def _checked(self, method: str, obs: Any) -> Any:
        expected = self.arrays["obs"].shape[1:]
        if np.shape(obs) != expected:
            raise MisfitError(
                f"{method} gives an observation of shape {np.shape(obs)}; its observation space "
                f"says {expected}"
            )
        return obs


def _shown(result: Any) -> str:
    """What a method gave, in words."""
    return f"{len(result)} values" if isinstance(result, tuple) else f"a {type(result).__name__}"


def _cannot_be_made(error: Exception, made: int, wanted: int) -> str:
    if not made:
        return f"it cannot be made: {reason(error)}"
    return (
        f"{made} could be made in a process, another one not: {reason(error)}. A training makes "
        f"128, an evaluation 100, each of their processes here {wanted}: a simulator of which a "
        "process can hold one has to start a process of its own for each"
    )


def describe(question: Describe, _: bytes) -> tuple[Spaces | Refusal, bytes]:
    """Make an environment and say what its spaces are; or why it cannot be made."""
    origin.allow(question.task_id)
    try:
        env = gymnasium.make(question.task_id, disable_env_checker=True)
        both = (env.observation_space, env.action_space)
        observation, action = (_described(space) for space in both)
        bounds = b"".join(_bounds(space) for space in both)
    except (Exception, SystemExit) as error:
        return Refusal(reason(error)), b""
    return Spaces(observation, action), bounds


def _described(space: gymnasium.Space) -> Space:
    """A space in a message's words; of one that cannot be used what is needed to say so."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return Space("Discrete", n=int(space.n), start=int(space.start))
    if not isinstance(space, gymnasium.spaces.Box):
        return Space(type(space).__name__)
    return Space("Box", shape=tuple(map(int, space.shape)), dtype=str(space.dtype))


def _bounds(space: gymnasium.Space) -> bytes:
    """The bounds of a Box, the lower ones first; of any other space nothing."""
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        return b""
    return space.low.tobytes() + space.high.tobytes()


def work(part: Part) -> None:
    """Serve commands until the parent closes the channel."""
    arrays = part.layout.views(mmap.mmap(part.memory, part.layout.nbytes))
    chunk_arrays = {name: a[part.low : part.high] for name, a in arrays.items()}
    channel = socket.socket(fileno=part.channel)
    chunk = None
    try:
        chunk = Chunk(part.task_id, chunk_arrays, part.autoreset)
        while command := channel.recv(1):
            if command == STEP:
                chunk.step()
            elif command in (RESET, RESET_SEEDED):
                chunk.reset(seeded=command == RESET_SEEDED)
            channel.sendall(DONE)
    except (KeyboardInterrupt, BrokenPipeError, ConnectionResetError):
        pass  # the parent is ending, or has ended
    except MisfitError as error:
        _say(channel, str(error))
    except (Exception, SystemExit) as error:  # whatever an environment raises
        _say(channel, reason(error))
    channel.close()
    if chunk is not None:
        chunk.close()


def _say(channel: socket.socket, problem: str) -> None:
    """Tell the parent what is wrong, who raises it, and wait until it has gone."""
    with contextlib.suppress(OSError):
        channel.sendall(FAULTY + problem.encode(errors="replace"))
        channel.shutdown(socket.SHUT_WR)
        while channel.recv(1):  # a channel with something unread in it takes what was said along
            pass


def main() -> None:
    """Be what the parent asks for; end without waiting for threads that an environment left."""
    if sys.argv[1:]:
        work(wire.read_text(sys.argv[1].encode(), Part))
    else:
        wire.serve(Describe, describe)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
