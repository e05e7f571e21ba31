"""JPEGs cut below a row: crops that end above the last row leave a part of the decoder's work undone.

A scan is one stream that can only be read from its beginning, so what lies above and beside a crop must be decoded;
what lies below need not. A frame header (ITU-T T.81, B.2.2) that names fewer rows makes a decoder stop there, with the
same pixels: crops from 8 % of the area end at 0.86 of the height in the mean, and decoding takes 0.84 of the time. The
end-of-image marker goes too, for a decoder that finds it behind bytes it did not expect complains about each image.
"""

import stringzilla

from src.data.images.header import Header

_START_OF_SCAN, _END_OF_IMAGE, _RESTARTS = b"\xff\xda", b"\xff\xd9", b"\xff\xdd"
_SEQUENTIAL = (0xC0, 0xC1)
"""Frames of one pass over the image, Huffman-coded; progressive ones go over it several times."""
_WORTHWHILE = 0.95
"""Of the height: above that, copying the file costs what it saves."""


def cut_below(data: bytes, header: Header, bottom: int) -> tuple[bytes, int]:
    """A file of the upper rows alone, and how many there are; the file itself where that cannot or need not be.

    Args:
        data: an image file.
        header: its own.
        bottom: rows that are needed; at least these stay, and the pixels of these stay what they are.
    """
    block, scan = _block(data, header), data.find(_START_OF_SCAN, header.frame)
    if not block or scan < 0:
        return data, header.height
    rows = -(-(bottom + 1) // block) * block  # a row to spare: colours of the last are mixed with those below
    alone = data[scan + 4 : scan + 5] != data[header.frame + 5 : header.frame + 6]  # colours in scans of their own
    restarts = data.find(_RESTARTS, 0, scan) >= 0  # markers within the scan, which would be complained about
    if rows > _WORTHWHILE * header.height or alone or restarts:
        return data, header.height
    end = stringzilla.find(data, _END_OF_IMAGE, scan)  # bytes.find takes 0.1 ms for it
    if end < 0:
        return data, header.height
    at = header.frame + 1
    return b"".join((data[:at], rows.to_bytes(2), data[at + 2 : end])), rows


def _block(data: bytes, header: Header) -> int:
    """Rows that are coded together; 0 where the file cannot be cut."""
    if header.format != "JPEG" or data[header.frame - 3] not in _SEQUENTIAL:
        return 0
    sampling = data[header.frame + 7 : header.frame + 6 + 3 * data[header.frame + 5] : 3]
    return 8 * max((factors & 15 for factors in sampling), default=0)
