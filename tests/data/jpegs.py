"""JPEGs in which every block tells itself from its neighbours."""

import io

import numpy as np
from PIL import Image

from src.data.images.header import Header, read_header


def noisy_jpeg(width: int, height: int, mode: str = "RGB", **options: object) -> bytes:
    """Noise over a slope: neighbouring blocks differ in every channel.

    Args:
        width: pixels.
        height: pixels.
        mode: Pillow's, ``RGB``, ``L`` or ``CMYK``.
        options: of Pillow's JPEG writer.
    """
    rng = np.random.default_rng(3)
    channels = len(Image.new(mode, (1, 1)).getbands())
    slope = np.linspace(0, 200, height)[:, None, None]
    pixels = (slope + rng.integers(0, 56, (height, width, channels))).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels.squeeze(), mode).save(stream, "JPEG", **options)
    return stream.getvalue()


def header_of(data: bytes) -> Header:
    """The header, which there is."""
    header = read_header(io.BytesIO(data))
    assert header is not None
    return header
