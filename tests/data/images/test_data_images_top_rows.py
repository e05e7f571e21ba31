"""JPEGs cut below a row: the same pixels, nothing said, and no cut where it would not be right."""

import io
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from src.data.errors import ImageError
from src.data.images import reading
from src.data.images.reading import check, decode
from src.data.images.top_rows import cut_below
from tests.data.jpegs import header_of, noisy_jpeg

WIDTH, HEIGHT = 70, 150


jpeg = partial(noisy_jpeg, WIDTH, HEIGHT)


def pixels_of(data: bytes, *, half: bool = False) -> NDArray[np.uint8]:
    return decode(data, Path("x.jpg"), half=half)


def top_of(data: bytes, bottom: int, *, half: bool = False) -> tuple[NDArray[np.uint8], int]:
    """Without a decoder of boxes, which would leave nothing to cut."""
    header = header_of(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "decode_box", lambda _data, _header, _box: None)
        box = (0, 0, header.width, bottom)
        pixels, (_, _, _, rows) = reading.decode_part(data, header, Path("x.jpg"), half=half, box=box)
    return pixels, rows


@settings(deadline=None, max_examples=60)
@given(
    bottom=st.integers(1, HEIGHT),
    subsampling=st.sampled_from([0, 1, 2]),
    mode=st.sampled_from(["RGB", "L", "CMYK"]),
    half=st.booleans(),
)
def test_decode_part__gives_the_pixels_of_the_whole_image(bottom: int, subsampling: int, mode: str, half: bool) -> None:
    data = jpeg(mode, subsampling=subsampling)
    top, rows = top_of(data, bottom, half=half)
    whole = pixels_of(data, half=half)
    scale = 2 if half else 1
    assert bottom <= rows <= HEIGHT
    assert len(top) == -(-rows // scale)
    needed = bottom // scale
    np.testing.assert_array_equal(top[:needed], whole[:needed])


def test_cut_below__leaves_out_all_but_a_block_of_what_is_not_needed() -> None:
    data = jpeg(subsampling=2)
    cut, rows = cut_below(data, header_of(data), 40)
    assert rows == 48
    assert header_of(cut).height == 48
    assert len(pixels_of(cut)) == 48


@pytest.mark.parametrize("name", ["progressive", "restarts", "png", "nearly all of it"])
def test_cut_below__leaves_alone_what_it_cannot_or_need_not_cut(name: str) -> None:
    data = jpeg(progressive=name == "progressive", restart_marker_rows=int(name == "restarts"))
    if name == "png":
        stream = io.BytesIO()
        Image.new("RGB", (WIDTH, HEIGHT)).save(stream, "PNG")
        data = stream.getvalue()
    wanted = HEIGHT - 5 if name.startswith("nearly") else 20
    assert cut_below(data, header_of(data), wanted) == (data, HEIGHT)


def test_cut_below__leaves_alone_colours_that_come_in_scans_of_their_own() -> None:
    data = jpeg()
    scan = data.index(b"\xff\xda")
    alone = data[: scan + 4] + b"\x01" + data[scan + 5 :]
    assert cut_below(alone, header_of(alone), 20) == (alone, HEIGHT)


@settings(deadline=None, max_examples=300)
@given(place=st.integers(2, 700), value=st.integers(0, 255), bottom=st.integers(1, HEIGHT))
def test_decode_part__of_a_damaged_header_gives_an_image_error_or_pixels(place: int, value: int, bottom: int) -> None:
    whole = jpeg()
    data = whole[:place] + bytes([value]) + whole[place + 1 :]
    try:
        header = check(data, Path("x.jpg"), expected=None, max_pixels=10**6)
        pixels, rows = top_of(data, min(bottom, header.height))
    except ImageError:
        return
    assert len(pixels) == rows or rows == header.height


@pytest.mark.parametrize(
    "behind", [b"", b"\0" * 9, noisy_jpeg(WIDTH, 40)], ids=["nothing", "padding", "another picture"]
)
def test_decode__of_a_cut_file_says_nothing(behind: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    """libjpeg writes its complaints to the process's standard error, past Python's."""
    data = jpeg(quality=98) + behind
    cut, rows = cut_below(data, header_of(data), 60)
    assert rows < HEIGHT
    np.testing.assert_array_equal(pixels_of(cut)[:60], pixels_of(data)[:60])
    assert capfd.readouterr() == ("", "")


def test_decode__of_a_file_with_fewer_rows_and_its_end_would_complain(capfd: pytest.CaptureFixture[str]) -> None:
    """What the cut end is for; when this fails, it is no longer needed."""
    data = jpeg(quality=98)
    cut, _ = cut_below(data, header_of(data), 60)
    pixels_of(cut + b"\xff\xd9")
    assert "extraneous bytes" in capfd.readouterr().err
