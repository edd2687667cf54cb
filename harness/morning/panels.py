"""One picture of a video: episodes side by side, each under a caption of its own.

Captions stand on strips above the pictures, never on them: they can be read whatever is below.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

REFERENCE_WIDTH = 320
"""Pixels of a panel for which the sizes below are; they grow and shrink with it."""

CAPTION, FOOTER, GAP, MARGIN = 58, 24, 4, 10
"""Pixels: heights of the strips, space between panels, space around text."""

LARGE, MEDIUM, SMALL = 24, 17, 12
"""Pixels, of letters."""

BACKGROUND, TEXT, FAINT = (22, 24, 29), (245, 246, 248), (164, 170, 180)

TITLE_COLOURS = {"best": (60, 190, 140), "median": (86, 180, 233), "worst": (240, 160, 40)}
"""By title; near those of Okabe and Ito, which the colour-blind can tell apart."""

DIMMED = 0.6
"""Brightness of an episode that is over while others go on."""


@dataclasses.dataclass
class Panel:
    """What is shown of an episode at one moment.

    Attributes:
      title: one of `TITLE_COLOURS`.
      frame: [height, width, 3] uint8.
      episode: its number in the evaluation.
      step: environment steps so far.
      total: rewards so far.
      final: the recorded return.
      over: whether it has ended.
      dimmed: whether to show the frame darker.
    """

    title: str
    frame: np.ndarray
    episode: int
    step: int
    total: float
    final: float
    over: bool
    dimmed: bool


def panel_width(width: int, count: int) -> int:
    """Pixels of each of `count` panels in a picture of `width`."""
    return (width - GAP * (count - 1)) // count


def compose(panels: Sequence[Panel], footer: str, width: int) -> Image.Image:
    """Draw panels side by side.

    Args:
      panels: from left to right.
      footer: one line below all.
      width: pixels of the whole, at most; both sides are even, as video needs.
    """
    each = panel_width(width, len(panels))
    scale = each / REFERENCE_WIDTH
    caption, strip = round(CAPTION * scale), round(FOOTER * scale)
    rows = max(round(each * panel.frame.shape[0] / panel.frame.shape[1]) for panel in panels)
    size = (width // 2 * 2, (caption + rows + strip + 1) // 2 * 2)
    picture = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(picture)
    for i, panel in enumerate(panels):
        left = i * (each + GAP)
        _caption(draw, panel, left, each, scale)
        height = round(each * panel.frame.shape[0] / panel.frame.shape[1])
        frame = Image.fromarray(panel.frame).resize((each, height), Image.Resampling.LANCZOS)
        if panel.dimmed:
            frame = frame.point(lambda value: int(value * DIMMED))
        picture.paste(frame, (left, caption + (rows - height) // 2))
    position = (round(MARGIN * scale), caption + rows + strip // 2)
    draw.text(position, footer, FAINT, _font(SMALL * scale), anchor="lm")
    return picture


def _caption(draw: ImageDraw.ImageDraw, panel: Panel, left: int, width: int, scale: float) -> None:
    """Title and progress on the left, return so far and recorded return on the right."""
    begin, end = left + round(MARGIN * scale), left + width - round(MARGIN * scale)
    upper, lower = round(28 * scale), round(48 * scale)
    colour = TITLE_COLOURS[panel.title]
    draw.rectangle((left, 0, left + width - 1, max(round(3 * scale), 1)), colour)
    draw.text((begin, upper), panel.title, colour, _font(MEDIUM * scale), anchor="ls")
    draw.text((end, upper), _figure(panel.total), TEXT, _font(LARGE * scale), anchor="rs")
    small = _font(SMALL * scale)
    progress = f"over after {panel.step} steps" if panel.over else f"step {panel.step}"
    draw.text((begin, lower), f"episode {panel.episode} · {progress}", FAINT, small, anchor="ls")
    draw.text((end, lower), f"of {_figure(panel.final)}", FAINT, small, anchor="rs")


def _figure(value: float) -> str:
    return f"{value:,.1f}"


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, which is there on every system; it has letters, hardly any signs."""
    return ImageFont.load_default(max(round(size), 8))
