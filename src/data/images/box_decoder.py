"""JPEGs decoded within a box alone, by NVIDIA's nvImageCodec on the CPU, where it is installed (extra ``crops``).

The Huffman code has to be read from the scan's beginning; transform and colours are what a box saves. The pixels are
those of OpenCV, since both use libjpeg-turbo's accurate transform, so that a run is the same whether the library is
there or not; each process that opens it makes sure of that with one picture.
"""

import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from src.data.images.header import Header

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels of the original; right and bottom are outside."""

_PLUGIN = "libjpeg_turbo_ext.so*"
"""The one of its plugins that is needed; those of CUDA complain, past its own log, of libraries that are not there."""


BoxDecoder = Callable[[bytes, Box], NDArray[np.uint8] | None]
"""From a JPEG and a box to RGB, uint8; None where the data are damaged or not understood."""


def decode_box(data: bytes, header: Header, box: Box) -> NDArray[np.uint8] | None:
    """Pixels of a box of a JPEG in three colours; None leaves the file to OpenCV."""
    left, top, right, bottom = box
    is_whole = (right - left) * (bottom - top) == header.width * header.height
    if is_whole or header.format != "JPEG" or header.colour != "RGB" or header.bits != 8:
        return None
    decoder = box_decoder()
    return decoder(data, box) if decoder else None


@cache
def box_decoder() -> BoxDecoder | None:
    """The decoder, which starts no threads and so survives a fork; None where there is none, or not the same one."""
    plugin = _plugin()
    if plugin is None:
        return None
    try:
        decoder = _open(plugin)
        return decoder if _agrees_with_opencv(decoder) else None
    except (ImportError, RuntimeError, OSError):  # built for another system, or nowhere to put a link to it
        return None


def _open(plugin: Path) -> BoxDecoder:
    with _quietly(plugin):
        from nvidia import nvimgcodec as codec
    backends = [codec.Backend(codec.BackendKind.CPU_ONLY)]
    decoder = codec.Decoder(device_id=codec.NVIMGCODEC_DEVICE_CPU_ONLY, max_num_cpu_threads=1, backends=backends)
    params = codec.DecodeParams(apply_exif_orientation=False, sample_format=codec.SampleFormat.I_RGB)

    def decode(data: bytes, box: Box) -> NDArray[np.uint8] | None:
        left, top, right, bottom = box
        try:
            stream = codec.CodeStream(data).get_sub_code_stream(region=codec.Region(top, left, bottom, right))
        except RuntimeError:  # a header that its parser does not take
            return None
        image: Any = decoder.decode(stream, params=params)
        return None if image is None else np.asarray(image.cpu(), np.uint8)

    return decode


def _agrees_with_opencv(decoder: BoxDecoder) -> bool:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    data = cv2.imencode(".jpg", pixels)[1]
    whole = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB))
    part = decoder(data.tobytes(), (5, 3, 40, 30))
    return part is not None and np.array_equal(part, whole[3:30, 5:40])


def _plugin() -> Path | None:
    """The JPEG plugin of an installed nvImageCodec."""
    try:
        spec = importlib.util.find_spec("nvidia.nvimgcodec")
    except ModuleNotFoundError:  # there is no package of that maker at all
        return None
    places = (spec.submodule_search_locations or []) if spec else []
    return next((path for place in places for path in Path(place, "extensions").glob(_PLUGIN)), None)


@contextmanager
def _quietly(plugin: Path) -> Iterator[None]:
    """Where nvImageCodec is imported: with this plugin alone, and without a word about single images."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, plugin.name).symlink_to(plugin)
        os.environ |= {"NVIMGCODEC_EXTENSIONS_PATH": folder, "PYNVIMGCODEC_VERBOSITY": "0"}
        try:
            yield
        finally:
            for name in ("NVIMGCODEC_EXTENSIONS_PATH", "PYNVIMGCODEC_VERBOSITY"):
                os.environ.pop(name)
                if name in before:
                    os.environ[name] = before[name]
