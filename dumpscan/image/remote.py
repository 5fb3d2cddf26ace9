"""Images read in place: http(s), s3 and every other address that fsspec knows.

A file on a server looks like a mapped one: parts are fetched when they are asked for, in blocks that
are kept. Blocks that are missing side by side come with one request, those of one gather at the same
time. A verdict touches some hundred pages, so it fetches a few megabytes of any image.
"""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Protocol, cast
from urllib.parse import unquote, urlsplit, urlunsplit

import numpy as np

from dumpscan.errors import ImageError, NotAnImage, UnreadableFile, UsageError
from dumpscan.image.address import without_secrets
from dumpscan.image.physical import I64, U8, FileBytes
from dumpscan.image.source import Source

BLOCK = 1 << 14
"""Bytes of a block. Smaller ones mean more requests, larger ones more bytes: a verdict's pages lie
scattered, and its 30 to 100 stretches of them are a request each with any block up to 256 KB."""

_CACHED = 1 << 14
_LONGEST = 1 << 8
_ROWS = 1 << 12
_AHEAD = 1 << 20


class Location(PurePosixPath):
    """Where a remote file lies, as a path: its name is the file's, its text the address.

    User, password and query are left out of the text, since it is printed.
    """

    address = ""
    url = ""
    """What opens the file: with all that ``address`` leaves out. Never shown."""

    def __str__(self) -> str:
        return self.address or super().__str__()


def location(url: str) -> Location:
    """The printable place of ``url``. :raises UnreadableFile: it is no address."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UnreadableFile(f"{url.partition(':')[0]}: no valid address ({error}); correct it") from None
    host = parts.netloc.rpartition("@")[2]
    place = Location(unquote(parts.path.rpartition("/")[2]) or host or "image")
    place.address = without_secrets(url)
    place.url = url
    return place


def beside(place: Location, suffix: str) -> Source | None:
    """The file of the same name but for its suffix, next to a remote one; None where there is none.

    The query stays, so an address that is signed for one file finds none.
    """
    parts = urlsplit(place.url)
    stem, dot, old = parts.path.rpartition(".")
    if not dot or "/" in old:
        return None
    changed = parts._replace(path=f"{stem}.{suffix.upper() if old.isupper() else suffix}")
    try:
        return open_address(urlunsplit(changed))
    except ImageError:
        return None


class Traffic:
    """What reading a remote image has cost so far."""

    def __init__(self) -> None:
        self.size = 0
        self.requests = 0
        self.bytes = 0

    def add(self, other: Traffic) -> None:
        """Count what another file has cost, which was read for this one."""
        self.requests += other.requests
        self.bytes += other.bytes

    def __str__(self) -> str:
        """One line, as ``--stats`` shows it."""
        share = 100 * self.bytes / self.size if self.size else 0.0
        return f"{self.requests} requests, {self.bytes:,} of {self.size:,} bytes fetched ({share:.3f} %)"


class Fetcher(Protocol):
    """One remote file. ``traffic`` knows its length, and counts."""

    traffic: Traffic

    def fetch(self, ranges: list[tuple[int, int]]) -> list[bytes]:
        """The bytes of each [start, end), all at once where the server can.

        :raises UnreadableFile: the server does not answer, or ignores ranges.
        :raises DamagedImage: the file changed since it was opened.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


def open_address(url: str) -> Source:
    """A remote file as a source; a few kilobytes are read.

    :raises UnreadableFile: not found, not permitted, no answer, or a server without ranges.
    :raises UnsupportedImage: the library for this kind of address is not installed.
    :raises NotAnImage: the file is empty.
    """
    from dumpscan.image.fetch import fetcher_for

    place = location(url)
    fetcher = fetcher_for(url, place)
    if not fetcher.traffic.size:
        raise NotAnImage(f"{place}: the file is empty; copy or capture the image again")
    return Source(place, FetchedBytes(fetcher))


def stream_of(source: Source) -> BinaryIO:
    """A remote file as a seekable stream, fetched 1 MB at a time."""
    return cast(BinaryIO, io.BufferedReader(_Stream(source.data), _AHEAD))


class _Stream(io.RawIOBase):
    """A position in a remote file."""

    def __init__(self, data: FileBytes) -> None:
        self._data = data
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: len(self._data)}[whence]
        if start + offset < 0:
            raise ValueError("a position before the start of the file")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        part = self._data[self._at : self._at + len(buffer)]
        buffer[: len(part)] = part.data
        self._at += len(part)
        return len(part)


class FetchedBytes:
    """The bytes of a remote file; see :class:`dumpscan.image.physical.RemoteBytes`."""

    def __init__(self, fetcher: Fetcher, block: int = BLOCK, cached: int = _CACHED) -> None:
        self._fetcher = fetcher
        self._block = block
        self._cached = cached
        self._blocks: OrderedDict[int, U8] = OrderedDict()
        self.traffic = fetcher.traffic
        """Requests and bytes so far."""

    def __len__(self) -> int:
        return self.traffic.size

    def __getitem__(self, part: slice) -> U8:
        start, end, step = part.indices(len(self))
        if step != 1:
            raise UsageError("a remote file is read in contiguous parts")
        out = np.empty(max(end - start, 0), np.uint8)
        most = self._cached * self._block // 2
        for at in range(start, end, most):
            piece = out[at - start : at - start + most]
            blocks = np.arange(at // self._block, (at + len(piece) - 1) // self._block + 1)
            self._bring(blocks)
            self._copy(at, piece)
        out.flags.writeable = False
        return out

    def gather(self, offsets: I64, out: U8) -> None:
        """Fill each row of ``out``; see :class:`dumpscan.image.physical.RemoteBytes`."""
        row = out.shape[1]
        rows = min(_ROWS, max(self._cached // 4, 1))
        for at in range(0, len(offsets), rows):
            part = offsets[at : at + rows]
            self._bring(np.concatenate([part // self._block, (part + row - 1) // self._block]))
            for number, offset in enumerate(part.tolist()):
                self._copy(offset, out[at + number])

    def close(self) -> None:
        """Forget every block and let go of connections."""
        self._blocks.clear()
        self._fetcher.close()

    def _copy(self, at: int, out: U8) -> None:
        """Fill ``out`` from blocks that are there."""
        done = 0
        while done < len(out):
            number, inside = divmod(at + done, self._block)
            piece = self._blocks[number][inside : inside + len(out) - done]
            out[done : done + len(piece)] = piece
            done += len(piece)

    def _bring(self, numbers: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        """Have these blocks in the cache; those used longest ago make room."""
        wanted = np.unique(numbers).tolist()
        for number in wanted:
            if number in self._blocks:
                self._blocks.move_to_end(number)
        missing = [number for number in wanted if number not in self._blocks]
        if not missing:
            return
        stretches = list(_stretches(missing))
        size, block = len(self), self._block
        ranges = [(first * block, min((first + count) * block, size)) for first, count in stretches]
        for (first, _), data in zip(stretches, self._fetcher.fetch(ranges), strict=True):
            found = np.frombuffer(data, np.uint8)
            for at in range(0, len(found), block):
                self._blocks[first + at // block] = found[at : at + block]
        while len(self._blocks) > max(self._cached, len(wanted)):
            self._blocks.popitem(last=False)


def _stretches(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Ascending block numbers as (first, count) of neighbours, none longer than one request may be."""
    first, count = numbers[0], 0
    for number in numbers:
        if number != first + count or count == _LONGEST:
            yield first, count
            first, count = number, 0
        count += 1
    yield first, count
