"""Which files a request names: folders walked, globs, list files, single files, URLs.

Nothing is opened here (a worker looks at contents), so a hanging or hostile file cannot stop the
search. A path is known by its resolved form: links and repeated arguments do not count twice. What
cannot be looked at is found too, with the problem.
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from dumpscan.batch.addresses import is_listing, is_url, is_wellformed, listing, printable
from dumpscan.batch.job import Status
from dumpscan.errors import DumpscanError, UnreadableFile, UsageError

_STATE_SUFFIXES = (".vmss", ".vmsn")
_MEMORY_SUFFIXES = (".vmem", ".VMEM")


class Found(NamedTuple):
    """A file, or what stands in its place. ``status`` and ``reason`` are set when it is no work."""

    path: str
    size: int | None = None
    mtime_ns: int | None = None
    partner: str | None = None
    status: Status | None = None
    reason: str = ""


def discover(requests: Iterable[str], exclude: Iterable[str] = ()) -> Iterator[Found]:
    """Every file that the requests name, in the order of the requests, folders in order of names.

    ``exclude`` are resolved paths to leave out (the store itself). A file may be yielded more than once.

    :raises UnreadableFile: a request names nothing that exists. :raises UsageError: a list file is no text.
    """
    left_out = frozenset(exclude)
    for request in requests:
        for found in _expand(request):
            if found.path not in left_out:
                yield found


def read_list(path: str) -> list[str]:
    """Lines of a list file, blank ones and those that begin with ``#`` left out.

    :raises UnreadableFile: it cannot be read. :raises UsageError: it is no text.
    """
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            lines = [line.rstrip("\r\n") for line in file]
    except OSError as error:
        raise UnreadableFile(f"{path}: the list cannot be read ({error.strerror or error})") from error
    if any("\0" in line for line in lines):
        raise UsageError(f"{path}: not a list of paths, one a line (it holds zero bytes)")
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _expand(request: str) -> Iterator[Found]:
    if request.startswith("@"):
        for line in read_list(request[1:]):
            # What a list names and is not there is recorded: lists are made long before they are used.
            yield from _one(line, listed=True)
    else:
        yield from _one(request, listed=False)


def _one(text: str, *, listed: bool) -> Iterator[Found]:
    if is_url(text):
        yield from _address(text, listed=listed)
        return
    if os.path.lexists(text):
        yield from _path(text)
        return
    matches = sorted(glob.iglob(text, recursive=True)) if glob.has_magic(text) else []
    for match in matches:
        yield from _path(match)
    if not matches and not listed:
        what = "matches no file" if glob.has_magic(text) else "no such file or folder"
        raise UnreadableFile(f"{text}: {what}; give images, folders, globs, @LIST or URLs")
    if not matches:
        yield Found(os.path.abspath(text), status=Status.ERROR, reason="no such file")


def _address(url: str, *, listed: bool) -> Iterator[Found]:
    """Itself; or what lies in a folder (it ends with ``/``), or what a glob matches, on an object store."""
    if not is_listing(url) and is_wellformed(url):
        yield Found(url)
        return
    try:
        if not is_wellformed(url):
            raise UnreadableFile(f"{printable(url)}: no valid address; look for a mistake in its host")
        found = list(listing(url))
        urls = frozenset(each.url for each in found)
        for each in found:
            yield Found(each.url, each.size, each.mtime_ns, _partner(each.url, urls.__contains__))
    except DumpscanError as error:
        if not listed:
            raise
        yield Found(url, status=Status.ERROR, reason=str(error))


def _path(text: str) -> Iterator[Found]:
    path = os.path.realpath(text)
    if os.path.isdir(path):
        yield from _walk(path)
    else:
        yield _file(path, named=True)


def _walk(top: str) -> Iterator[Found]:
    """Depth first. Links to folders are followed, each folder is entered once."""
    waiting, seen = [top], {top}
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                names = sorted((entry.name, _is_folder(entry), entry.is_symlink()) for entry in entries)
        except OSError as error:
            reason = f"the folder cannot be read ({error.strerror or error})"
            yield Found(folder, status=Status.ERROR, reason=reason)
            continue
        inside = []
        for name, is_folder, is_link in names:
            path = os.path.join(folder, name)
            path = os.path.realpath(path) if is_link else path
            if not is_folder:
                yield _file(path, named=False)
            elif path not in seen:
                seen.add(path)
                inside.append(path)
        waiting.extend(reversed(inside))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link in a circle, or to where nobody may look: its own failure, not the folder's.
        return False


def _file(path: str, *, named: bool) -> Found:
    """``named``: somebody asked for this very path, so a device is a failure and not passed over."""
    try:
        state = os.stat(path)
    except OSError as error:
        return Found(path, status=Status.ERROR, reason=f"cannot be read ({error.strerror or error})")
    if not stat.S_ISREG(state.st_mode):
        status = Status.ERROR if named else Status.SKIPPED
        return Found(path, status=status, reason="not a regular file (a device, pipe or socket)")
    return Found(path, state.st_size, state.st_mtime_ns, _partner(path, os.path.isfile))


def _partner(path: str, is_file: Callable[[str], bool]) -> str | None:
    """The .vmem beside a VMware state file."""
    stem, suffix = os.path.splitext(path)
    if suffix.lower() not in _STATE_SUFFIXES:
        return None
    return next((stem + each for each in _MEMORY_SUFFIXES if is_file(stem + each)), None)
