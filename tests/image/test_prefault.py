"""Mapping windows ahead of a gather changes no byte and never asks beyond the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dumpscan.image.physical import FileMemory
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


def test_memory_that_is_no_mapped_file_is_left_alone() -> None:
    memory = np.zeros(100 * PAGE, np.uint8)
    Prefault(memory).bring(np.arange(100, dtype=np.int64) * PAGE, np.ones(100, np.bool_))


def test_part_of_a_mapping_is_left_alone(tmp_path: Path) -> None:
    """Offsets into a slice are not offsets into the mapping: nothing may be mapped by them."""
    data = map_file(image(tmp_path, 64)).data[PAGE:]
    assert Prefault(data)._map is None
