"""The parent's side of a video: choose the episodes, ask a clean process, check its answer."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.confinement import sandbox
from harness.contract import wire
from harness.contract.messages import Refusal
from harness.errors import InputError, PolicyError, StorageError
from harness.measurement import scoring
from harness.measurement.exchange import in_a_line
from harness.measurement.scoring import Place
from harness.morning import opengl
from harness.morning.script import Film, Script, Shoot, Undrawable
from harness.record.runs import Record

MAX_SECONDS = 30.0
"""Of a video at most: a task's full episode at a pace that can still be followed."""

VIDEO_WIDTH, NARROWEST, WIDEST = 960, 240, 3840
"""Pixels of a video: as it is, and what is accepted."""

RENDER_LIMIT = 1800.0
"""Seconds for all of it: fifteen times what HalfCheetah takes on two cores without a GPU."""

MP4, GIF = "video.mp4", "video.gif"
"""In the run's folder."""


@dataclasses.dataclass(frozen=True)
class Video:
    """A video in a run's folder.

    Attributes:
      mp4: H.264.
      gif: its first seconds.
      episodes: number in the evaluation, by title (`best`, `median`, `worst`).
      recorded: the return that the record holds, by title.
      replayed: the return of the episode in the video, by title.
      seconds: length.
      speed: against the environment's own time.
    """

    mp4: Path
    gif: Path
    episodes: dict[str, int]
    recorded: dict[str, float]
    replayed: dict[str, float]
    seconds: float
    speed: float

    @property
    def exact(self) -> bool:
        """Whether the video shows the recorded episodes, to the last bit of their returns."""
        return self.replayed == self.recorded


def render(root: Path, run_id: str, seconds: float = MAX_SECONDS, width: int = VIDEO_WIDTH) -> Path:
    """Make the video of a run, in place of an earlier one.

    Args:
      root: the checkout.
      run_id: of a run that has a score.
      seconds: length at most; longer episodes are played faster.
      width: pixels.

    Returns:
      The path of the mp4; a gif is beside it.

    Raises:
      InputError: there is no such run, its task cannot be drawn, or nothing here can draw.
      PolicyError: the policy is refused, or fails.
      StorageError: the run's folder cannot be written.
    """
    return make(root, run_id, seconds, width).mp4


def make(root: Path, run_id: str, seconds: float = MAX_SECONDS, width: int = VIDEO_WIDTH) -> Video:
    """`render`, and what is to be told of it."""
    if not (seconds > 0 and NARROWEST <= width <= WIDEST):
        raise InputError(
            f"A video of {seconds:g} seconds and {width} pixels cannot be made; seconds are above "
            f"0, and the width is {NARROWEST} to {WIDEST}."
        )
    record = Record.load(root, run_id)
    policy, *others = record.policies
    of_several = f", policy 1 of {1 + len(others)}" if others else ""
    episodes = choose(policy.returns)
    place = Place(root, sandbox.as_safe_as(record.details["sandbox"]))
    try:
        way, no_opengl = opengl.find(place.confinement), None
    except InputError as error:  # only MuJoCo needs it: the process that knows the task decides
        way, no_opengl = opengl.OFF, str(error)
    script = Script(
        task=record.details["task"],
        seeds=policy.seeds,
        returns=policy.returns,
        roles=episodes,
        seconds=seconds,
        width=width // 2 * 2,
        footer=f"{record.details['task']}  ·  run {run_id}{of_several}",
        no_opengl=no_opengl,
    )
    artifact = policy.artifact()
    question = Shoot(len(artifact.program), len(artifact.params))
    payload = artifact.program + artifact.params + wire.text(script)
    answer, files = scoring.run_apart(
        "harness.morning.film", (wire.header(question), payload), place, RENDER_LIMIT,
        {opengl.VARIABLE: way, "SDL_AUDIODRIVER": "dummy", "SDL_VIDEODRIVER": "dummy"},
        script.task,
    )  # fmt: skip
    told, contents = _checked(answer, files, episodes)
    mp4, gif = (
        _save(content, record.folder / name)
        for name, content in zip((MP4, GIF), contents, strict=True)
    )
    recorded = {title: policy.returns[i] for title, i in episodes.items()}
    return Video(mp4, gif, episodes, recorded, told.replayed, told.seconds, told.speed)


def choose(returns: Sequence[float]) -> dict[str, int]:
    """Best, median and worst episode; of fewer than three episodes, those that there are."""
    order = sorted(range(len(returns)), key=lambda i: returns[i])
    if len(order) < 3:
        return dict(zip(("best", "worst"), reversed(order), strict=False))
    return {"best": order[-1], "median": order[(len(order) - 1) // 2], "worst": order[0]}


def _checked(
    given: dict[str, Any], files: bytes, episodes: dict[str, int]
) -> tuple[Film, list[bytes]]:
    """What the process says with the video's files, or the error that it says it is."""
    try:
        answer: object = wire.read(given, Film, Refusal, Undrawable)
        if isinstance(answer, Refusal):
            raise PolicyError(in_a_line(answer.reason))
        if isinstance(answer, Undrawable):
            raise InputError(in_a_line(answer.reason))
        assert isinstance(answer, Film)
        if answer.replayed.keys() != episodes.keys():
            raise wire.WireError("a film of other episodes")
        return answer, wire.split(files, answer.mp4_bytes)
    except wire.WireError as error:
        raise PolicyError("The process that draws ended without a video.") from error


def _save(content: bytes, target: Path) -> Path:
    """Put a file into the run's folder, whole or not at all."""
    part = target.with_name(target.name + ".part")
    try:
        part.write_bytes(content)
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StorageError(
            f"{target} cannot be written ({error.strerror}). Free some room, or run from a "
            "checkout that you may write to."
        ) from error
    return target
