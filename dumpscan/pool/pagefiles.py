"""Are page files those of the imaged machine, at the imaged moment? Told by pool pages in them.

A page file names nobody (:mod:`dumpscan.memory.pagefiles`). But paged pool pages that are out must be
pages of small blocks with a sound chain, as those in RAM are, wherever tables and marks call them that
(facts/pool-algorithms.md section 6: foreign data passes with negligible probability). A file whose
pages mostly are none is another machine's, of another moment, or has another number: it is not read.
The trap of the area: a page file of another machine holds pool pages too, here and there; so a few that
fit prove nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dumpscan.image.physical import I64, FileMemory, Mask, scattered_pages
from dumpscan.kernel.kernel import Kernel
from dumpscan.memory.c_pte import PageState
from dumpscan.memory.pagefiles import PageFiles, place_of
from dumpscan.pool.bigpages import BigPages, read_big_pages
from dumpscan.pool.chains import ChainWalker
from dumpscan.pool.pagemap import PoolPages, evenly, inside_large, map_pool
from dumpscan.pool.tables import find_tables

_FITS = 0.5
"""Of the sampled pages, as a share of what RAM's pages reach. Another machine's file has some per cent
of pool pages; a file of this machine that is some hours older keeps most of what it held."""
_WHOLE = 0.9
"""Below this share a file that fits is said to be of another moment."""
_LEAST = 4
"""So few sampled pages decide nothing: one stale page of three is no other machine."""


class Checked(NamedTuple):
    """``notes`` belong to the result; ``warnings`` are about files that are not what they should be."""

    notes: tuple[str, ...]
    warnings: tuple[str, ...]


class _Out(NamedTuple):
    """Paged-out pool pages: number of their file, page in it, and are they pages of small blocks?"""

    number: I64
    offset: I64
    small: Mask


def check_page_files(kernel: Kernel, files: PageFiles) -> Checked:
    """Admit the page files whose pool pages fit; say of each what was found. Reads at most some hundred
    pages of each file."""
    layout = kernel.layout
    big = read_big_pages(kernel, find_tables(kernel))
    parts = map_pool(kernel, big, paged=True).parts
    if layout is None or not parts:
        what = "this kernel's pool is not read" if layout is None else "the range of paged pool is unknown"
        warning = f"the page files are not used: {what}, so nothing tells whether they belong to the image"
        return Checked((warning,), (warning,))
    walker = ChainWalker(layout, 2048)
    out, resident = _paged_out(parts, big), _resident_share(kernel, walker, parts)
    notes, warnings = [], []
    for number, name in enumerate(files.names):
        found = _check(files, number, out, walker, resident)
        line = f"page file {number} ({name}): {found.text}"
        notes.append(line)
        if found.doubtful:
            warnings.append(line)
        if found.fits:
            files.admit(number)
    rest = sorted({int(n) for n in np.unique(out.number)} - set(range(len(files.names))))
    if rest:
        pages = int((out.number >= len(files.names)).sum())
        notes.append(f"{pages} paged-out pool pages lie in page files that were not given: {rest}")
    return Checked(tuple(notes), tuple(warnings))


class _Finding(NamedTuple):
    """What one file proved to be. ``doubtful``: worth a warning."""

    text: str
    fits: bool
    doubtful: bool


def _check(files: PageFiles, number: int, out: _Out, walker: ChainWalker, resident: float) -> _Finding:
    mine = out.number == number
    if not bool(mine.any()):
        return _Finding("no paged-out pool page lies in it", False, False)
    inside = mine & files.files[number].present(out.offset)
    beyond = int(mine.sum()) - int(inside.sum())
    cut = f", {beyond} lie beyond its end (is it whole?)" if beyond else ""
    sound, looked = _sound(files.files[number], out, inside, walker)
    if not looked:
        why = f"none of {int(mine.sum())} paged-out pool pages can be told in it{cut}; it is not used"
        return _Finding(why, False, True)
    if sound < _FITS * resident * looked and (looked >= _LEAST or not sound):
        return _Finding(
            f"not used: of {looked} pool pages that should lie in it {sound} do; it is of another machine or "
            f"moment{_other_number(files, number, out, walker, resident)}{cut}",
            False,
            True,
        )
    torn = sound < _WHOLE * resident * looked
    doubt = f"; of {looked} looked at {looked - sound} are no pool (of another moment?)" if torn else ""
    text = f"{int(inside.sum())} paged-out pool pages are read from it{cut}{doubt}"
    return _Finding(text, True, torn or beyond > 0)


def _other_number(files: PageFiles, number: int, out: _Out, walker: ChainWalker, resident: float) -> str:
    """A hint where the file's pages fit under another number."""
    for other in sorted(set(out.number.tolist()) - {number}):
        inside = (out.number == other) & files.files[number].present(out.offset)
        sound, looked = _sound(files.files[number], out, inside, walker)
        if looked >= _LEAST and sound >= _FITS * resident * looked:
            return (
                f" (it fits as page file {other}: give the files in the order of their numbers, any other "
                "file in the place of a lost one)"
            )
    return ""


def _paged_out(parts: tuple[PoolPages, ...], big: BigPages | None) -> _Out:
    columns = []
    for part in parts:
        away = part.pages.state == PageState.PAGEFILE
        small = away.copy()
        if big is not None:
            small &= ~inside_large(part.pages.va, big)
        if part.marks is not None:
            small &= (part.marks.start & part.marks.end) | ~part.marks.known
        columns.append((*place_of(part.pages.pfn[away]), small[away]))
    return _Out(*(np.concatenate([column[i] for column in columns]) for i in range(3)))


def _sound(file: FileMemory, out: _Out, inside: Mask, walker: ChainWalker) -> tuple[int, int]:
    """Of a sample of the small-block pages ``inside`` the file: how many are that, and how many were read."""
    chosen = evenly(inside & out.small)
    if not len(chosen):
        return 0, 0
    rows, _ = scattered_pages(file, out.offset[chosen])
    chains = walker.walk(rows)
    return int((chains.accepted & (chains.paged != 0)).sum()), len(chosen)


def _resident_share(kernel: Kernel, walker: ChainWalker, parts: tuple[PoolPages, ...]) -> float:
    """Share of such pages in RAM that have a sound chain; 1 where there are none to look at."""
    accepted = looked = 0
    for part in parts:
        pfns = part.pages.pfn[evenly(part.small & (part.pages.state == PageState.VALID))]
        if len(pfns):
            rows, _ = scattered_pages(kernel.memory.physical, pfns)
            accepted, looked = accepted + int(walker.walk(rows).accepted.sum()), looked + len(pfns)
    return accepted / looked if accepted else 1.0
