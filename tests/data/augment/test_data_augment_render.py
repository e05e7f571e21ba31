"""Rendering against albumentations, with the same parameters."""

import albumentations as A
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.augment.render import render, scaled_box
from src.data.augment.views import Views, plain_views

SIDE = 64


def view(box: tuple[int, int, int, int], *, flip: bool = False) -> Views:
    one = np.ones(1)
    return Views(np.array([box]), np.array([flip]), one, one, np.array([False]))


def rendered(pixels: np.ndarray, views: Views, *, size: tuple[int, int], exact: bool = False) -> np.ndarray:
    out = np.full((SIDE, SIDE, 3), 77, np.uint8)
    render(pixels, views, 0, out, shown=(0, 0, *size), exact=exact)
    return out


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    ("box", "exact"),
    [
        *[(box, exact) for box in [(31, 7, 140, 120), (10, 10, 50, 40), (5, 6, 69, 70)] for exact in (False, True)],
        ((0, 0, 1, 180), False),
        ((0, 0, 240, 180), True),
    ],
)
def test_render__is_bit_for_bit_what_albumentations_makes(photo, box, flip, exact) -> None:
    steps = [
        A.Crop(*box),
        A.Resize(SIDE, SIDE, interpolation=cv2.INTER_LINEAR, area_for_downscale="image" if exact else None),
    ]
    expected = A.Compose([*steps, A.HorizontalFlip(p=float(flip))])(image=photo)["image"]
    np.testing.assert_array_equal(rendered(photo, view(box, flip=flip), size=(240, 180), exact=exact), expected)


@pytest.mark.parametrize("box", [(0, 0, 240, 180), (30, 8, 200, 170), (20, 30, 150, 160), (0, 0, 128, 128)])
def test_render__shrunk_by_more_than_two_averages(box) -> None:
    """Noise that is averaged gets weaker; of smooth images nothing is lost, whatever is done."""
    rng = np.random.default_rng(0)
    left, top, right, bottom = box
    kinds = {
        "noise": rng.integers(0, 256, (180, 240, 3), np.uint8),
        "smooth": cv2.resize(rng.integers(0, 256, (4, 5, 3), np.uint8), (240, 180), interpolation=cv2.INTER_CUBIC),
    }
    found = {name: rendered(image, view(box), size=(240, 180)).astype(float) for name, image in kinds.items()}
    areas = {
        name: cv2.resize(image[top:bottom, left:right], (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(float)
        for name, image in kinds.items()
    }
    assert found["noise"].std() < 1.25 * areas["noise"].std()  # of bilinear alone it is twice as much
    assert np.abs(found["smooth"] - areas["smooth"]).mean() < 2


def test_render__an_exact_half_and_quarter_are_means(photo) -> None:
    for scale in (2, 4):
        side = SIDE * scale
        whole = np.ascontiguousarray(np.tile(photo, (2, 2, 1))[:side, :side])
        expected = whole.reshape(SIDE, scale, SIDE, scale, 3).mean(axis=(1, 3))
        found = rendered(whole, view((0, 0, side, side)), size=(side, side))
        assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("flip", [False, True])
def test_render__of_a_prepared_copy_shows_the_same_part(photo, flip) -> None:
    """A mark in the original is found at the same place of the result, to a pixel."""
    marked = np.zeros_like(photo)
    marked[80:90, 100:110] = 255
    squashed = cv2.resize(marked, (96, 96), interpolation=cv2.INTER_AREA)
    views = view((40, 20, 200, 160), flip=flip)
    places = []
    for pixels in (marked, squashed):
        out = rendered(pixels, views, size=(240, 180))[..., 0].astype(float)
        places.append([(np.indices(out.shape)[axis] * out).sum() / out.sum() for axis in (0, 1)])
    np.testing.assert_allclose(places[0], places[1], atol=1)


def test_render__a_copy_of_the_right_size_is_not_resampled(photo) -> None:
    copy = np.ascontiguousarray(photo[:SIDE, :SIDE])
    views = plain_views(np.array([[0, 0, 240, 180]]))
    np.testing.assert_array_equal(rendered(copy, views, size=(240, 180)), copy)


@given(
    size=st.tuples(st.integers(1, 3000), st.integers(1, 3000)), side=st.integers(1, 600),
    u=st.tuples(*[st.floats(0, 1, exclude_max=True)] * 4),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_scaled_box__is_never_empty_and_never_outside(size, side, u) -> None:
    left, top = int(u[0] * size[0]), int(u[1] * size[1])
    right, bottom = left + 1 + int(u[2] * (size[0] - left - 1)), top + 1 + int(u[3] * (size[1] - top - 1))
    x0, y0, x1, y1 = scaled_box((left, top, right, bottom), (0, 0, *size), (side, side))
    assert 0 <= x0 < x1 <= side
    assert 0 <= y0 < y1 <= side
