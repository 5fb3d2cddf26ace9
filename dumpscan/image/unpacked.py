"""Memory that a container holds as one compressed stream: unpacked once into a file without a name.

The file takes the unpacked size in the temporary folder (blocks of zeros stay holes) and goes with
the last use of it. Sizes are those that were unpacked, within the limits of archives, never those claimed.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from dumpscan.errors import DamagedImage, UnsupportedImage
from dumpscan.image.source import Source, map_file

_CHUNK = 1 << 18


def unpacked(source: Source, at: int, kind: str) -> Source:
    """What the stream at file offset ``at`` unpacks to, under the file's own name.

    ``kind`` is gzip, bzip2, xz or zstd, or ``zlib``: one zlib or gzip stream with other data behind it.

    :raises DamagedImage: damaged, or it unpacks beyond the limits. :raises UnreadableFile: no room.
    :raises UnsupportedImage: a remote file, or the library of this kind is not installed.
    """
    from dumpscan.image.scratch import scratch_folder, write_sparse
    from dumpscan.image.unpack import Limits, translated

    name = source.path.name
    if not isinstance(source.path, Path):
        raise UnsupportedImage(
            f"{source.path}: its memory is compressed as a whole and not read in place; download it first"
        )
    if at >= source.size:
        raise DamagedImage(
            f"{name}: the compressed memory begins at file offset {at:#x}, but the file ends at "
            f"{source.size:#x}; it is cut off or its header is damaged, copy it again"
        )
    limits = Limits()
    most = min(limits.max_bytes, limits.most(source.size))
    with scratch_folder() as folder, translated(name), source.path.open("rb") as packed:
        packed.seek(at)
        with _plain(packed, kind, name, most) as stream:
            write_sparse(stream, folder / "memory", most, name)
        return Source(source.path, map_file(folder / "memory").data)


@contextmanager
def _plain(packed: BinaryIO, kind: str, name: str, most: int) -> Iterator[BinaryIO]:
    from dumpscan.image.unpack import entries

    if kind == "zlib":
        yield cast(BinaryIO, io.BufferedReader(_Inflated(packed), _CHUNK))
        return
    found = entries(packed, kind, name, most)
    yield next(found).open()


class _Inflated(io.RawIOBase):
    """One zlib or gzip stream, whatever lies behind it. :raises EOFError: the file ends before it does."""

    def __init__(self, packed: BinaryIO) -> None:
        self._packed = packed
        self._engine = zlib.decompressobj(zlib.MAX_WBITS | 32)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        while not self._engine.eof:
            data = self._engine.unconsumed_tail or self._packed.read(_CHUNK)
            out = self._engine.decompress(data, len(buffer))
            if out:
                buffer[: len(out)] = out
                return len(out)
            if not data:
                raise EOFError("ends before its end mark")
        return 0
