"""Byte ranges from servers, through fsspec: refused, retried or compared with what was opened.

http(s) uses the session of fsspec's own file system (so its configuration, proxies and credentials
hold) but looks at each answer itself: fsspec would download the whole file from a server that ignores
ranges, and would not notice that the file changed. Every other kind is read through files without a
cache; s3 pins the version by its ETag.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePath
from queue import Empty, SimpleQueue
from typing import Any, NoReturn

from dumpscan.errors import DamagedImage, ImageError, UnreadableFile, UnsupportedImage
from dumpscan.image.remote import Fetcher, Traffic

_TRIES = 4
_PAUSE = 0.2
_AT_ONCE = 8
_CONNECT_SECONDS = 15
_READ_SECONDS = 30
_BUSY = frozenset((408, 425, 429, 500, 502, 503, 504))
_EXTRA = "install the extra: pip install 'dumpscan[remote]'"
_PERMISSION = "give the credentials as fsspec's configuration expects them"


def fetcher_for(url: str, place: PurePath) -> Fetcher:
    """The file at ``url``; ``place`` is what messages call it.

    :raises UnreadableFile: not found, not permitted, no answer, no ranges, or no such kind of address.
    :raises UnsupportedImage: a library is not installed.
    """
    if "::" in url:
        raise UnreadableFile(f"{place}: an address in an address; give that of the image itself")
    try:
        import fsspec

        if url.lower().startswith(("http://", "https://")):
            return HttpFile(fsspec.filesystem("https"), url, place)
        fs, path = fsspec.core.url_to_fs(url)
        return AnyFile(fs, path, place)
    except ImportError as error:
        raise UnsupportedImage(f"{place}: cannot be read in place ({error}); {_EXTRA}") from None
    except ValueError as error:
        raise UnreadableFile(f"{place}: no address that can be read ({error})") from None


class _Retry(Exception):
    """The same request may succeed a moment later."""


class HttpFile:
    """A file on a web server."""

    def __init__(self, fs: Any, url: str, place: PurePath) -> None:
        self.traffic = Traffic()
        self._fs = fs
        self._url = url
        self._place = place
        self._mark: str | None = None
        from fsspec.asyn import sync

        self._call: Callable[..., Any] = sync
        self._call(fs.loop, self._open)

    def fetch(self, ranges: list[tuple[int, int]]) -> list[bytes]:
        """See :class:`dumpscan.image.remote.Fetcher`."""
        found: list[bytes] = self._call(self._fs.loop, self._all, ranges)
        return found

    def close(self) -> None:
        """The session belongs to fsspec and is shared."""

    async def _all(self, ranges: list[tuple[int, int]]) -> list[bytes]:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(start: int, end: int) -> bytes:
            async with gate:
                return await self._patient(start, end)

        return list(await asyncio.gather(*(one(start, end) for start, end in ranges)))

    async def _open(self) -> None:
        """One byte shows size, version and whether the server knows ranges."""
        await self._patient(0, 1)

    async def _patient(self, start: int, end: int) -> bytes:
        import aiohttp

        why = ""
        for attempt in range(_TRIES):
            if attempt:
                await asyncio.sleep(_PAUSE * 2**attempt)
            try:
                return await self._once(start, end)
            except (_Retry, aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
                why = str(error) or type(error).__name__
        raise UnreadableFile(
            f"{self._place}: no answer for the bytes at {start:#x} after {_TRIES} tries ({why}); "
            "try again later"
        )

    async def _once(self, start: int, end: int) -> bytes:
        import aiohttp

        session = await self._fs.set_session()
        options = dict(self._fs.kwargs)
        # A compressed answer would have other offsets.
        headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        options["headers"] = {**options.get("headers", {}), **headers}
        options["timeout"] = aiohttp.ClientTimeout(sock_connect=_CONNECT_SECONDS, sock_read=_READ_SECONDS)
        self.traffic.requests += 1
        async with session.get(self._fs.encode_url(self._url), **options) as answer:
            total = self._checked(answer.status, answer.headers, start, end)
            if not total:
                return b""
            try:
                data: bytes = await answer.content.readexactly(min(end, total) - start)
            except asyncio.IncompleteReadError as error:
                raise _Retry(f"{len(error.partial)} bytes instead of {end - start}") from None
        self.traffic.size = total
        self.traffic.bytes += len(data)
        return data

    def _checked(self, status: int, headers: Any, start: int, end: int) -> int:
        """Length of the whole file by an answer that gives the range; 0 for an empty file."""
        if status in _BUSY:
            raise _Retry(f"status {status}")
        if not self.traffic.size and (status, headers.get("Content-Length")) == (200, "0"):
            return 0
        if not self.traffic.size and (status, headers.get("Content-Range")) == (416, "bytes */0"):
            return 0
        if status != 206:
            self._refuse(status)
        given = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", headers.get("Content-Range", "").strip())
        if given is None or int(given[1]) != start:
            raise UnreadableFile(
                f"{self._place}: the server answers with another range than asked for; download the "
                "file first"
            )
        total = int(given[3])
        mark = _mark(headers)
        if self.traffic.size and (total != self.traffic.size or (mark and self._mark and mark != self._mark)):
            raise _changed(self._place)
        if int(given[2]) != min(end, total) - 1:
            raise _Retry("a shorter range than asked for")
        self._mark = self._mark or mark
        return total

    def _refuse(self, status: int) -> NoReturn:
        if status in (412, 416) or (status in (404, 410) and self.traffic.size):
            raise _changed(self._place)
        if status in (401, 403, 407):
            raise UnreadableFile(f"{self._place}: not permitted (status {status}); {_PERMISSION}")
        if status in (404, 410):
            raise UnreadableFile(f"{self._place}: no such file (status {status})")
        if status == 200:
            raise UnreadableFile(
                f"{self._place}: the server ignores range requests and would send the whole file; download "
                "it first"
            )
        raise UnreadableFile(f"{self._place}: the server answers with status {status}")


def _mark(headers: Any) -> str | None:
    """What tells one version of the file from the next; a weak ETag may differ between equal ones."""
    tag: str | None = headers.get("ETag")
    if tag and not tag.startswith("W/"):
        return tag
    date: str | None = headers.get("Last-Modified")
    return date


def _changed(place: PurePath) -> DamagedImage:
    return DamagedImage(f"{place}: the file changed while it was read; start again when it is complete")


class AnyFile:
    """A file of any other fsspec file system, read through files without a cache."""

    def __init__(self, fs: Any, path: str, place: PurePath) -> None:
        self.traffic = Traffic()
        self._fs = fs
        self._path = path
        self._place = place
        self._free: SimpleQueue[Any] = SimpleQueue()
        self._pool = ThreadPoolExecutor(_AT_ONCE)
        info = self._guarded(lambda: fs.info(path))
        if info.get("type") == "directory":
            raise UnreadableFile(
                f"{place}: is a directory; give the address of a memory image (in a batch, / at the end "
                "takes all below)"
            )
        self.traffic.size = int(info["size"] or 0)

    def fetch(self, ranges: list[tuple[int, int]]) -> list[bytes]:
        """See :class:`dumpscan.image.remote.Fetcher`."""
        found = [self._one(ranges[0])] if len(ranges) == 1 else list(self._pool.map(self._one, ranges))
        self.traffic.requests += len(ranges)
        self.traffic.bytes += sum(map(len, found))
        return found

    def close(self) -> None:
        """Close the files and the threads."""
        self._pool.shutdown()
        while not self._free.empty():
            self._free.get().close()

    def _one(self, part: tuple[int, int]) -> bytes:
        start, end = part
        data: bytes = self._guarded(lambda: self._read(start, end))
        if len(data) != end - start:
            raise _changed(self._place)
        return data

    def _read(self, start: int, end: int) -> bytes:
        try:
            handle = self._free.get_nowait()
        except Empty:
            handle = self._opened()
        handle.seek(start)
        data: bytes = handle.read(end - start)
        self._free.put(handle)
        return data

    def _opened(self) -> Any:
        handle = self._fs.open(self._path, "rb", cache_type="none")
        if getattr(handle, "size", None) not in (None, self.traffic.size):
            raise _changed(self._place)
        return handle

    def _guarded(self, act: Callable[[], Any]) -> Any:
        why: BaseException | None = None
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(_PAUSE * 2**attempt)
            try:
                return act()
            except (ImageError, ImportError):
                raise
            except FileNotFoundError:
                raise UnreadableFile(f"{self._place}: no such file") from None
            except PermissionError:
                raise UnreadableFile(f"{self._place}: not permitted; {_PERMISSION}") from None
            except OSError as error:
                if type(error).__name__ == "FileExpired":
                    raise _changed(self._place) from None
                why = error
            except Exception as error:
                # Each kind brings its own errors (botocore's for missing credentials, say).
                raise UnreadableFile(
                    f"{self._place}: cannot be read ({type(error).__name__}: {error}); {_PERMISSION}"
                ) from None
        raise UnreadableFile(f"{self._place}: no answer after {_TRIES} tries ({why}); try again later")
