"""Image files below a folder; imports nothing heavy, so that a wrong folder is answered at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from src.data.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies in a place.

    Attributes:
        images: JPEGs and PNGs by the ending of their names, in order of their paths; a single file whatever its name.
        names: what they are called in results: relative to the folder, the plain name of a single file.
        passed_over: files with other endings.
    """

    images: Sequence[Path]
    names: Sequence[str]
    passed_over: Sequence[Path]


def list_images(place: Path) -> Listing:
    """The image itself, or every image below a folder, to the bottom; hidden files are left out.

    Raises:
        DataError: no such file or folder, or a folder without images.
    """
    if place.is_file():
        return Listing([place], [place.name], [])
    if not place.is_dir():
        raise DataError(f"input: no file or folder {place}")
    below = sorted(path for path in place.rglob("*") if path.is_file())
    shown = [path for path in below if not any(part.startswith(".") for part in path.relative_to(place).parts)]
    images = [path for path in shown if path.suffix.lower() in SUFFIXES]
    if not images:
        raise DataError(f"input: no image ({', '.join(SUFFIXES)}) below {place}")
    names = [str(path.relative_to(place)) for path in images]
    return Listing(images, names, [path for path in shown if path.suffix.lower() not in SUFFIXES])
