"""Readers of compressed containers: each one yields its files, in order, as streams.

zip, tar, gz, bz2 and xz come from the standard library, zst from it or its backport (a tar or zip
may come through them), 7z and cab from libarchive, which finds a file by position and hands out
blocks. (py7zr, the usual choice, finds by name, refuses whole archives for one ``../`` name and
works in steps of 128 MB.) Every library's own errors end here.
"""

from __future__ import annotations

import bz2
import gzip
import io
import logging
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, BinaryIO, NamedTuple, Protocol, cast

from dumpscan.errors import DamagedImage, ImageError, UnsupportedImage

NEED_SEEK = frozenset(("zip", "7z", "cab"))
"""Containers that are read from their end, or whose library wants to seek."""

_CHUNK = 1 << 18
# xz -9 needs 65 MiB; the format allows 4 GiB, which only a crafted file asks for.
_XZ_MEMORY = 1 << 30
_EXTRA = "install the extra: pip install 'dumpscan[archives]'"


@dataclass(frozen=True)
class Limits:
    """What unpacking may cost.

    ``max_bytes`` of one member, ``max_ratio`` unpacked to packed bytes (not looked at below
    ``free_bytes``), ``max_members`` of one container.
    """

    max_bytes: int = 64 << 30
    max_ratio: float = 500.0
    free_bytes: int = 256 << 20
    max_members: int = 100_000

    def most(self, packed: int) -> int:
        """Bytes that ``packed`` ones may become by their ratio."""
        return max(self.free_bytes, int(packed * self.max_ratio))


class Entry(NamedTuple):
    """One file; ``open`` works until the next entry is asked for. ``packed``: its own packed bytes."""

    name: str
    size: int | None
    packed: int | None
    open: Callable[[], BinaryIO]


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


class Decompressed(io.RawIOBase):
    """The concatenated streams of a bz2, xz or zst file as one, in bounded memory."""

    def __init__(self, packed: BinaryIO, make: Callable[[], _Decompressor]) -> None:
        self._packed = packed
        self._make = make
        self._now: _Decompressor | None = make()

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Some decompressed bytes; 0 at the end. :raises EOFError: the file ends in mid-stream."""
        view = memoryview(buffer)
        while self._now is not None and len(view):
            data = self._packed.read(_CHUNK) if self._now.needs_input else b""
            if self._now.needs_input and not data:
                raise EOFError("ends before its end mark")
            out = self._now.decompress(data, len(view))
            if self._now.eof:
                self._now = self._next(self._now.unused_data)
            if out:
                view[: len(out)] = out
                return len(out)
        return 0

    def _next(self, rest: bytes) -> _Decompressor | None:
        """The decompressor of the stream that follows; padding of zeros is skipped, the rest is not."""
        while not rest.lstrip(b"\0"):
            rest = self._packed.read(_CHUNK)
            if not rest:
                return None
        self._packed = cast(BinaryIO, _Ahead(rest.lstrip(b"\0"), self._packed))
        return self._make()


class _Ahead(io.RawIOBase):
    """Bytes that were read too far, and then the stream."""

    def __init__(self, rest: bytes, stream: BinaryIO) -> None:
        self._rest = rest
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        out = self._rest[: len(buffer)] or self._stream.read(len(buffer))
        self._rest = self._rest[len(out) :]
        buffer[: len(out)] = out
        return len(out)


def peeked(stream: BinaryIO, n: int) -> tuple[bytes, BinaryIO]:
    """The first ``n`` bytes (fewer at the end), and a stream that still begins with them."""
    head = b""
    while len(head) < n and (part := stream.read(n - len(head))):
        head += part
    # A small buffer: what lies behind the head may be damaged, and is not asked for yet.
    return head, cast(BinaryIO, io.BufferedReader(_Ahead(head, stream), 1 << 14))


class _Metered(io.RawIOBase):
    """A stream that refuses to give more than ``most`` bytes."""

    def __init__(self, stream: io.RawIOBase, most: int, name: str) -> None:
        self._stream = stream
        self._left = most
        self._name = name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        n = self._stream.readinto(buffer) or 0
        self._left -= n
        if self._left < 0:
            raise bomb(self._name)
        return n


def bomb(name: str) -> DamagedImage:
    """The error for a container that unpacks beyond its limit."""
    return DamagedImage(
        f"{name}: unpacks beyond the limit on size and ratio, like a decompression bomb; unpack it "
        "yourself when you trust it"
    )


def entries(stream: BinaryIO, kind: str, name: str, most: int) -> Iterator[Entry]:
    """The files of a container called ``name`` that begins at ``stream``'s position.

    At most ``most`` bytes are decompressed to get from one file to the next.

    :raises UnsupportedImage: its library is not installed.
    :raises DamagedImage: it is broken, or would need more than ``most`` bytes.
    """
    with translated(name):
        if kind == "zip":
            yield from _zip(stream)
        elif kind == "tar":
            yield from _tar(stream)
        elif kind in ("7z", "cab"):
            yield from _libarchive(stream, name, most)
        else:
            yield from _compressed(stream, kind, name, most)


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Errors of every library become ours, in one line that starts with ``name``."""
    try:
        yield
    except (ImageError, MemoryError, GeneratorExit):
        raise
    except NotImplementedError as error:
        raise UnsupportedImage(f"{name}: {error}; unpack it first") from None
    except RuntimeError as error:
        # zipfile knows no other sign of a password.
        if "password" in str(error) or "encrypted" in str(error):
            raise UnsupportedImage(f"{name}: is encrypted; unpack it first") from None
        raise
    except OSError as error:
        if error.errno is not None and not isinstance(error, gzip.BadGzipFile):
            raise
        raise _damaged(name, error) from None
    except (EOFError, ValueError, KeyError, zlib.error, lzma.LZMAError) as error:
        raise _damaged(name, error) from None
    except (tarfile.TarError, zipfile.BadZipFile) as error:
        raise _damaged(name, error) from None
    except Exception as error:
        # Optional libraries have error classes that cannot be named without importing them.
        if type(error).__name__ not in ("ZstdError", "ArchiveError"):
            raise
        if "ncrypt" in str(error) or "assphrase" in str(error):
            raise UnsupportedImage(f"{name}: is encrypted; unpack it first") from None
        raise _damaged(name, error) from None


def _damaged(name: str, error: BaseException) -> DamagedImage:
    return DamagedImage(
        f"{name}: the container is cut off or damaged ({error}); copy it again from its source"
    )


def _zip(stream: BinaryIO) -> Iterator[Entry]:
    with zipfile.ZipFile(stream) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                yield Entry(info.filename, info.file_size, info.compress_size, _zip_opener(archive, info))


def _zip_opener(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], BinaryIO]:
    return lambda: cast(BinaryIO, archive.open(info))


def _tar(stream: BinaryIO) -> Iterator[Entry]:
    seekable = stream.seekable()
    with tarfile.open(fileobj=stream, mode="r:" if seekable else "r|") as archive:
        for info in archive:
            if info.isreg():
                yield Entry(info.name, info.size, None, _tar_opener(archive, info))
            # The list of everything seen so far would grow with the archive.
            archive.members = []  # type: ignore[attr-defined]


def _tar_opener(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Callable[[], BinaryIO]:
    return lambda: cast(BinaryIO, archive.extractfile(info))


def _compressed(stream: BinaryIO, kind: str, name: str, most: int) -> Iterator[Entry]:
    """The one file of a compressed stream, or the files of the tar in it."""
    metered = _Metered(_plain(stream, kind, name), most, name)
    head, plain = peeked(cast(BinaryIO, io.BufferedReader(metered, 1 << 14)), 512)
    if head[257:262] == b"ustar":
        yield from _tar(plain)
        return
    yield Entry(_stem(name), None, None, lambda: plain)


def _stem(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and stem and suffix.lower() in ("gz", "bz2", "xz", "zst", "gzip", "zstd") else name


def _plain(stream: BinaryIO, kind: str, name: str) -> io.RawIOBase:
    if kind == "gzip":
        return cast(io.RawIOBase, gzip.GzipFile(fileobj=stream, mode="rb"))
    if kind == "bzip2":
        return Decompressed(stream, bz2.BZ2Decompressor)
    if kind == "xz":
        return Decompressed(stream, lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY))
    return Decompressed(stream, _zstd(name))


def _zstd(name: str) -> Callable[[], _Decompressor]:
    for module in ("compression.zstd", "backports.zstd"):
        try:
            found = import_module(module)
        except ImportError:
            continue
        return cast(Callable[[], _Decompressor], found.ZstdDecompressor)
    raise UnsupportedImage(f"{name}: a zstd file, which needs a library; {_EXTRA}")


def _libarchive(stream: BinaryIO, name: str, most: int) -> Iterator[Entry]:
    library = _load_libarchive(name)
    with library.stream_reader(stream, block_size=_CHUNK) as archive:
        for entry in archive:
            # To reach the next file, the library decompresses this one.
            most -= entry.size or 0
            if most < 0:
                raise bomb(name)
            if entry.isfile:
                yield Entry(entry.pathname or "", entry.size, None, _block_opener(entry))


def _block_opener(entry: Any) -> Callable[[], BinaryIO]:
    return lambda: cast(BinaryIO, io.BufferedReader(_Blocks(entry.get_blocks(_CHUNK)), _CHUNK))


class _Blocks(io.RawIOBase):
    """An iterator of byte blocks as a stream."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if not len(self._rest):
            self._rest = memoryview(next(self._blocks, b""))
        n = min(len(self._rest), len(buffer))
        buffer[:n], self._rest = self._rest[:n], self._rest[n:]
        return n


def _load_libarchive(name: str) -> Any:
    # Windows carries libarchive as the library of its tar command.
    bundled = os.path.join(os.environ.get("SYSTEMROOT", ""), "System32", "archiveint.dll")
    if os.name == "nt" and os.path.isfile(bundled):
        os.environ.setdefault("LIBARCHIVE", bundled)
    # Its warnings are no text of ours, and end up on stderr otherwise.
    logging.getLogger("libarchive").addHandler(logging.NullHandler())
    try:
        return import_module("libarchive")
    except (ImportError, OSError, AttributeError, TypeError):
        raise UnsupportedImage(
            f"{name}: a 7z or cabinet file, which needs libarchive; {_EXTRA} (and the system's libarchive, "
            "for instance the package libarchive13)"
        ) from None
