"""Measurements of what people look at: HTML reports, growth between images, contents of blocks."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.images import image
from benchmarks.measure import median_difference, median_wall
from benchmarks.row import Row, dumpscan

SERIES = ("series-1", "series-2", "series-3")
_BLOCKS = 100_000


def html_report() -> Iterator[Row]:
    """What an HTML report takes beyond the verdict: pictures, reconciliation, all contents, the page."""
    for name, said in (("kernel-128mb", "128 MB machine"), ("leak-100k", "100,000 leaked blocks")):
        verdict = dumpscan("verdict", str(image(name)))
        extra = median_difference([*verdict, "--format", "html"], verdict)
        what = f"HTML report beyond the verdict, kernel dump, {said}"
        yield Row(what, f"{extra:.2f} s", "<= 0.7 s", extra <= 0.7)


def compare_three() -> Iterator[Row]:
    """Three kernel dumps of one 128 MB machine, whole process."""
    paths = [str(image(name)) for name in SERIES]
    wall = median_wall(dumpscan("compare", *paths))
    yield Row("compare of three 128 MB kernel dumps, wall", f"{wall:.2f} s", "<= 2 s", wall <= 2)


def attribute_blocks() -> Iterator[Row]:
    """Contents of more than 100,000 blocks read, grouped, decoded and linked."""
    import dumpscan as library

    case = library.open(image("leak-100k"))
    drivers, kernel = case.drivers, case.kernel
    assert drivers is not None and kernel is not None
    seconds, blocks = [], 0
    for _ in range(3):
        start = time.perf_counter()
        found = case.attribution().attribution
        seconds.append(time.perf_counter() - start)
        blocks = sum(tag.blocks for tag in found.tags)
    assert blocks >= _BLOCKS, f"only {blocks} blocks in the image"
    wall = sorted(seconds)[1]
    yield Row(f"attribution of {blocks:,} blocks", f"{wall:.2f} s", "<= 2 s for 100,000", wall <= 2)
    process = median_wall(dumpscan("attribute", str(image("leak-100k"))), 3)
    yield Row("the same as a whole process", f"{process:.2f} s", "", None)
