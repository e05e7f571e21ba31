"""Read image files: one decision for every path, and no decoding before the header has been believed.

EXIF rotation is ignored (COCO's boxes refer to the pixels as stored), transparency is dropped, more than 8 bits are
scaled down, grey and CMYK become RGB. What is found cheaply counts as damage: a file that ends early, a header that
disagrees with the annotations, anything the decoder refuses. Bytes flipped inside a JPEG's entropy-coded scan are not
found: libjpeg resynchronises with a warning that OpenCV does not pass on.
"""

import io
import signal
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from src.data.errors import ImageError
from src.data.images.box_decoder import Box, decode_box
from src.data.images.header import Header, read_header
from src.data.images.top_rows import cut_below

_JPEG_START = b"\xff\xd8"
_PNG_START = b"\x89PNG"
_END = {_JPEG_START: b"\xff\xd9", _PNG_START: b"IEND"}
"""What the last bytes hold; neither can stand inside a JPEG's scan, where 0xff is followed by 0."""
_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_HALF = (cv2.IMREAD_REDUCED_COLOR_2 & ~cv2.IMREAD_COLOR) | _FLAGS  # of two orders of channels OpenCV takes one


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of a JPEG or PNG, from its header alone.

    Raises:
        ImageError: no such file, or no readable header.
    """
    try:
        with path.open("rb") as stream:
            header = _header(stream, path)
            return header.width, header.height
    except OSError as error:
        raise ImageError(path, _os_reason(error)) from error


def bytes_size(data: bytes, path: Path) -> tuple[int, int]:
    """As ``image_size``, of bytes already read; ``path`` is what errors call them."""
    header = _header(io.BytesIO(data), path)
    return header.width, header.height


def read_image(
    path: Path, *, expected: tuple[int, int] | None, max_pixels: int, half: bool = False
) -> NDArray[np.uint8]:
    """Decode a JPEG or PNG.

    Args:
        path: the file.
        expected: width, height that the annotations claim; None skips the comparison.
        max_pixels: largest width x height that is decoded at all.
        half: let a JPEG's decoder leave out the upper half of the frequencies in both directions: an image of half the
            size, rounded up, in two thirds of the time; other files come whole.

    Returns:
        RGB, uint8 [H, W, 3], not rotated.

    Raises:
        ImageError: missing, damaged or too large, or another size than ``expected``.
    """
    return decode(read_checked(path, expected=expected, max_pixels=max_pixels)[0], path, half=half)


def read_checked(path: Path, *, expected: tuple[int, int] | None, max_pixels: int) -> tuple[bytes, Header]:
    """The bytes of a JPEG or PNG, and its header, once all is known to be right that shows before decoding.

    Raises:
        ImageError: as ``read_image``, but for damage that only the decoder meets.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(path, _os_reason(error)) from error
    return data, check(data, path, expected=expected, max_pixels=max_pixels)


def check(data: bytes, path: Path, *, expected: tuple[int, int] | None, max_pixels: int) -> Header:
    """What ``read_checked`` looks at, of bytes already read; ``path`` is what errors call them."""
    stream = io.BytesIO(data)
    header = _header(stream, path)
    width, height = header.width, header.height
    if width * height > max_pixels:
        raise ImageError(path, f"{width}x{height} pixels are more than data.max_pixels={max_pixels}")
    if expected is not None and (width, height) != expected:
        raise ImageError(path, f"is {width}x{height}, but the annotations say {expected[0]}x{expected[1]}")
    end = _END[_PNG_START if data.startswith(_PNG_START) else _JPEG_START]
    if data.rfind(end, stream.tell()) < 0:  # behind the header: an EXIF thumbnail has an end of its own
        raise ImageError(path, "the file ends early (incomplete download or copy?)")
    return header


def decode_part(
    data: bytes, header: Header, path: Path, *, half: bool, box: Box | None
) -> tuple[NDArray[np.uint8], Box]:
    """Pixels of what ``read_checked`` gave, of ``box`` or more, and of what of the image they are."""
    rows = header.height
    if box is not None:
        if not half and (pixels := decode_box(data, header, box)) is not None:
            return pixels, box
        data, rows = cut_below(data, header, box[3])
    return decode(data, path, half=half), (0, 0, header.width, rows)


def decode(data: bytes, path: Path, *, half: bool = False) -> NDArray[np.uint8]:
    """Pixels of what ``read_checked`` gave, as ``read_image``."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _HALF if half and data.startswith(_JPEG_START) else _FLAGS)
    except cv2.error as error:
        raise ImageError(path, f"cannot be decoded: {error.err}") from error
    if image is None:
        raise ImageError(path, "cannot be decoded: damaged data")
    return np.asarray(image, np.uint8)


def begin_worker(_worker_id: int = 0) -> None:
    """What a loader process does first.

    OpenCV keeps to one thread: forked pools deadlock and fight over cores. Signals to the whole group, as Ctrl-C,
    ``timeout`` and batch systems send them, are left to the training process, which saves its state before it ends its
    workers; a worker that died of one would end the run as failed.
    """
    cv2.setNumThreads(0)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _os_reason(error: OSError) -> str:
    return "no such file" if isinstance(error, FileNotFoundError) else str(error.strerror)


def _header(stream: BinaryIO, path: Path) -> Header:
    """The header, which has a size; leaves ``stream`` within or behind the frame header."""
    start = stream.read(4)
    stream.seek(0)
    if not start:
        raise ImageError(path, "the file is empty (0 bytes)")
    if not start.startswith((_JPEG_START, _PNG_START)):
        raise ImageError(path, f"neither a JPEG nor a PNG (it starts with {start.hex(' ')})")
    header = read_header(stream)
    if header is None or header.width == 0 or header.height == 0:
        raise ImageError(path, "damaged header: it holds no image size")
    return header
