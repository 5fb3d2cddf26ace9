"""Temporary files that outlive nobody: a private folder under a lock, and sparse, bounded files in it.

The lock is the system's own and ends with its process, however that ends; so a folder whose lock is
free belongs to nobody and may be deleted. Process numbers or ages would only guess that.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

from dumpscan.errors import UnreadableFile
from dumpscan.image.unpack import bomb

_PREFIX = "dumpscan-scratch-"
_LOCK = "lock"
# A folder without a marked lock may be one that is being made at this moment.
_GRACE_SECONDS = 60.0
_BLOCK = 1 << 16
_ZEROS = bytes(_BLOCK)


@contextmanager
def scratch_folder(root: str | os.PathLike[str] | None = None) -> Iterator[Path]:
    """A new private folder in ``root`` (default: the system's), deleted with its content at the end.

    :raises UnreadableFile: ``root`` cannot be written.
    """
    base = _base(root)
    sweep(base)
    try:
        folder, lock = _made(base)
    except OSError as error:
        raise UnreadableFile(
            f"{base}: no temporary folder can be made ({error.strerror or error}); set TMPDIR to a disk "
            "with room"
        ) from None
    try:
        yield folder
    finally:
        # Windows deletes no open file, and files that are still mapped stay for the next sweep.
        with suppress(OSError):
            lock.close()
        shutil.rmtree(folder, ignore_errors=True)


def sweep(root: str | os.PathLike[str] | None = None) -> int:
    """Delete the folders in ``root`` whose process is gone; returns how many."""
    with suppress(OSError), os.scandir(_base(root)) as found:
        names = [entry for entry in found if entry.name.startswith(_PREFIX)]
        return sum(_swept(entry) for entry in names)
    return 0


def _base(root: str | os.PathLike[str] | None) -> Path:
    return Path(tempfile.gettempdir() if root is None else root)


def _made(base: Path) -> tuple[Path, IO[bytes]]:
    """A folder whose lock is held, and marked so: a free lock with a mark has lost its process."""
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
    lock = (folder / _LOCK).open("wb")
    if not _locked(lock):
        lock.close()
        raise OSError(errno.ENOLCK, "its disk has no file locks")
    lock.write(b"1")
    lock.flush()
    return folder, lock


def _swept(entry: os.DirEntry[str]) -> bool:
    """Delete one folder if it belongs to this user and to no living process."""
    with suppress(OSError):
        state = entry.stat(follow_symlinks=False)
        own = not hasattr(os, "geteuid") or state.st_uid == os.geteuid()
        if not own or not entry.is_dir(follow_symlinks=False) or not _is_dead(entry, state.st_mtime):
            return False
        shutil.rmtree(entry.path)
        return True
    return False


def _is_dead(entry: os.DirEntry[str], modified: float) -> bool:
    """Whether its process is gone. One without the mark is in the making, or was, long ago."""
    lock_path = Path(entry.path, _LOCK)
    if not lock_path.exists() or not lock_path.stat().st_size:
        return time.time() - modified > _GRACE_SECONDS
    # Closed before the folder goes, as Windows demands; nobody takes the lock of a folder again.
    with lock_path.open("r+b") as lock:
        return _locked(lock)


if sys.platform == "win32":
    import msvcrt

    def _locked(lock: IO[bytes]) -> bool:
        try:
            msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _locked(lock: IO[bytes]) -> bool:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


def write_sparse(stream: BinaryIO, path: Path, most: int, what: str) -> int:
    """Copy ``stream`` into a new file of at most ``most`` bytes, zero blocks as holes; returns its size.

    ``what`` names the content in messages.

    :raises DamagedImage: there is more; the partial file stays. :raises UnreadableFile: no room on the disk.
    """
    size = 0
    try:
        with path.open("xb") as file:
            while chunk := stream.read(1 << 20):
                size += len(chunk)
                if size > most:
                    raise bomb(what)
                _write_blocks(file, chunk)
            file.truncate(size)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise UnreadableFile(
            f"{what}: no room for it in {path.parent.parent} after {size} bytes; set TMPDIR to a larger disk"
        ) from None
    return size


def _write_blocks(file: BinaryIO, chunk: bytes) -> None:
    view = memoryview(chunk)
    for at in range(0, len(view), _BLOCK):
        block = view[at : at + _BLOCK]
        if block == _ZEROS[: len(block)]:
            file.seek(len(block), os.SEEK_CUR)
        else:
            file.write(block)
