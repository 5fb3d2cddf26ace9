"""Measurements of images that are large only by their headers: sparse files, made when asked for."""

from __future__ import annotations

import statistics
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.images import folder
from benchmarks.row import Row

_MB = 1 << 20
_PAGES = 1 << 24
"""64 GB of memory; every other four pages of it are in the dump: two million runs, 32 GB of holes."""

_OPEN = """
import sys, time
from pathlib import Path
from dumpscan.image.recognise import open_image
start = time.perf_counter()
opened = open_image(Path(sys.argv[1]))
wall = time.perf_counter() - start
# Not ru_maxrss: that begins with what the process that started this one had.
lines = Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
print(wall, peak, len(opened.memory.runs().base_page))
"""


def bitmap_dump(path: Path) -> None:
    """A 64-bit complete dump with a page bitmap (DumpType 5), all pages zero."""
    bits = np.full(_PAGES // 8, 0x0F, np.uint8).tobytes()
    header = bytearray(b"PAGE" * 0x800)
    header[:0x10] = b"PAGEDU64" + struct.pack("<II", 15, 6001)
    struct.pack_into("<Q", header, 0x10, 0x124000)
    struct.pack_into("<I", header, 0x30, 0x8664)
    struct.pack_into("<I", header, 0xF98, 5)
    first = (len(header) + 0x38 + len(bits) + 4095) // 4096 * 4096
    with path.open("wb") as file:
        file.write(header)
        file.write(b"FDMPDUMP" + bytes(0x18) + struct.pack("<QQQ", first, _PAGES // 2, _PAGES))
        file.write(bits)
        file.truncate(first + _PAGES // 2 * 4096)


def open_large_bitmap() -> Iterator[Row]:
    """Opening it, headers and runs, in a process of its own."""
    path = folder() / "bitmap-64gb-v1.dmp"
    if not path.is_file():
        bitmap_dump(path)
    found = []
    for _ in range(6):
        result = subprocess.run([sys.executable, "-c", _OPEN, str(path)], capture_output=True, check=True)
        found.append([float(word) for word in result.stdout.split()])
    wall, peak = (statistics.median(column) for column in list(zip(*found[1:], strict=True))[:2])
    runs = int(found[0][2])
    yield Row(f"open a 64 GB bitmap dump of {runs:,} runs", f"{wall:.2f} s", "<= 1 s", wall <= 1)
    yield Row("peak memory of that", f"{peak / _MB:.0f} MB", "<= 200 MB", peak <= 200 * _MB)
