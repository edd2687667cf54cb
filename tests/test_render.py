"""A video shows the episodes that were scored, and says plainly where none can be made."""

import json
import os
import subprocess
import sys

import av
import gymnasium
import numpy as np
import pytest
from PIL import Image

from harness import tasks
from harness.confinement import sandbox
from harness.errors import InputError, PolicyError
from harness.morning import film, opengl, video
from harness.morning.film import Pace
from tests.conftest import ROOT, TRAIN_FILES, command, summary_block

TASKS = ("HalfCheetah-v5", "BipedalWalker-v3")
WIDTH, SECONDS = 480, 2.0
PANELS = 3


def opengl_is_missing():
    try:
        opengl.find(sandbox.available())
    except InputError:
        return True
    return False


needs_opengl = pytest.mark.skipif(
    opengl_is_missing(), reason=f"no OpenGL here: apt-get install {opengl.DEBIAN_PACKAGES}"
)


def without_opengl(folder, *arguments):
    """`python -m harness.render` where MuJoCo is told to draw with what is not there."""
    return subprocess.run(
        [sys.executable, "-m", "harness.render", *arguments],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), "MUJOCO_GL": "nothing"},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A checkout with a scored run of a task, and the run's id; made when first asked for."""
    folder, made = tmp_path_factory.mktemp("scored"), {}

    def run(task):
        if task not in made:
            train = str(TRAIN_FILES / "honest.py")
            done = command(folder, "harness.run", "--task", task, "--train", train,
                           "--budget", "0.5", "--episodes", "3")  # fmt: skip
            made[task] = summary_block(done.stdout)["run_id"]
        return folder, made[task]

    return run


@pytest.fixture(scope="module", params=TASKS)
def filmed(request, scored):
    """A run of each task, its video and what was said of it."""
    if request.param == "HalfCheetah-v5" and opengl_is_missing():
        pytest.skip(f"no OpenGL here: apt-get install {opengl.DEBIAN_PACKAGES}")
    folder, run_id = scored(request.param)
    return folder / "runs" / run_id, video.make(folder, run_id, SECONDS, WIDTH)


def frames(path):
    """A video's pictures, [time, height, width, 3]."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def panels(picture):
    """The parts of a picture, captions and footer left out."""
    height = picture.shape[0]
    return np.array_split(picture[height // 5 : height * 9 // 10], PANELS, axis=1)


@pytest.mark.slow
def test_the_video_shows_the_recorded_episodes_to_the_last_bit(filmed):
    folder, video = filmed
    recorded = json.loads((folder / "summary.json").read_text())["episode_returns"]
    assert video.exact
    assert list(video.replayed.values()) == sorted(recorded, reverse=True)
    assert list(video.replayed) == ["best", "median", "worst"]


@pytest.mark.slow
def test_three_pictures_that_differ_and_are_not_empty_stand_side_by_side(filmed):
    _, video = filmed
    picture = frames(video.mp4)[5]
    assert picture.shape[1] == WIDTH
    parts = [part[:, : WIDTH // PANELS - 8].astype(float) for part in panels(picture)]
    assert all(part.std() > 10 and part.mean() > 10 for part in parts)
    differences = [np.abs(a - b).mean() for a, b in zip(parts, parts[1:], strict=False)]
    assert min(differences) > 1


def test_it_moves_and_its_captions_count(filmed):
    _, video = filmed
    first, last = frames(video.mp4)[[0, -1]].astype(float)
    assert np.abs(panels(first)[0] - panels(last)[0]).mean() > 1
    caption = slice(0, first.shape[0] // 6)
    assert np.abs(first[caption] - last[caption]).mean() > 1


def test_the_video_is_what_browsers_play(filmed):
    _, video = filmed
    with av.open(str(video.mp4)) as container:
        (stream,) = container.streams
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.duration * stream.time_base) == pytest.approx(video.seconds, abs=0.1)
    assert video.seconds <= SECONDS + film.HOLD_SECONDS + 0.2


def test_the_gif_moves_and_is_small(filmed):
    _, video = filmed
    assert video.gif.stat().st_size <= film.GIF_BYTES
    with Image.open(video.gif) as gif:
        assert gif.n_frames > 10


def test_a_gif_that_is_too_large_is_made_smaller(tmp_path, monkeypatch):
    monkeypatch.setattr(film, "GIF_BYTES", 20_000)
    noise = np.random.default_rng(0).integers(0, 255, (4, 100, 200, 3), np.uint8)
    film.write_gif(tmp_path / "noise.gif", [Image.fromarray(frame) for frame in noise], 100)
    assert (tmp_path / "noise.gif").stat().st_size <= 20_000


@needs_opengl
@pytest.mark.parametrize("task", ["HalfCheetah-v5", "Ant-v5"])
def test_how_a_task_is_drawn_changes_nothing_of_its_physics(task):
    script = film.Script(task, [0], [0.0], {"best": 0}, 1.0, 240, "", None)
    drawn, plain = film.make_env(script), gymnasium.make(task)
    for env in (drawn, plain):
        env.reset(seed=3)
        env.action_space.seed(3)
    for _ in range(100):
        one, other = (env.step(env.action_space.sample()) for env in (drawn, plain))
        assert one[0].tolist() == other[0].tolist()
        assert one[1:4] == other[1:4]


@pytest.mark.slow
def test_the_command_says_what_it_made(scored):
    folder, run_id = scored("BipedalWalker-v3")
    done = command(folder, "harness.render", run_id, "--seconds", "0.5", "--width", "241")
    assert done.returncode == 0, done.stderr
    block = summary_block(done.stdout)
    assert block["exact"] == "yes"
    assert block["mp4"].startswith(str(folder / "runs" / run_id / "video.mp4"))


@pytest.mark.slow
def test_without_opengl_mujoco_names_the_packages_and_box2d_does_without(scored):
    folder, run_id = scored("HalfCheetah-v5")
    done = without_opengl(folder, run_id)
    assert done.returncode == 2
    assert "MUJOCO_GL=nothing does not work" in done.stderr
    assert f"apt-get install {opengl.DEBIAN_PACKAGES}" in done.stderr
    assert "Traceback" not in done.stderr
    folder, run_id = scored("BipedalWalker-v3")
    done = without_opengl(folder, run_id, "--seconds", "0.5")
    assert done.returncode == 0, done.stderr


def test_a_run_that_is_not_there_is_told(tmp_path):
    with pytest.raises(InputError, match="There is no folder of a run 'elsewhere'"):
        video.render(tmp_path, "elsewhere")


@pytest.mark.parametrize(("seconds", "width"), [(0.0, 960), (float("nan"), 960), (1.0, 10)])
def test_a_length_or_a_width_that_cannot_be_is_told(tmp_path, seconds, width):
    with pytest.raises(InputError, match="cannot be made"):
        video.render(tmp_path, "any", seconds, width)


@pytest.mark.parametrize("task", ["brax:ant", "playground:CheetahRun"])
def test_a_simulator_that_gymnasium_cannot_draw_is_told(task):
    script = film.Script(task, [0], [0.0], {"best": 0}, 1.0, 240, "", None)
    with pytest.raises(InputError, match=f"{task} cannot be drawn"):
        film.make_env(script)


def test_a_task_without_pictures_is_told():
    gymnasium.register("Unseen-v0", lambda render_mode=None: gymnasium.Env())
    script = film.Script("Unseen-v0", [0], [0.0], {"best": 0}, 1.0, 240, "", None)
    with pytest.raises(InputError, match="rgb_array is needed"):
        film.make_env(script)


def test_a_task_that_gymnasium_does_not_know_is_told(monkeypatch):
    class Unregistered(type(tasks.TASKS["Hopper-v5"])):
        id = "Unregistered-v0"

    monkeypatch.setitem(tasks.TASKS, "Unregistered-v0", Unregistered())
    script = film.Script("Unregistered-v0", [0], [0.0], {"best": 0}, 1.0, 240, "", None)
    with pytest.raises(InputError, match=r"cannot be drawn: .*register the task there"):
        film.make_env(script)


FILM = {"kind": "film", "replayed": {"best": 1.0}, "seconds": 1, "speed": 1, "mp4_bytes": 3}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({}, "without a video"),
        (FILM | {"replayed": []}, "without a video"),
        (FILM | {"replayed": {"worst": 1.0}}, "without a video"),
        (FILM | {"mp4_bytes": -1}, "without a video"),
        (FILM | {"mp4_bytes": 4}, "without a video"),
        (FILM | {"fps": 30}, "without a video"),
        ({"kind": "refusal", "reason": "no\x1b[2J"}, "^no�"),
    ],
)
def test_what_a_hostile_process_says_of_its_video_is_checked(answer, message):
    assert video._checked(FILM, b"mp4", {"best": 0})[1] == [b"mp4", b""]
    with pytest.raises(PolicyError, match=message):
        video._checked(answer, b"mp4", {"best": 0})


@pytest.mark.parametrize(
    ("returns", "episodes"),
    [
        ([5.0, 1.0, 3.0, 4.0, 2.0], {"best": 0, "median": 2, "worst": 1}),
        ([1.0, 2.0], {"best": 1, "worst": 0}),
        ([7.0], {"best": 0}),
    ],
)
def test_best_median_and_worst_go_by_the_recorded_returns(returns, episodes):
    assert video.choose(returns) == episodes


def test_an_episode_is_played_in_its_own_time_where_it_fits_and_faster_where_not():
    assert Pace.of(steps=200, rate=20, seconds=30) == Pace(stride=1, fps=20, speed=1)
    assert Pace.of(steps=1000, rate=125, seconds=30) == Pace(stride=4, fps=31.25, speed=1)
    pace = Pace.of(steps=1000, rate=20, seconds=10)
    assert (pace.stride, pace.speed) == (3, 5)
    assert pace.fps * pace.stride * 10 == pytest.approx(1000)
