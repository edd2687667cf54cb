"""What a video is to show, and what is told of it: the messages of `video` and `film`."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Shoot:
    """Which policy to film; the payload is its program, its parameters, and a `Script`.

    Attributes:
      program_bytes: of the payload.
      params_bytes: likewise.
    """

    program_bytes: int
    params_bytes: int


@dataclasses.dataclass(frozen=True)
class Script:
    """What is to be shown.

    Attributes:
      task: its id.
      seeds: of all episodes of the evaluation.
      returns: of all episodes, as they were recorded.
      roles: title and episode of each panel, from left to right.
      seconds: length of the video at most; longer episodes are played faster.
      width: pixels of the video.
      footer: what to say below.
      no_opengl: why MuJoCo cannot draw here, or None.
    """

    task: str
    seeds: list[int]
    returns: list[float]
    roles: dict[str, int]
    seconds: float
    width: int
    footer: str
    no_opengl: str | None


@dataclasses.dataclass(frozen=True)
class Film:
    """What was made; the payload is the video and the animation.

    Attributes:
      replayed: the returns of the episodes as they were played, by title.
      seconds: length.
      speed: against the environment's own time.
      mp4_bytes: of the payload.
    """

    replayed: dict[str, float]
    seconds: float
    speed: float
    mp4_bytes: int


@dataclasses.dataclass(frozen=True)
class Undrawable:
    """Why the task cannot be drawn, in words."""

    reason: str
