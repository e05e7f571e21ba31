"""Compose toy objects into a cluttered scene, with boxes and areas true to what was drawn."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from src.data.sample.shapes import COLOURS, OUTLINES, Image, Look, Stamp, blend, draw

SIDES = (96, 112, 128, 144, 160)
"""Widths and heights, pixels."""
MIN_VISIBLE = 0.65
"""Share of its own pixels that every object keeps visible."""

_ATTEMPTS = 40
_DULL_COLOURS = ("grey", "beige", "olive", "slate")
_BRIGHT_CLUTTER = 0.15
"""Share of the clutter in the classes' colours: there, only the shape tells that it is no class."""


@dataclass(frozen=True, slots=True)
class Request:
    """One object, or one crowd of objects, that a scene is asked to hold."""

    class_idx: int
    look: Look
    crowd: bool = False


@dataclass(frozen=True, slots=True)
class Placed:
    """What was drawn for a request: box x, y, w, h in pixels and area in pixels, before occlusion."""

    class_idx: int
    crowd: bool
    box: tuple[int, int, int, int]
    area: int


class Canvas:
    """An image under construction that knows which object owns each pixel."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self._owner = np.zeros(image.shape[:2], np.int32)
        self._areas = [1]
        self._visible = [1]

    @property
    def size(self) -> tuple[int, int]:
        """Width, height."""
        return self.image.shape[1], self.image.shape[0]

    def hides_too_much(self, stamps: list[Stamp]) -> bool:
        """Whether painting ``stamps`` would leave an object less than MIN_VISIBLE of its pixels."""
        lost = np.zeros(len(self._areas), np.int64)
        for stamp in stamps:
            lost += np.bincount(self._owner[stamp.window][stamp.solid], minlength=len(lost))
        lost[0] = 0
        return bool((np.array(self._visible) - lost < MIN_VISIBLE * np.array(self._areas)).any())

    def paint(self, stamps: list[Stamp], *, owned: bool) -> None:
        """Paint ``stamps`` as one object (``owned``) or as clutter that belongs to nobody."""
        index = len(self._areas) if owned else 0
        for stamp in stamps:
            blend(self.image, stamp)
            self._owner[stamp.window][stamp.solid] = index
        if owned:
            self._areas.append(int((self._owner == index).sum()))
        self._visible = np.bincount(self._owner.ravel(), minlength=len(self._areas)).tolist()
        self._visible[0] = 1

    def outline(self, index: int) -> tuple[tuple[int, int, int, int], int]:
        """Box x, y, w, h and area of the object painted last; ``index`` is its number from 1."""
        rows, columns = np.nonzero(self._owner == index)
        left, top = int(columns.min()), int(rows.min())
        return (left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1), len(rows)

    @property
    def last(self) -> int:
        """Number of the object painted last, from 1."""
        return len(self._areas) - 1


def background(rng: np.random.Generator, size: tuple[int, int]) -> Image:
    """Muted, uneven ground with a few lines, uint8 [h, w, 3]."""
    base = rng.uniform(90, 170)
    grid = base + rng.normal(0, 18, (4, 4, 1)) + rng.normal(0, 5, (4, 4, 3)) + rng.normal(0, 6, 3)
    ground = cv2.resize(grid.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    image: Image = np.clip(ground, 0, 255).astype(np.uint8)
    for _ in range(rng.integers(0, 4)):
        ends = (rng.random((2, 2)) * size).astype(int)
        shade = np.clip(base + rng.normal(0, 40) + rng.normal(0, 12, 3), 0, 255).tolist()
        cv2.line(image, ends[0].tolist(), ends[1].tolist(), shade, int(rng.integers(1, 4)), cv2.LINE_AA)
    return image


def grain(rng: np.random.Generator, image: Image, bank: NDArray[np.int16]) -> Image:
    """Add sensor noise: a random window of ``bank`` (int16 [H, W, 3]), scaled."""
    height, width = image.shape[:2]
    top, left = rng.integers(0, bank.shape[0] - height), rng.integers(0, bank.shape[1] - width)
    noisy = image + bank[top : top + height, left : left + width] * np.int16(rng.integers(0, 4))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _stamps(request: Request, rng: np.random.Generator, size: tuple[int, int], shrink: float) -> list[Stamp]:
    """One try at drawing ``request`` at a random place; a crowd is a heap of small copies."""
    short = min(size)
    radius = shrink * short * rng.uniform(0.2, 0.3) * (0.55 if request.crowd else 1.0)
    margin = radius * (2.2 if request.crowd else 0.8)
    centre = rng.uniform((margin, margin), (size[0] - margin, size[1] - margin))
    offsets = rng.normal(0, 1.6 * radius, (int(rng.integers(8, 13)), 2)) if request.crowd else np.zeros((1, 2))
    drawn = (
        draw(
            request.look,
            centre=(float(x), float(y)),
            radius=radius * rng.uniform(0.85, 1.15),
            angle=rng.normal(0, 0.35),
            size=size,
            rng=rng,
        )
        for x, y in centre + offsets
    )
    return [stamp for stamp in drawn if stamp is not None and stamp.solid.any()]


def place(canvas: Canvas, request: Request, rng: np.random.Generator) -> Placed | None:
    """Draw ``request`` where it hides no earlier object; smaller from try to try.

    Returns:
        What was drawn, or None where no place was left.
    """
    for attempt in range(_ATTEMPTS):
        stamps = _stamps(request, rng, canvas.size, shrink=1 - 0.012 * attempt)
        if stamps and not canvas.hides_too_much(stamps):
            canvas.paint(stamps, owned=True)
            box, area = canvas.outline(canvas.last)
            return Placed(request.class_idx, request.crowd, box, area)
    return None


def clutter(canvas: Canvas, rng: np.random.Generator, taken: frozenset[tuple[str, str]]) -> None:
    """Draw one shape in a colour that together are no class; skipped where it would hide an object."""
    shape = str(rng.choice(list(OUTLINES)))
    colour = str(rng.choice(list(COLOURS) if rng.random() < _BRIGHT_CLUTTER else _DULL_COLOURS))
    if (shape, colour) in taken:
        return
    stamps = _stamps(Request(-1, Look(shape, colour)), rng, canvas.size, shrink=rng.uniform(0.3, 0.9))
    if stamps and not canvas.hides_too_much(stamps):
        canvas.paint(stamps, owned=False)


def compose(
    requests: list[Request],
    rng: np.random.Generator,
    *,
    taken: frozenset[tuple[str, str]],
    bank: NDArray[np.int16],
) -> tuple[Image, list[Placed]]:
    """Draw a scene.

    Args:
        requests: what it holds, drawn in this order (later ones lie on top).
        rng: source of everything random.
        taken: (shape, colour) pairs that are classes and so no clutter.
        bank: noise to take the grain from, int16 [H, W, 3].

    Returns:
        RGB image uint8 [h, w, 3] with sides out of SIDES, and what was placed.
    """
    width, height = (int(side) for side in rng.choice(SIDES, 2))
    canvas = Canvas(background(rng, (width, height)))
    for _ in range(rng.integers(0, 3)):
        clutter(canvas, rng, taken)
    placed = [place(canvas, request, rng) for request in requests]
    for _ in range(rng.integers(0, 2)):
        clutter(canvas, rng, taken)
    return grain(rng, canvas.image, bank), [found for found in placed if found is not None]
