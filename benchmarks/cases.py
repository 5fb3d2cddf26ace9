"""What is measured, against which aim. Each case returns rows for the record."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.batch_cases import batch_memory, batch_queries, batch_resume, batch_speed
from benchmarks.hibernation_cases import hibernation_file
from benchmarks.images import folder, image
from benchmarks.large_cases import open_large_bitmap
from benchmarks.measure import median_wall, paired, peak
from benchmarks.row import Row, dumpscan
from benchmarks.series_cases import attribute_blocks, compare_three, html_report
from benchmarks.symbols import private_symbols

_MB = 1 << 20


def vol(path: Path, plugin: str) -> list[str]:
    """A volatility3 command line on the same image, offline, with the real symbols."""
    program, symbols = str(Path(sys.executable).with_name("vol")), str(private_symbols(folder()))
    cache = folder() / "vol-cache"
    cache.mkdir(exist_ok=True)
    return [program, "-q", "--offline", "--cache-path", str(cache), "-s", symbols, "-f", str(path), plugin]


def verdict_from_tables() -> Iterator[Row]:
    """A table verdict does not depend on RAM size, and starts fast."""
    large, small = str(image("tables-2gb")), str(image("tables-128mb"))
    big, little, ratio = paired(dumpscan("verdict", large), dumpscan("verdict", small), 9)
    yield Row("verdict from tables, 2 GB complete dump, wall", f"{big:.3f} s", "<= 0.35 s", big <= 0.35)
    yield Row("the same on 128 MB, wall", f"{little:.3f} s", "", None)
    yield Row("verdict 2 GB / 128 MB", f"{ratio:.2f}", "<= 1.2", ratio <= 1.2)
    kernel = median_wall(dumpscan("verdict", str(image("kernel-2gb"))))
    yield Row("verdict from tables, 2 GB kernel dump, wall", f"{kernel:.3f} s", "<= 0.35 s", kernel <= 0.35)
    highest = peak(dumpscan("verdict", large), "VmHWM") / _MB
    yield Row("peak memory of that verdict", f"{highest:.0f} MB", "<= 110 MB", highest <= 110)


def verdict_against_bigpools() -> Iterator[Row]:
    """The same image, the same question's smallest part, in volatility3."""
    if private_symbols(folder()) is None:
        yield Row("verdict / vol windows.bigpools", "skipped: ../shared/symbols is absent", "<= 1/8", None)
        return
    path = image("tables-2gb")
    ours, theirs, ratio = paired(dumpscan("verdict", str(path)), vol(path, "windows.bigpools"), 5)
    figure = f"1/{1 / ratio:.1f} ({ours:.2f} s : {theirs:.2f} s)"
    yield Row("verdict / vol windows.bigpools, 2 GB", figure, "<= 1/8", ratio <= 1 / 8)


def page_walk() -> Iterator[Row]:
    """Bytes of pool pages walked a second in one process, page cache warm."""
    from dumpscan import open as open_image
    from dumpscan.pool.bigpages import read_big_pages
    from dumpscan.pool.pages import walk_pool
    from dumpscan.pool.tables import find_tables

    path, speeds = image("pool-512mb"), []
    for _ in range(4):
        case = open_image(path)
        kernel = case.kernel
        big = read_big_pages(kernel, find_tables(kernel))
        start = time.perf_counter()
        walked = walk_pool(kernel, big)
        assert walked is not None
        speeds.append(walked.walked * 4096 / (time.perf_counter() - start) / 1e9)
    speed = statistics.median(speeds[1:])
    yield Row("page walk, 512 MB of pool, one process", f"{speed:.2f} GB/s", ">= 1 GB/s", speed >= 1)
    anonymous = peak(dumpscan("pools", str(path), "--source", "pages"), "RssAnon") / _MB
    yield Row("peak RssAnon of that walk", f"{anonymous:.0f} MB", "<= 300 MB", anonymous <= 300)


def walk_against_poolscanner() -> Iterator[Row]:
    """A walk of every pool page against volatility3's scan for objects only."""
    path = image("pool-250mb")
    ours = median_wall(dumpscan("pools", str(path), "--source", "pages"))
    yield Row("pools --source pages, 2 GB with 250 MB of pool, wall", f"{ours:.2f} s", "", None)
    if private_symbols(folder()) is None:
        yield Row("pools / vol windows.poolscanner", "skipped: ../shared/symbols is absent", "<= 1/25", None)
        return
    theirs = median_wall(vol(path, "windows.poolscanner"), 1)
    figure = f"1/{theirs / ours:.0f} ({ours:.2f} s : {theirs:.1f} s)"
    yield Row("pools / vol windows.poolscanner", figure, "<= 1/25", ours / theirs <= 1 / 25)


def raw_image() -> Iterator[Row]:
    """No header: the kernel by scan. The second figure is a scan that has to read everything."""
    path = image("raw-2gb")
    wall = median_wall(dumpscan("info", str(path)))
    yield Row("info on a 2 GB raw image, whole process", f"{wall:.2f} s", "<= 1 s per GB", wall <= 2.0)
    speed = full_scan_seconds(path) / 2
    yield Row(
        "scan of all of it for page tables and KDBG", f"{speed:.2f} s per GB", "<= 1 s per GB", speed <= 1
    )


def full_scan_seconds(path: Path) -> float:
    """Seconds for one pass over every page, looking for what locates a kernel."""
    import numpy as np

    from dumpscan.image.recognise import open_image
    from dumpscan.kernel import kdbg
    from dumpscan.memory import dtb

    memory = open_image(path).memory
    assert memory is not None
    scratch = np.empty((dtb.CHUNK, 4096), np.uint8)
    start = time.perf_counter()
    for pfns in dtb.chunks(memory):
        rows, _ = memory.pages(pfns, scratch)
        list(dtb.find_in(rows, pfns))
        list(kdbg.find_in(rows, pfns))
    return time.perf_counter() - start


def start_up() -> Iterator[Row]:
    """What a user waits for before anything is read."""
    wall = median_wall(dumpscan("--help"), 9)
    yield Row("dumpscan --help, wall", f"{wall:.3f} s", "", None)


CASES: dict[str, Callable[[], Iterator[Row]]] = {
    "start": start_up,
    "verdict": verdict_from_tables,
    "bigpools": verdict_against_bigpools,
    "walk": page_walk,
    "poolscanner": walk_against_poolscanner,
    "raw": raw_image,
    "bitmap": open_large_bitmap,
    "hibernation": hibernation_file,
    "html": html_report,
    "compare": compare_three,
    "attribute": attribute_blocks,
    "batch": batch_speed,
    "batch-resume": batch_resume,
    "batch-queries": batch_queries,
    "batch-memory": batch_memory,
}


def machine_line() -> str:
    """What the figures were measured on, in one line."""
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].split(":", 1)[1].strip() if lines else model
    return f"{os.cpu_count()} cores, {model}, Python {sys.version.split()[0]}"
