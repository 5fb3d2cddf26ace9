"""Page files beside an image: pages that are not in RAM, as frames beyond any that RAM can have.

A page table entry of a paged-out page names a file by number (0 to 15) and a page in it
(facts/kernel-location.md section 7, facts/pte-formats.json). With page files at hand translation gives
such a page a frame number from ``PAGE_FILE_FRAMES`` on, and :class:`PageFiles` reads it like any other.
The trap of the area: a page file has no header, nothing in it says whose it is. So a file is read only
after :meth:`PageFiles.admit`, which its caller calls when pages of it have proved to be this machine's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dumpscan.errors import AbsentMemory, NotAnImage, UnsupportedImage, UsageError
from dumpscan.image.physical import (
    I64,
    U8,
    FileMemory,
    MappedWords,
    Mask,
    PhysicalMemory,
    Runs,
    filled_runs,
    mapped_words,
    scattered,
)
from dumpscan.image.raw import flat_memory
from dumpscan.image.recognise import sniff
from dumpscan.image.source import map_file
from dumpscan.memory.c_pte import PAGE_FILE_BITS, PAGE_FILE_FRAMES

MOST_FILES = 16
"""Four bits of a page table entry hold the file's number."""


class PageFiles:
    """Physical memory of ``image`` with page files behind it; ``names`` are their paths, by number."""

    def __init__(self, image: PhysicalMemory, files: Sequence[FileMemory], names: Sequence[str]) -> None:
        self.image = image
        self.page_size = image.page_size
        self.names = tuple(names)
        self.files = tuple(files)
        self._admitted: set[int] = set()

    def admit(self, number: int) -> None:
        """Read this file from now on."""
        self._admitted.add(number)

    @property
    def admitted(self) -> tuple[int, ...]:
        """Numbers of the files that are read."""
        return tuple(sorted(self._admitted))

    def runs(self) -> Runs:
        """The image's; page files are not searched for anything."""
        return self.image.runs()

    def filled(self) -> Runs:
        """See :func:`dumpscan.image.physical.filled_runs`."""
        return filled_runs(self.image)

    def present(self, pfns: NDArray[Any]) -> Mask:
        """See :class:`~dumpscan.image.physical.PhysicalMemory`."""
        wanted = np.asarray(pfns).astype(np.int64, copy=False)
        mask = np.zeros(len(wanted), np.bool_)
        near = wanted < PAGE_FILE_FRAMES
        mask[near] = self.image.present(wanted[near])
        for file, mine, offsets in self._parts(wanted):
            mask[mine] = file.present(offsets)
        return mask

    def pages(self, pfns: NDArray[Any], out: U8 | None = None) -> tuple[U8, Mask]:
        """See :class:`~dumpscan.image.physical.PhysicalMemory`."""
        wanted = np.asarray(pfns).astype(np.int64, copy=False)
        near = wanted < PAGE_FILE_FRAMES
        if bool(near.all()):
            return self.image.pages(wanted, out)
        rows = np.empty((len(wanted), self.page_size), np.uint8) if out is None else out[: len(wanted)]
        mask = np.zeros(len(wanted), np.bool_)
        rows[near], mask[near] = self.image.pages(wanted[near])
        for file, mine, offsets in self._parts(wanted):
            rows[mine], mask[mine] = file.pages(offsets)
        return rows, mask

    def _parts(self, pfns: I64) -> Iterator[tuple[FileMemory, I64, I64]]:
        """Of each admitted file: the indices of its pages among ``pfns``, and their offsets."""
        out = np.flatnonzero(pfns >= PAGE_FILE_FRAMES)
        if not len(out):
            return
        numbers, offsets = place_of(pfns[out])
        for number in self._admitted:
            mine = numbers == number
            if bool(mine.any()):
                yield self.files[number], out[mine], offsets[mine]

    def read(self, pa: int, n: int) -> bytes:
        """See :class:`~dumpscan.image.physical.PhysicalMemory`. In a page file: within one page."""
        page, inside = divmod(pa, self.page_size)
        if page < PAGE_FILE_FRAMES:
            return self.image.read(pa, n)
        rows, known = self.pages(np.array([page], np.int64))
        if not bool(known[0]) or inside + n > self.page_size:
            raise AbsentMemory(pa, n, physical=True)
        return rows[0, inside : inside + n].tobytes()

    def words(self, pfns: NDArray[Any]) -> MappedWords | None:
        """As :meth:`~dumpscan.image.physical.FileMemory.words`; None where a page lies in a page file."""
        return None if bool((pfns >= PAGE_FILE_FRAMES).any()) else mapped_words(self.image, pfns)

    def scattered(self, pfns: NDArray[Any]) -> AbstractContextManager[None]:
        """See :func:`dumpscan.image.physical.scattered`; about the pages in the image."""
        return scattered(self.image, pfns[pfns < PAGE_FILE_FRAMES])

    def close(self) -> None:
        """Let go of the image and of the page files."""
        for memory in (self.image, *self.files):
            close = getattr(memory, "close", None)
            if close is not None:
                close()
        self._admitted.clear()


def place_of(pfns: I64) -> tuple[I64, I64]:
    """File number and page in that file, of frames from ``PAGE_FILE_FRAMES`` on."""
    inside = pfns - PAGE_FILE_FRAMES
    return inside >> PAGE_FILE_BITS, inside & ((1 << PAGE_FILE_BITS) - 1)


def open_page_files(image: PhysicalMemory | None, path: object, paths: Sequence[Path]) -> PageFiles:
    """Map the page files ``paths`` of the image at ``path``: the first one is page file 0.

    :raises UnreadableFile: missing, a directory, not permitted.
    :raises NotAnImage: empty, or a crash dump lies in it.
    :raises UnsupportedImage: the image has no page tables to read them by.
    :raises UsageError: too many, one twice, or the image itself.
    """
    if image is None:
        raise UnsupportedImage(f"{path}: a small dump has no page tables to read page files by")
    if len(paths) > MOST_FILES:
        raise UsageError(f"{len(paths)} page files given; Windows has at most {MOST_FILES}")
    taken = {_identity(path)}
    files = []
    for each in paths:
        if _identity(each) in taken:
            raise UsageError(f"{each}: given twice; each page file is a file of its own, and not the image")
        taken.add(_identity(each))
        source = map_file(each)
        if sniff(source.take(0, 8)) in ("crash32", "crash64"):
            raise NotAnImage(
                f"{each}: holds a crash dump, which has overwritten paged-out pages; it is an image itself"
            )
        files.append(flat_memory(source.data, image.page_size))
    return PageFiles(image, files, [str(each) for each in paths])


def _identity(path: object) -> object:
    """What tells whether two paths are one file."""
    try:
        state = Path(str(path)).stat()
    except (OSError, ValueError):
        return str(path)
    return (state.st_dev, state.st_ino) if state.st_ino else str(Path(str(path)).resolve())
