"""JPEGs decoded within a box: OpenCV's pixels, or a word that OpenCV is to do it."""

import multiprocessing
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from src.config.schema.data import AugmentConfig
from src.data.augment.recipe import train_recipe
from src.data.augment.views import random_views
from src.data.images import box_decoder as module
from src.data.images import reading
from src.data.images.box_decoder import Box, box_decoder, decode_box
from src.data.images.reading import decode, decode_part
from tests.data.jpegs import header_of, noisy_jpeg

pytestmark = pytest.mark.skipif(module._plugin() is None, reason="nvImageCodec (extra crops) is not installed")

WIDTH, HEIGHT = 90, 70
KINDS: dict[str, dict[str, int]] = {
    "444": {"subsampling": 0},
    "422": {"subsampling": 1},
    "420": {"subsampling": 2},
    "progressive": {"progressive": 1},
    "restarts": {"restart_marker_blocks": 3},
}


jpeg = partial(noisy_jpeg, WIDTH, HEIGHT)


def cut(data: bytes, box: Box) -> NDArray[np.uint8]:
    left, top, right, bottom = box
    return decode(data, Path("x.jpg"))[top:bottom, left:right]


@settings(deadline=None, max_examples=150)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    columns=st.tuples(st.integers(0, WIDTH), st.integers(0, WIDTH)).filter(lambda pair: pair[0] != pair[1]),
    rows=st.tuples(st.integers(0, HEIGHT), st.integers(0, HEIGHT)).filter(lambda pair: pair[0] != pair[1]),
)
def test_decode_box__gives_opencvs_pixels(kind: str, columns: tuple[int, int], rows: tuple[int, int]) -> None:
    data = jpeg(**KINDS[kind])
    box = (min(columns), min(rows), max(columns), max(rows))
    found = decode_box(data, header_of(data), box)
    if box == (0, 0, WIDTH, HEIGHT):
        assert found is None
        return
    assert found is not None
    np.testing.assert_array_equal(found, cut(data, box))


def test_decode_box__the_files_orientation_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = jpeg(exif=exif)
    box = (10, 5, 80, 30)
    found = decode_box(data, header_of(data), box)
    assert found is not None
    np.testing.assert_array_equal(found, cut(data, box))


@pytest.mark.parametrize("name", ["png", "grey", "CMYK", "whole"])
def test_decode_box__leaves_alone_what_it_is_not_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "box_decoder", lambda: pytest.fail("asked for"))
    data = jpeg({"grey": "L", "CMYK": "CMYK"}.get(name, "RGB"))
    if name == "png":
        data = cv2.imencode(".png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))[1].tobytes()
    box = (0, 0, WIDTH, HEIGHT) if name == "whole" else (0, 0, 20, 20)
    assert decode_box(data, header_of(data), box) is None


def test_decode_part__damaged_files_go_to_opencv_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    """Cut off in the scan, with the end marker put back, as a partial copy of a cache would be; then noise."""
    whole = jpeg(quality=98)
    for data in (whole[:4000] + b"\xff\xd9", whole[:640] + bytes(600) + whole[1240:]):
        header, box = header_of(data), (3, 4, 60, HEIGHT)
        pixels, shown = decode_part(data, header, Path("x.jpg"), half=False, box=box)
        assert pixels.shape == (shown[3] - shown[1], shown[2] - shown[0], 3)
    spoken = capfd.readouterr()
    assert "nvimgcodec" not in spoken.out + spoken.err
    assert "ERROR" not in spoken.out + spoken.err


def test_recipe__paints_the_same_with_and_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = train_recipe(AugmentConfig(crop_min_scale=0.08, brightness=0.2, contrast=0.2), 32, seed=1)
    data = jpeg()
    header = header_of(data)
    keys = [(epoch, 0) for epoch in range(20)]
    views = random_views(
        AugmentConfig(crop_min_scale=0.08, brightness=0.2, contrast=0.2),
        keys,
        np.full((20, 2), (WIDTH, HEIGHT)),
        seed=1,
    )
    painted = []
    for decoder in (decode_box, lambda _data, _header, _box: None):
        monkeypatch.setattr(reading, "decode_box", decoder)
        batch = np.empty((20, 32, 32, 3), np.uint8)
        for i, key in enumerate(keys):
            pixels, shown = decode_part(data, header, Path("x.jpg"), half=False, box=views.box(i))
            recipe.paint(pixels, views, i, batch[i], key=key, shown=shown)
        recipe.finish(dict(enumerate(batch)), views, keys)
        painted.append(batch)
    np.testing.assert_array_equal(*painted)


def _in_a_fork(queue: "multiprocessing.Queue[bool]") -> None:
    data = jpeg()
    found = decode_box(data, header_of(data), (8, 8, 50, 50))
    queue.put(found is not None and np.array_equal(found, cut(data, (8, 8, 50, 50))))


def test_box_decoder__opened_before_a_fork_works_behind_it() -> None:
    assert box_decoder() is not None
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_a_fork, args=(queue,))
    child.start()
    assert queue.get(timeout=60)
    child.join(60)
    assert child.exitcode == 0


def test_box_decoder__says_nothing_starts_no_thread_and_leaves_the_environment_alone() -> None:
    script = (
        "import os, sys\n"
        "from src.data.images.box_decoder import box_decoder\n"
        "before, threads = dict(os.environ), len(os.listdir('/proc/self/task'))\n"
        "decoder = box_decoder()\n"
        "assert decoder(sys.stdin.buffer.read(), (8, 8, 50, 50)).shape == (42, 42, 3)\n"
        "assert dict(os.environ) == before\n"
        "assert len(os.listdir('/proc/self/task')) == threads\n"
    )
    environment = os.environ | {"PYNVIMGCODEC_VERBOSITY": "3"}
    done = subprocess.run(
        [sys.executable, "-c", script], input=jpeg(), capture_output=True, env=environment, check=False, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("reason", ["absent", "other pixels", "another system's"])
def test_box_decoder__is_none_where_it_cannot_be_had_or_trusted(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot_open(_plugin: Path) -> None:
        raise ImportError("wrong ELF class")

    if reason == "absent":
        monkeypatch.setattr(module, "_plugin", lambda: None)
    elif reason == "other pixels":
        monkeypatch.setattr(module, "_open", lambda _plugin: lambda _data, box: np.zeros((27, 35, 3), np.uint8))
    else:
        monkeypatch.setattr(module, "_open", cannot_open)
    assert box_decoder.__wrapped__() is None
