"""Measurements on a hibernation file: every block of it compressed, by samples/'s own compressor."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.images import folder, warm
from benchmarks.measure import median_wall
from benchmarks.row import Row, dumpscan

_READS = 20_000
_WORKING_SET = 8192
"""Pages read at random: 32 MB, half of what the cache of blocks holds."""


def hibernation_file() -> Iterator[Row]:
    """The verdict of a whole process; then pages in any order, one at a time and all at once."""
    path = _image()
    wall = median_wall(dumpscan("verdict", str(path)))
    what = f"verdict from tables, hibernation file of 512 MB, {_in_use(path)} MB of it in use, wall"
    yield Row(what, f"{wall:.2f} s ({_decompressor()})", "<= 1 s", wall <= 1)
    single, gathered = _page_reads(path)
    what = f"random page reads through the cache, of {_WORKING_SET * 4096 >> 20} MB in it"
    yield Row(what, f"{single:,.0f}/s", ">= 20,000/s", single >= 20_000)
    yield Row("random pages of all of it, gathered at once", f"{gathered:,.0f}/s", "", None)


def _in_use(path: Path) -> int:
    """Megabytes of pages in the file: Windows leaves out free ones."""
    from dumpscan.image.recognise import open_image

    return (open_image(path).info.pages_present or 0) * 4096 >> 20


def _decompressor() -> str:
    from dumpscan.image.xpress import has_library

    return "libfwnt" if has_library() else "without libfwnt"


def _image() -> Path:
    path = folder() / "hibernation-512mb-v1.sys"
    if not path.is_file():
        import samples
        from samples.containers.hibernation import write_hibernation

        print(f"writing {path.name} ...", file=sys.stderr, flush=True)
        parameters = {"ram_mb": 512, "pool_mb": 120, "cycles": 20000, "seed": 7}
        machine = samples.build(profile="xpsp3-x86-pae", scenario="leak", **parameters)
        part = path.with_suffix(".part")
        write_hibernation(machine, part, compressed=1)
        part.replace(path)
    warm(path)
    return path


def _page_reads(path: Path) -> tuple[float, float]:
    """Reads a second of single pages of a working set that is in the cache, and of any, gathered."""
    from dumpscan.image.recognise import open_image

    memory = open_image(path).memory
    assert memory is not None
    runs = memory.runs()
    pages = np.concatenate(
        [np.arange(at, at + n) for at, n in zip(runs.base_page, runs.page_count, strict=True)]
    )
    rng = np.random.default_rng(7)
    start = time.perf_counter()
    memory.pages(rng.choice(pages, _READS))
    gathered = _READS / (time.perf_counter() - start)
    few = rng.choice(pages[:_WORKING_SET], _READS)
    memory.pages(few)
    speeds = []
    for _ in range(3):
        start = time.perf_counter()
        for page in few.tolist():
            memory.read(page * 4096, 4096)
        speeds.append(_READS / (time.perf_counter() - start))
    return statistics.median(speeds), gathered
