"""Holes of sparse files: stretches that were never written read as zeros, and need not be read.

An image of a large machine, or of a virtual one with large memory, often lies in a sparse file: a
terabyte long, a few gigabytes of them on disk. Where the file system tells (SEEK_DATA, SEEK_HOLE), a
search passes over the holes. They are memory all the same: zeros, not absent.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dumpscan.image.physical import I64, Runs

_SPARSE = 0.75
"""Files with more than this share of their bytes on disk are read as they are."""

_MOST_EXTENTS = 1 << 16
"""Stretches of data looked for: what lies behind the last one counts as data."""


class Data(NamedTuple):
    """Stretches of a file that are not holes: first byte and end, ascending."""

    start: I64
    end: I64


def data_of(path: Path, size: int) -> Data | None:
    """The data of a file of ``size`` bytes; None where it has hardly any holes, or nobody tells."""
    seek_data, seek_hole = getattr(os, "SEEK_DATA", None), getattr(os, "SEEK_HOLE", None)
    if seek_data is None or seek_hole is None:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        state = os.fstat(descriptor)
        if state.st_size != size or state.st_blocks * 512 > _SPARSE * size:
            return None
        return _extents(descriptor, size, seek_data, seek_hole)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _extents(descriptor: int, size: int, seek_data: int, seek_hole: int) -> Data:
    starts: list[int] = []
    ends: list[int] = []
    at = 0
    while at < size and len(starts) < _MOST_EXTENTS:
        try:
            start = os.lseek(descriptor, at, seek_data)
        except OSError:
            break  # ENXIO: no data behind this place
        at = os.lseek(descriptor, start, seek_hole) if len(starts) < _MOST_EXTENTS - 1 else size
        starts.append(start)
        ends.append(at)
    return Data(np.array(starts, np.int64), np.array(ends, np.int64))


def filled(pfn: I64, count: I64, offset: I64, page_size: int, data: Data) -> Runs:
    """The pages of runs (by file offset) that lie at least partly in data, as ascending runs."""
    end = offset + count * page_size
    first = np.searchsorted(data.end, offset, side="right")
    hits = np.maximum(np.searchsorted(data.start, end, side="left") - first, 0)
    run = np.repeat(np.arange(len(pfn)), hits)
    extent = first[run] + np.arange(len(run)) - np.repeat(np.cumsum(hits) - hits, hits)
    low = np.maximum(data.start[extent] - offset[run], 0) // page_size
    high = -(-(np.minimum(data.end[extent], end[run]) - offset[run]) // page_size)
    start, stop = pfn[run] + low, pfn[run] + high
    if not len(start):
        return Runs(start, stop)
    # Two stretches of data may share a page; runs ascend, and so do the stretches within each.
    stop = np.maximum.accumulate(stop)
    fresh = np.ones(len(start), np.bool_)
    fresh[1:] = start[1:] > stop[:-1]
    head = np.flatnonzero(fresh)
    last = np.append(head[1:], len(start)) - 1
    return Runs(start[head], stop[last] - start[head])
