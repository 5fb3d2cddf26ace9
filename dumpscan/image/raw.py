"""Raw images: offset in the file = physical address. Nothing in the file says so.

What no other reader recognises may be one, so a few pages spread over the file are looked at:
text, compressed data and tiny files are refused instead of being searched for a kernel in vain.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dumpscan.errors import NotAnImage
from dumpscan.image.holes import data_of
from dumpscan.image.opened import Hints, OpenedImage
from dumpscan.image.physical import U8, FileBytes, FileMemory
from dumpscan.image.source import PAGE, Source
from dumpscan.model import ImageInfo

# Windows XP does not start below 32 MB; far below that nothing is left to analyse.
MIN_RAW = 1 << 20
_SAMPLES = 64
# Any machine's memory has zero-rich pages; compressed or encrypted data has 0.4 % zeros throughout.
_ZERO_SHARE = 0.02


def open_raw(source: Source) -> OpenedImage:
    """Open a file as raw memory. :raises NotAnImage: too small, text, compressed, or only zeros."""
    check_plausible(source)
    pages = source.size // PAGE
    tail = source.size % PAGE
    notes = (f"the last page is cut off after {tail} bytes",) if tail else ()
    info = ImageInfo(
        path=str(source.path),
        format="raw",
        bytes=source.size,
        bytes_expected=(pages + 1) * PAGE if tail else source.size,
        pages_present=pages,
        pages_expected=pages + bool(tail),
        truncated=bool(tail),
        description="raw memory image (file offset = physical address)",
        notes=notes,
    )
    return OpenedImage(source.path, info, Hints(), flat_memory(source.data))


def flat_memory(data: FileBytes, page_size: int = PAGE) -> FileMemory:
    """Memory where the offset in ``data`` is the physical address."""
    one = np.array([len(data) // page_size], np.int64)
    return FileMemory(data, np.zeros(1, np.int64), one, np.zeros(1, np.int64), page_size)


def check_plausible(source: Source) -> None:
    """:raises NotAnImage: this cannot be the memory of a machine."""
    name = source.path.name
    if source.size < MIN_RAW:
        if _is_text(source.data[:]):
            raise NotAnImage(f"{name}: a text file, not a memory image")
        raise NotAnImage(
            f"{name}: no known memory image format, and with {source.size} bytes too small for a raw image"
        )
    rows = np.linspace(0, source.size // PAGE - 1, _SAMPLES).astype(np.int64)
    sample, _ = flat_memory(source.data).pages(rows)
    zeros = (sample == 0).mean(axis=1)
    if _is_text(sample.reshape(-1)):
        raise NotAnImage(f"{name}: a text file, not a memory image")
    if zeros.max() < _ZERO_SHARE:
        raise NotAnImage(f"{name}: no known format, and compressed or encrypted throughout; unpack it first")
    if zeros.min() == 1 and not _any_set(source):
        raise NotAnImage(f"{name}: holds nothing but zeros; the capture failed, repeat it")


def _is_text(data: U8) -> bool:
    """Whether 99 % of the bytes are printable or white space (UTF-16 too: every other byte zero)."""
    printable = ((data >= 0x20) & (data < 0x7F)) | ((data >= 9) & (data <= 13))
    share = float(printable.mean())
    zero = float((data == 0).mean())
    return share > 0.99 or (share + zero > 0.99 and share > 0.4)


def _any_set(source: Source) -> bool:
    """Whether any byte is not zero. Holes of a sparse file are not read."""
    held = data_of(Path(source.path), source.size) if isinstance(source.data, np.ndarray) else None
    spans = [(0, source.size)] if held is None else zip(held.start.tolist(), held.end.tolist(), strict=True)
    step = 1 << 24
    return any(
        bool(source.data[at : min(at + step, end)].any())
        for start, end in spans
        for at in range(start, end, step)
    )
