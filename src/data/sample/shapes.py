"""Toy objects as outlines and fills: what the built-in sample is drawn with.

An outline is a list of closed contours in a frame whose unit is the object's radius; holes follow from the even-odd
rule. Shapes and colours are shared between classes, so neither alone tells a class.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Points = NDArray[np.float32]
Mask = NDArray[np.bool_]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (224, 32, 36),
    "blue": (28, 72, 220),
    "green": (36, 168, 52),
    "yellow": (250, 216, 30),
    "orange": (248, 128, 16),
    "purple": (108, 36, 168),
    "pink": (240, 60, 196),
    "cyan": (24, 204, 224),
    "white": (246, 246, 244),
    "brown": (124, 78, 44),
    "black": (18, 18, 22),
    "grey": (128, 128, 132),
    "beige": (200, 184, 150),
    "olive": (112, 112, 60),
    "slate": (72, 92, 110),
}
"""Name to RGB, 0..255."""

_SUBPIXEL_BITS = 4


@dataclass(frozen=True, slots=True)
class Look:
    """How one kind of object is drawn."""

    shape: str
    """Key of OUTLINES."""
    colour: str
    """Key of COLOURS."""
    texture: str = "solid"
    """solid | stripes | dots | checks."""
    second: str = "white"
    """The texture's other colour."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """One object, drawn but not yet on the canvas.

    ``left`` and ``top`` place ``alpha`` (uint8 [h, w], antialiased coverage) and ``fill`` (uint8 [h, w, 3]) on it.
    """

    left: int
    top: int
    alpha: Image
    fill: Image

    @property
    def solid(self) -> Mask:
        """Pixels that belong to the object, bool [h, w]."""
        return self.alpha > 127

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the canvas that the stamp covers."""
        height, width = self.alpha.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def _polar(radii: list[float], *, start: float = -90.0) -> Points:
    """Closed contour through ``radii`` at equal angles, the first at ``start`` degrees (-90 is up)."""
    angles = np.deg2rad(start + np.arange(len(radii)) * 360.0 / len(radii))
    circle = np.stack([np.cos(angles), np.sin(angles)], 1)
    return np.asarray(circle * np.array(radii)[:, None], np.float32)


def _wavy(lobes: int, depth: float, *, points: int = 48) -> Points:
    """Circle whose radius swings ``lobes`` times by ``depth``."""
    angles = np.arange(points) * 2 * np.pi / points
    return _polar(list((1 + depth * np.cos(lobes * angles)) / (1 + depth)))


def _heart() -> Points:
    t = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x / 17, (y - 2) / 17], 1).astype(np.float32)


def _leaf() -> Points:
    t = np.linspace(-1, 1, 15)
    bulge = 0.5 * (1 - t**2)
    x, y = np.concatenate([bulge, -bulge[-2:0:-1]]), np.concatenate([t, t[-2:0:-1]])
    return np.stack([x, y], 1).astype(np.float32)


def _crescent() -> Points:
    outer = np.linspace(0.22 * np.pi, 1.78 * np.pi, 24)
    end = np.array([np.cos(outer[0]), np.sin(outer[0])])
    centre = np.array([0.55, 0.0])
    span = np.arctan2(*(end - centre)[::-1])
    inner = np.linspace(-span, span - 2 * np.pi, 18)[1:-1] % (2 * np.pi)
    radius = np.linalg.norm(end - centre)
    arc = centre + radius * np.stack([np.cos(inner), np.sin(inner)], 1)
    return np.concatenate([np.stack([np.cos(outer), np.sin(outer)], 1), arc]).astype(np.float32)


def _drop() -> Points:
    t = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    return np.stack([0.62 * np.sin(t) * np.sin(t / 2) ** 1.2, -np.cos(t)], 1).astype(np.float32)


def _points(*xy: float) -> Points:
    return np.array(xy, np.float32).reshape(-1, 2)


def _plus(arm: float) -> Points:
    quarter = [(-arm, -1.0), (arm, -1.0), (arm, -arm)]
    turns = [quarter, [(-y, x) for x, y in quarter], [(-x, -y) for x, y in quarter], [(y, -x) for x, y in quarter]]
    return np.array(turns, np.float32).reshape(-1, 2)


OUTLINES: dict[str, list[Points]] = {
    "disc": [_polar([1.0] * 32)],
    "ring": [_polar([1.0] * 32), _polar([0.52] * 24)],
    "square": [_polar([1.0] * 4, start=-45)],
    "rectangle": [_points(-1, -0.52, 1, -0.52, 1, 0.52, -1, 0.52)],
    "triangle": [_points(0, -1, 0.88, 0.8, -0.88, 0.8)],
    "rhombus": [_points(0, -1, 0.68, 0, 0, 1, -0.68, 0)],
    "hexagon": [_polar([1.0] * 6)],
    "house": [_points(0, -1, 0.85, -0.2, 0.85, 0.85, -0.85, 0.85, -0.85, -0.2)],
    "star": [_polar([1.0, 0.42] * 5)],
    "cross": [_plus(0.3)],
    "arrow": [_points(0, -1, 0.8, -0.1, 0.32, -0.1, 0.32, 1, -0.32, 1, -0.32, -0.1, -0.8, -0.1)],
    "bolt": [_points(0.25, -1, -0.6, 0.15, -0.05, 0.15, -0.3, 1, 0.6, -0.25, 0.05, -0.25, 0.55, -1)],
    "heart": [_heart()],
    "leaf": [_leaf()],
    "crescent": [_crescent()],
    "drop": [_drop()],
    "flower": [_wavy(5, 0.3)],
    "cloud": [_wavy(3, 0.2) * np.array([1.0, 0.72], np.float32)],
    "gear": [_polar([1.0, 1.0, 0.72, 0.72] * 8), _polar([0.3] * 12)],
    "clover": [_wavy(4, 0.45)],
    "bowtie": [_points(-1, -0.7, 0, -0.12, 1, -0.7, 1, 0.7, 0, 0.12, -1, 0.7)],
}
"""Shape name to contours, float32 [n, 2] as x, y; y points down."""


def _texture(kind: str, u: Points, v: Points) -> Mask:
    """Where the second colour shows, bool [h, w]; ``u`` and ``v`` are object coordinates in radii."""
    if kind == "stripes":
        parity = np.floor(u * 2.5) % 2
    elif kind == "checks":
        parity = (np.floor(u * 2.2) + np.floor(v * 2.2)) % 2
    else:
        parity = np.hypot((u * 2) % 1 - 0.5, (v * 2) % 1 - 0.5) > 0.265
    return np.asarray(parity == 0, bool)


def draw(
    look: Look,
    *,
    centre: tuple[float, float],
    radius: float,
    angle: float,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> Stamp | None:
    """Draw one object.

    Args:
        look: shape, colours and texture.
        centre: x, y of the object's frame, pixels.
        radius: pixels per unit of the outline.
        angle: rotation, radians.
        size: width, height of the canvas; what lies outside is cut off.
        rng: source of the colour's variation.

    Returns:
        The stamp, or None where the object lies outside the canvas.
    """
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, sin], [-sin, cos]], np.float32) * np.float32(radius)
    contours = [outline @ turn + np.array(centre, np.float32) for outline in OUTLINES[look.shape]]
    low, high = contours[0].min(0), contours[0].max(0)
    left, top = max(int(low[0]) - 1, 0), max(int(low[1]) - 1, 0)
    right, bottom = min(int(high[0]) + 2, size[0]), min(int(high[1]) + 2, size[1])
    if right - left < 2 or bottom - top < 2:
        return None
    alpha = np.zeros((bottom - top, right - left), np.uint8)
    offset, scale = np.array([left, top], np.float32), 1 << _SUBPIXEL_BITS
    fixed = [np.rint((contour - offset) * scale).astype(np.int32) for contour in contours]
    cv2.fillPoly(alpha, fixed, 255, lineType=cv2.LINE_AA, shift=_SUBPIXEL_BITS)

    shade = rng.uniform(0.85, 1.08)
    tint = rng.normal(0, 8, 3)
    first = np.clip(np.array(COLOURS[look.colour]) * shade + tint, 0, 255).astype(np.uint8)
    fill = np.empty((*alpha.shape, 3), np.uint8)
    fill[:] = first
    if look.texture != "solid":
        y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
        x, y = (x - centre[0]) / radius, (y - centre[1]) / radius
        second = np.clip(np.array(COLOURS[look.second]) * shade + tint, 0, 255).astype(np.uint8)
        fill[_texture(look.texture, x * cos + y * sin, y * cos - x * sin)] = second
    return Stamp(left, top, alpha, fill)


def blend(canvas: Image, stamp: Stamp) -> None:
    """Paint ``stamp`` over ``canvas`` (uint8 [H, W, 3]) in place."""
    region = canvas[stamp.window]
    weight = stamp.alpha[..., None].astype(np.uint16)
    region[:] = (stamp.fill * weight + region * (255 - weight) + 127) // 255
