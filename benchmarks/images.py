"""The images that are measured: written once by samples/, kept in a cache folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

_VERSION = "2"
"""Part of every file name: change it when the writer or the parameters change."""

_LARGE: dict[str, Any] = {"ram_mb": 2048, "cycles": 20000}

SPECS: dict[str, tuple[str, dict[str, Any]]] = {
    "tables-128mb": ("crash32-full", {"ram_mb": 128, "cycles": 20000}),
    "kernel-128mb": ("crash32-kernel", {"ram_mb": 128, "cycles": 20000}),
    "tables-2gb": ("crash32-full", _LARGE),
    "kernel-2gb": ("crash32-kernel", _LARGE),
    "pool-250mb": ("crash32-full", {**_LARGE, "pool_mb": 250}),
    "pool-512mb": ("crash64-full", {**_LARGE, "profile": "vista-sp1-x64", "pool_mb": 512}),
    "raw-2gb": ("raw", _LARGE),
    **{
        f"series-{i}": (
            "crash32-kernel",
            {"ram_mb": 128, "cycles": 5000 * i, "boot_time": 1211900000.0, "uptime": 14400.0 * i},
        )
        for i in (1, 2, 3)
    },
    "leak-100k": ("crash32-kernel", {"ram_mb": 256, "cycles": 34000, "paged_out": 0.0}),
}
"""Name -> container and parameters of the writer. XP SP3 PAE where nothing else is said; its address
space has no room for 512 MB of paged pool, so that one is a 64-bit Vista."""


def folder() -> Path:
    """Where images are kept: DUMPSCAN_BENCH_DIR, else a cache folder outside the checkout."""
    given = os.environ.get("DUMPSCAN_BENCH_DIR")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    path = Path(given) if given else Path(cache) / "dumpscan-bench"
    path.mkdir(parents=True, exist_ok=True)
    return path


def image(name: str) -> Path:
    """The image called ``name``, written on first use (the large ones take up to a minute)."""
    container, options = SPECS[name]
    path = folder() / f"{name}-v{_VERSION}.img"
    if not path.is_file():
        import samples

        print(f"writing {path.name} ...", file=sys.stderr, flush=True)
        machine = samples.build(**{"profile": "xpsp3-x86-pae", "scenario": "leak", "seed": 7, **options})
        part = path.with_suffix(".part")
        samples.write(machine, container, part)
        if container == "raw":
            _fill_holes(part)
        part.replace(path)
    warm(path)
    return path


def _fill_holes(path: Path) -> None:
    """Noise in RAM that the machine never used: holes of a file would be passed over by a search."""
    import numpy as np

    noise = np.random.default_rng(7).bytes(1 << 22)
    size = path.stat().st_size
    with path.open("r+b", buffering=0) as file:
        at = 0
        while at < size:
            hole = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            try:
                at = os.lseek(file.fileno(), hole, os.SEEK_DATA)
            except OSError:  # ENXIO: the hole reaches to the end.
                at = size
            file.seek(hole)
            for start in range(hole, at, len(noise)):
                file.write(noise[: at - start])


def warm(path: Path) -> None:
    """Bring the file into the page cache."""
    with path.open("rb") as file:
        while file.read(1 << 24):
            pass
