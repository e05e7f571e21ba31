"""What an image file says of itself before its first pixel: size, channels, depth, orientation.

JPEG: ITU-T T.81, annex B; orientation: Exif 2.3, tag 0x0112; PNG: ISO/IEC 15948, section 11.
"""

import io
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey+alpha", 6: "RGBA"}
_JPEG_COLOURS = {1: "grey", 3: "RGB", 4: "CMYK"}
_NO_FRAME = frozenset({0xC4, 0xC8, 0xCC})
"""Markers among 0xC0..0xCF that are tables, not frames."""
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a payload."""
_SCAN = 0xDA
_APP1 = 0xE1
_ORIENTATION_TAG = 0x0112


@dataclass(frozen=True, slots=True)
class Header:
    """A JPEG's or PNG's description of itself.

    Attributes:
        format: ``JPEG`` or ``PNG``.
        width: pixels, as stored.
        height: pixels, as stored.
        colour: ``grey``, ``RGB``, ``CMYK``, ``palette``, ``grey+alpha`` or ``RGBA``.
        bits: bits per channel.
        orientation: Exif orientation 1..8; 1 is upright, also where the file does not say.
        frame: where in a JPEG the content of the frame header begins.
    """

    format: str
    width: int
    height: int
    colour: str
    bits: int
    orientation: int
    frame: int = field(default=0, compare=False)

    @property
    def kind(self) -> str:
        """Format, colour and depth in words, e.g. ``PNG grey 16-bit``."""
        depth = "" if self.bits == 8 else f" {self.bits}-bit"
        return f"{self.format} {self.colour}{depth}"


def read_header(stream: BinaryIO) -> Header | None:
    """Header of an open JPEG or PNG; None where it is neither, or ends before it has said its size."""
    start = stream.read(len(_PNG_SIGNATURE))
    if start == _PNG_SIGNATURE:
        return _read_png(stream)
    if start[:2] == b"\xff\xd8":
        stream.seek(2)
        return _read_jpeg(stream)
    return None


def _read_png(stream: BinaryIO) -> Header | None:
    chunk = stream.read(18)
    if len(chunk) < 18 or chunk[4:8] != b"IHDR":
        return None
    width, height = int.from_bytes(chunk[8:12]), int.from_bytes(chunk[12:16])
    colour = _PNG_COLOURS.get(chunk[17], f"colour type {chunk[17]}")
    return Header("PNG", width, height, colour, bits=chunk[16], orientation=1)


def _read_jpeg(stream: BinaryIO) -> Header | None:
    """Walk the segments up to the frame header; the Exif segment, if any, lies before it."""
    orientation = 1
    while True:
        marker = _next_marker(stream)
        if marker is None or marker == _SCAN:
            return None
        if marker in _BARE:
            continue
        length = int.from_bytes(stream.read(2)) - 2
        if length < 0:
            return None
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            place = stream.tell()
            frame = stream.read(6)
            if len(frame) < 6:
                return None
            height, width = int.from_bytes(frame[1:3]), int.from_bytes(frame[3:5])
            colour = _JPEG_COLOURS.get(frame[5], f"{frame[5]} channels")
            return Header("JPEG", width, height, colour, bits=frame[0], orientation=orientation, frame=place)
        if marker == _APP1:
            segment = stream.read(length)
            orientation = _exif_orientation(segment) or orientation
        else:
            stream.seek(length, io.SEEK_CUR)


def _next_marker(stream: BinaryIO) -> int | None:
    """The next segment's marker; None where the file ends or something else stands there."""
    if stream.read(1) != b"\xff":
        return None
    marker = stream.read(1)
    while marker == b"\xff":  # fill bytes
        marker = stream.read(1)
    return marker[0] if marker else None


def _exif_orientation(segment: bytes) -> int | None:
    """Orientation from an APP1 segment; None where it has no valid one."""
    if segment[:6] != b"Exif\0\0" or segment[6:8] not in (b"II", b"MM"):
        return None
    tiff = segment[6:]
    order: Literal["little", "big"] = "little" if tiff[:2] == b"II" else "big"
    directory = int.from_bytes(tiff[4:8], order)
    entries = int.from_bytes(tiff[directory : directory + 2], order)
    for start in range(directory + 2, min(directory + 2 + 12 * entries, len(tiff)), 12):
        if int.from_bytes(tiff[start : start + 2], order) == _ORIENTATION_TAG:
            value = int.from_bytes(tiff[start + 8 : start + 10], order)
            return value if 1 <= value <= 8 else None
    return None
