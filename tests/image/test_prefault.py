"""Mapping windows ahead of a gather changes no byte and never asks beyond the file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from dumpscan.image.physical import FileMemory, scattered
from dumpscan.image.prefault import Prefault
from dumpscan.image.source import map_file

PAGE = 4096


def image(folder: Path, pages: int) -> Path:
    """A file whose every page starts with its own number."""
    rows = np.zeros((pages, PAGE // 4), np.uint32)
    rows[:, 0] = np.arange(pages)
    path = folder / "numbered.bin"
    path.write_bytes(rows.tobytes())
    return path


def test_dense_gather_over_several_windows(tmp_path: Path) -> None:
    data = map_file(image(tmp_path, 1100)).data
    one = np.array([1100], np.int64)
    memory = FileMemory(data, np.zeros(1, np.int64), one, np.zeros(1, np.int64))
    wanted = np.random.default_rng(3).permutation(1200)
    rows, mask = memory.pages(wanted)
    assert mask.tolist() == (wanted < 1100).tolist()
    assert rows.view(np.uint32)[mask, 0].tolist() == wanted[mask].tolist()


def test_pages_all_over_a_file_read_singly(tmp_path: Path) -> None:
    data = map_file(image(tmp_path, 1100)).data
    one = np.array([1100], np.int64)
    memory = FileMemory(data, np.zeros(1, np.int64), one, np.zeros(1, np.int64))
    wanted = np.array([1099, 3, 5000, 640])
    with scattered(memory, wanted):
        rows, mask = memory.pages(wanted)
    assert mask.tolist() == [True, True, False, True]
    assert rows.view(np.uint32)[mask, 0].tolist() == [1099, 3, 640]


def test_nothing_around_single_pages_is_read(tmp_path: Path) -> None:
    """In the page cache afterwards: the pages asked for, and hardly another."""
    path = image(tmp_path, 16_384)
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    data = map_file(path).data
    one = np.array([16_384], np.int64)
    memory = FileMemory(data, np.zeros(1, np.int64), one, np.zeros(1, np.int64))
    wanted = np.arange(0, 16_384, 1024)
    before = bytes_read()
    with scattered(memory, wanted):
        rows, _ = memory.pages(wanted)
    assert rows.view(np.uint32)[:, 0].tolist() == wanted.tolist()
    assert bytes_read() - before <= 4 * len(wanted) * PAGE


def bytes_read() -> int:
    """Bytes that this process had fetched from storage."""
    try:
        text = Path("/proc/self/io").read_text("ascii")
    except OSError:
        pytest.skip("the system does not count what a process reads")
    return int(text.split("\nread_bytes: ")[1].split("\n")[0])


def test_memory_that_is_no_mapped_file_is_left_alone() -> None:
    memory = np.full(100 * PAGE, 7, np.uint8)
    ahead = Prefault(memory)
    ahead.bring(np.arange(100, dtype=np.int64) * PAGE, np.ones(100, np.bool_))
    assert ahead._map is None
    assert bool((memory == 7).all())


def test_part_of_a_mapping_is_left_alone(tmp_path: Path) -> None:
    """Offsets into a slice are not offsets into the mapping: nothing may be mapped by them."""
    data = map_file(image(tmp_path, 64)).data[PAGE:]
    assert Prefault(data)._map is None
