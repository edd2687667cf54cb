"""The clean process that makes a video: replay an evaluation, play its episodes again, draw them.

`harness.render` starts it and asks it with a policy and a script; it answers
with the video's two files.
"""

import contextlib
import dataclasses
import math
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import gymnasium
import mujoco
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv
from PIL import Image

from harness import tasks
from harness.contract import policy, wire
from harness.contract.artifact import Artifact
from harness.contract.messages import Refusal
from harness.engines import backends
from harness.engines.engine import in_dtype, reason
from harness.errors import HarnessError, InputError, PolicyError
from harness.evaluate import MAX_REFUSAL, Evaluation, evaluate, limit_memory
from harness.morning import panels
from harness.morning.panels import Panel
from harness.morning.script import Film, Script, Shoot, Undrawable
from harness.tasks import BraxTask, Task

MP4, GIF = "video.mp4", "video.gif"

MAX_FPS = 40.0
"""Pictures a second of the video; more cost time and look the same."""

DEFAULT_FPS = 30.0
"""Steps a second of an environment that does not say."""

HOLD_SECONDS = 1.5
"""For which the last picture stands."""

ASPECT = 4 / 3
"""Width by height of MuJoCo's pictures; other environments have their own."""

SHADOW_PIXELS = 1024
"""Of MuJoCo's shadow map. Its default, 4096, takes two thirds of the time without a GPU."""

CAMERA = "track"
"""Of a model, where it has one: it follows the robot. Gymnasium's own choice stands still."""

QUALITY = {"crf": "23", "preset": "medium"}
"""Of H.264, as usual."""

GIF_SECONDS, GIF_FPS, GIF_WIDTH = 8.0, 15.0, 720
"""The GIF is the beginning of the video, with at most so many pictures a second and pixels."""

GIF_BYTES = 3 * 2**20
"""At most; a GIF above it is made smaller, by `GIF_SHRINK` in width as often as it takes."""
GIF_SHRINK = 0.75
GIF_COLOURS = 128


class Take:
    """One episode of Gymnasium's own environment, played from the actions of the evaluation."""

    def __init__(self, env: gymnasium.Env, seed: int, actions: np.ndarray) -> None:
        self._env = env
        self._actions = in_dtype(actions, env.action_space)
        self.step, self.total = 0, 0.0
        env.reset(seed=seed)
        self.frame = self._draw()

    @property
    def over(self) -> bool:
        """Whether the episode has ended."""
        return self.step == len(self._actions)

    def advance(self, step: int) -> None:
        """Play on until so many steps, or the end."""
        if self.over:
            return
        for action in self._actions[self.step : step]:
            self.total += float(self._env.step(action)[1])
            self.step += 1
        self.frame = self._draw()

    def _draw(self) -> np.ndarray:
        # Gymnasium does not do this, and MuJoCo draws into the context that was made last.
        viewer = getattr(getattr(self._env.unwrapped, "mujoco_renderer", None), "viewer", None)
        if viewer is not None:
            viewer.make_context_current()
        try:
            frame: Any = self._env.render()
            height, width, _ = frame.shape
            return frame.reshape(height, width, 3).astype(np.uint8)
        except Exception as error:  # whatever an environment's drawing raises
            raise InputError(f"Drawing the environment failed: {reason(error)}.") from error


def replay(artifact: Artifact, script: Script) -> tuple[Evaluation, np.ndarray]:
    """Evaluate the policy again, as it was evaluated: every episode, from its seed.

    Returns:
      The evaluation, and the applied actions [step, episode, ...] of the script's episodes.
    """
    task = tasks.get(script.task)
    actor = policy.load(artifact, *backends.spaces(task, backends.scoring_engine(task)))
    applied: list[np.ndarray] = []
    shown = list(script.roles.values())
    evaluation = evaluate(
        actor, script.task, script.seeds, watch=lambda actions: applied.append(actions[shown])
    )
    return evaluation, np.array(applied)


def make_env(script: Script) -> gymnasium.Env:
    """Gymnasium's environment of the task, ready to be drawn.

    Raises:
      InputError: it cannot be drawn.
    """
    task: Task = tasks.get(script.task)
    if isinstance(task, BraxTask):
        raise InputError(
            f"{task.id} cannot be drawn: {task.library} simulates itself, and videos are made by "
            "Gymnasium. Its score and its learning curve are in the run's folder."
        )
    try:
        plain = gymnasium.make(task.id, disable_env_checker=True)
    except Exception as error:  # whatever an environment's constructor raises
        raise InputError(
            f"{task.id} cannot be drawn: {reason(error)}. Videos are made by Gymnasium: register "
            "the task there under its id, with the render mode rgb_array."
        ) from error
    modes, by_mujoco = plain.metadata.get("render_modes"), isinstance(plain.unwrapped, MujocoEnv)
    _close(plain)
    if "rgb_array" not in (modes or ()):
        raise InputError(
            f"{task.id} cannot be drawn: its render modes are {modes}, and rgb_array is needed. "
            "Give the environment that mode."
        )
    if by_mujoco and script.no_opengl:
        raise InputError(script.no_opengl)
    env = gymnasium.make(task.id, render_mode="rgb_array", disable_env_checker=True)
    if by_mujoco:
        _prepare(env.unwrapped, script)
    return env


def _close(env: gymnasium.Env) -> None:
    """Close an environment, whatever it says to that: some must have been reset before."""
    with contextlib.suppress(Exception):
        env.close()


def _prepare(env: Any, script: Script) -> None:
    """Set how MuJoCo's pictures look, before the first of them is drawn."""
    width = panels.panel_width(script.width, len(script.roles))
    height = round(width / ASPECT)
    env.mujoco_renderer.width, env.mujoco_renderer.height = width, height
    visual = env.model.vis
    visual.global_.offwidth, visual.global_.offheight = width, height
    visual.quality.shadowsize = SHADOW_PIXELS
    follows = mujoco.mj_name2id(env.model, mujoco.mjtObj.mjOBJ_CAMERA, CAMERA)
    if follows >= 0:
        env.mujoco_renderer.camera_id = follows
        _endless_floor(env.model)


def _endless_floor(model: mujoco.MjModel) -> None:
    """Draw floors as what they are to physics: without an end, which a fast robot would run past.

    A texture is repeated so many times over a floor's sides, and per metre where it has no end.
    """
    for floor in np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE):
        size, material = model.geom_size[floor, :2].copy(), model.geom_matid[floor]
        if size.all() and material >= 0:
            model.mat_texrepeat[material] /= 2 * size
            model.geom_size[floor, :2] = 0


@dataclasses.dataclass(frozen=True)
class Pace:
    """How steps become pictures.

    Attributes:
      stride: environment steps from picture to picture.
      fps: pictures a second.
      speed: of the video against the environment's own time.
    """

    stride: int
    fps: float
    speed: float

    @classmethod
    def of(cls, steps: int, rate: float, seconds: float) -> "Pace":
        """In the environment's own time where that fits, else as fast as it takes.

        Args:
          steps: of the longest episode.
          rate: environment steps a second.
          seconds: of the video at most.
        """
        speed = max(steps / rate / seconds, 1.0)
        stride = math.ceil(rate * speed / MAX_FPS)
        return cls(stride, rate * speed / stride, speed)


def pictures(script: Script, takes: list[Take], pace: Pace, footer: str) -> Iterator[Image.Image]:
    """The video, picture by picture."""
    step = 0
    while True:
        over = all(take.over for take in takes)
        yield panels.compose(
            [
                Panel(
                    title, take.frame, episode, take.step, take.total, script.returns[episode],
                    over=take.over, dimmed=take.over and not over,
                )
                for (title, episode), take in zip(script.roles.items(), takes, strict=True)
            ],
            footer,
            script.width,
        )  # fmt: skip
        if over:
            return
        step += pace.stride
        for take in takes:
            take.advance(step)


class Mp4:
    """An H.264 video that every player and browser can show."""

    def __init__(self, path: Path, fps: float) -> None:
        self._container = av.open(str(path), "w", options={"movflags": "faststart"})
        rate = Fraction(fps).limit_denominator(1000)
        self._stream = self._container.add_stream("libx264", rate, options=QUALITY)
        self._stream.pix_fmt = "yuv420p"
        self._begun = False

    def add(self, picture: Image.Image) -> None:
        """Append a picture."""
        if not self._begun:
            self._stream.width, self._stream.height = picture.size
            self._begun = True
        frame = av.VideoFrame.from_image(picture)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write what is left."""
        self._container.mux(self._stream.encode())
        self._container.close()


def write_gif(path: Path, shots: list[Image.Image], milliseconds: int) -> None:
    """Write an animation of at most `GIF_BYTES`, smaller in width where it must be."""
    while True:
        first, *others = [shot.quantize(GIF_COLOURS, dither=Image.Dither.NONE) for shot in shots]
        first.save(path, save_all=True, append_images=others, duration=milliseconds, loop=0)
        if path.stat().st_size <= GIF_BYTES:
            return
        shots = [_shrunk(shot, round(shot.width * GIF_SHRINK)) for shot in shots]


def _shrunk(picture: Image.Image, width: int) -> Image.Image:
    height = round(picture.height * width / picture.width)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def make(folder: Path, artifact: Artifact, script: Script) -> Film:
    """Make the video, as `MP4` and `GIF` in a folder; what is to be told of it.

    Raises:
      InputError: the task cannot be drawn.
      PolicyError: the policy was refused, or fails.
    """
    shown = list(script.roles.values())
    envs = [make_env(script) for _ in shown]
    evaluation, actions = replay(artifact, script)
    takes = [
        Take(env, script.seeds[i], actions[: evaluation.lengths[i], column])
        for column, (i, env) in enumerate(zip(shown, envs, strict=True))
    ]
    rate = float(envs[0].metadata.get("render_fps") or DEFAULT_FPS)
    pace = Pace.of(max(evaluation.lengths[i] for i in shown), rate, script.seconds)
    footer = script.footer
    if pace.speed > 1:
        footer += f"  ·  {pace.speed:.3g} times as fast"
    if any(evaluation.returns[i] != script.returns[i] for i in shown):
        footer += "  ·  not the recorded returns: another machine"
    movie, shots, every = Mp4(folder / MP4, pace.fps), [], math.ceil(pace.fps / GIF_FPS)
    count = 0
    for picture in pictures(script, takes, pace, footer):
        movie.add(picture)
        if count % every == 0 and count < GIF_SECONDS * pace.fps:
            shots.append(_shrunk(picture, min(GIF_WIDTH, picture.width)))
        count += 1
    hold = math.ceil(HOLD_SECONDS * pace.fps)
    for _ in range(hold):
        movie.add(picture)
    movie.close()
    write_gif(folder / GIF, shots, round(1000 * every / pace.fps))
    for env in envs:
        _close(env)
    return Film(
        replayed={title: take.total for title, take in zip(script.roles, takes, strict=True)},
        seconds=(count + hold) / pace.fps,
        speed=pace.speed,
        mp4_bytes=(folder / MP4).stat().st_size,
    )


def respond(question: Shoot, payload: bytes) -> tuple[Film | Refusal | Undrawable, bytes]:
    """Make the video and give its bytes."""
    program, params, text = wire.split(payload, question.program_bytes, question.params_bytes)
    script = wire.read_text(text, Script)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            told = make(folder, Artifact(program, params), script)
            mp4, gif = ((folder / file).read_bytes() for file in (MP4, GIF))
            if len(mp4) + len(gif) > wire.MAX_PAYLOAD_BYTES:
                raise InputError(f"The video has {len(mp4):,} bytes: give a smaller --width.")
        except PolicyError as error:
            return Refusal(str(error)[:MAX_REFUSAL]), b""
        except HarnessError as error:
            return Undrawable(str(error)[:MAX_REFUSAL]), b""
    return told, mp4 + gif


def main() -> None:
    """`python -m harness.morning.film`, over the channel that it was started with."""
    limit_memory()
    wire.serve(Shoot, respond)


if __name__ == "__main__":
    main()
