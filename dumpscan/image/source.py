"""A file under examination: mapped, never read whole, every access checked against its length.

A remote file (``remote.py``) has the same face; its parts are fetched when they are asked for. The
descriptor is closed as soon as the file is mapped; the mapping lives as long as an array over
it does. On Windows the file cannot be deleted until then (see ``OpenedImage.close``).
"""

from __future__ import annotations

import mmap
import os
import stat
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from dumpscan.errors import DamagedImage, NotAnImage, UnreadableFile
from dumpscan.image.layout import Layout
from dumpscan.image.physical import FileBytes
from dumpscan.records import record

PAGE = 4096


@record
class Source:
    """``data`` is the whole file as uint8: mapped read-only, or fetched in parts."""

    path: PurePath
    data: FileBytes

    @property
    def size(self) -> int:
        """Length of the file in bytes."""
        return len(self.data)

    def take(self, offset: int, n: int) -> bytes:
        """Up to ``n`` bytes from ``offset`` on; fewer where the file ends."""
        return self.data[max(offset, 0) : max(offset, 0) + max(n, 0)].tobytes() if offset >= 0 else b""

    def record(self, kind: Layout, offset: int, what: str) -> np.void:
        """One record. :raises DamagedImage: it does not lie wholly in the file."""
        return self.table(kind, offset, 1, what)[0]  # type: ignore[no-any-return]

    def table(self, kind: Layout, offset: int, count: int, what: str) -> np.ndarray[Any, Layout]:
        """``count`` adjacent records, not copied. :raises DamagedImage: as :meth:`record`."""
        end = offset + count * kind.itemsize
        if offset < 0 or count < 0 or end > self.size:
            raise DamagedImage(
                f"{self.path.name}: {what} at file offset {offset:#x} needs {count * kind.itemsize:#x} bytes,"
                f" but the file ends at {self.size:#x}; it is cut off or its header is damaged, copy it again"
            )
        return self.data[offset:end].view(kind)


def is_address(path: object) -> bool:
    """Whether this names a remote file: ``scheme://...``. One letter is a drive, and ``file`` is here."""
    scheme, found, _ = path.partition("://") if isinstance(path, str) else ("", "", "")
    return bool(found) and len(scheme) > 1 and scheme.replace("+", "").isalnum() and scheme != "file"


def map_file(path: Path) -> Source:
    """Map ``path`` read-only.

    :raises UnreadableFile: missing, a directory or device, or no permission.
    :raises NotAnImage: the file is empty.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError) as error:
        raise UnreadableFile(f"{path}: {_reason(path, error)}; give the path of a memory image") from None
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            kind = "a directory" if stat.S_ISDIR(state.st_mode) else "not a regular file"
            raise UnreadableFile(f"{path}: is {kind}; give the path of a memory image")
        if state.st_size == 0:
            raise NotAnImage(f"{path}: the file is empty; copy or capture the image again")
        mapped = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror or error}; copy it to a local disk") from None
    finally:
        os.close(descriptor)
    return Source(path, np.frombuffer(mapped, np.uint8))


def _reason(path: Path, error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, ValueError):
        return "is not a valid path"
    # Windows reports a directory as a permission problem.
    return "is a directory" if path.is_dir() else (error.strerror or str(error)).lower()
