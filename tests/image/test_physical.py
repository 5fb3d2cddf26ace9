"""FileMemory: gathers and reads against a slow page-by-page reference, mixed alignments, limits."""

from __future__ import annotations

import time

import numpy as np
import pytest

from dumpscan.errors import AbsentMemory, DamagedImage
from dumpscan.image.physical import FileMemory, Segment, from_segments

RNG = np.random.default_rng(950162)
DATA = RNG.integers(0, 256, 1 << 18, np.uint8)


def memory_of(*segments: tuple[int, int, int], size: int | None = None, page_size: int = 4096) -> FileMemory:
    """Segments are (page frame, pages, file offset)."""
    pfn, count, offset = np.array(segments, np.int64).reshape(-1, 3).T
    return FileMemory(DATA[:size], pfn, count, offset, page_size)


ALIGNED = ((3, 4, 0x1000), (10, 1, 0x9000), (11, 6, 0x2000))
MIXED = ((3, 4, 0x1001), (10, 1, 0x9123), (11, 6, 0x2000))


def expected(segments: tuple[tuple[int, int, int], ...], pfn: int) -> bytes | None:
    for base, count, offset in segments:
        if base <= pfn < base + count:
            at = offset + (pfn - base) * 4096
            return DATA[at : at + 4096].tobytes()
    return None


@pytest.mark.parametrize("segments", [ALIGNED, MIXED], ids=["aligned", "mixed"])
@pytest.mark.parametrize("scratch", [False, True])
def test_pages_equal_the_reference(segments: tuple[tuple[int, int, int], ...], scratch: bool) -> None:
    memory = memory_of(*segments)
    pfns = RNG.integers(0, 20, 700)  # several working steps of the unaligned gather
    out = np.empty((800, 4096), np.uint8) if scratch else None
    rows, mask = memory.pages(pfns, out)
    assert rows.shape == (700, 4096)
    assert out is None or np.shares_memory(rows, out)
    for row, present, pfn in zip(rows, mask, pfns.tolist(), strict=True):
        want = expected(segments, pfn)
        assert present == (want is not None)
        assert want is None or row.tobytes() == want
    assert (memory.present(pfns) == mask).all()


@pytest.mark.parametrize("segments", [ALIGNED, MIXED], ids=["aligned", "mixed"])
def test_reads_cross_pages_and_runs(segments: tuple[tuple[int, int, int], ...]) -> None:
    memory = memory_of(*segments)
    whole = b"".join(expected(segments, pfn) or b"" for pfn in range(10, 17))
    assert memory.read(10 * 4096 + 100, 5 * 4096) == whole[100 : 100 + 5 * 4096]
    assert memory.read(10 * 4096 + 4095, 2) == whole[4095:4097]
    assert memory.read(3 * 4096, 0) == b""
    for pa, n, bad in ((0, 1, 0), (6 * 4096 + 4000, 200, 7 * 4096), (17 * 4096, 8, 17 * 4096)):
        with pytest.raises(AbsentMemory) as caught:
            memory.read(pa, n)
        assert caught.value.address == bad


@pytest.mark.parametrize("pa", [-1, -4096, 1 << 62, 1 << 63, 1 << 70])
def test_absurd_addresses_and_lengths_are_absent_memory(pa: int) -> None:
    memory = memory_of(*ALIGNED)
    with pytest.raises(AbsentMemory):
        memory.read(pa, 8)
    with pytest.raises(AbsentMemory):
        memory.read(3 * 4096, 1 << 60)


def test_absurd_page_numbers_are_absent() -> None:
    memory = memory_of(*ALIGNED)
    wild = np.array([3, 1 << 63, (1 << 64) - 1, 1 << 52], np.uint64)
    assert memory.present(wild).tolist() == [True, False, False, False]
    assert memory.pages(wild)[1].tolist() == [True, False, False, False]
    assert memory.present(np.array([-1, -(1 << 63), 16])).tolist() == [False, False, True]


def test_no_runs_at_all() -> None:
    memory = memory_of()
    assert memory.pages(np.array([0, 1]))[1].tolist() == [False, False]
    assert len(memory.runs().base_page) == 0
    with pytest.raises(AbsentMemory):
        memory.read(0, 1)


def test_runs_beyond_the_file_are_clipped() -> None:
    memory = memory_of((0, 10, 0x1000), (20, 4, 0x100000), size=0x1000 + 3 * 4096 + 5)
    assert [run.tolist() for run in memory.runs()] == [[0], [3]]
    assert memory.present(np.array([2, 3, 20])).tolist() == [True, False, False]


def test_overlap_and_negative_offsets_are_damage() -> None:
    with pytest.raises(DamagedImage, match="overlap"):
        memory_of((0, 4, 0), (3, 1, 0x8000))
    with pytest.raises(DamagedImage, match="negative"):
        memory_of((-1, 4, 0))


def test_segments_come_in_any_order() -> None:
    memory = from_segments(DATA, [Segment(9, 1, 0x3000), Segment(2, 1, 0x5000)])
    assert memory.read(9 * 4096, 16) == DATA[0x3000:0x3010].tobytes()
    assert memory.read(2 * 4096, 16) == DATA[0x5000:0x5010].tobytes()


def test_eight_kilobyte_pages() -> None:
    memory = memory_of((1, 2, 0x2000), page_size=8192)
    assert memory.read(8192 + 8000, 400) == DATA[0x2000 + 8000 : 0x2000 + 8400].tobytes()
    rows, mask = memory.pages(np.array([2, 3]))
    assert rows[0].tobytes() == DATA[0x4000:0x6000].tobytes()
    assert mask.tolist() == [True, False]


def test_millions_of_runs() -> None:
    count = 2_500_000
    number = np.arange(count, dtype=np.int64)
    began = time.perf_counter()
    memory = FileMemory(DATA, number * 2, np.ones(count, np.int64), (number % 60) * 4096)
    rows, mask = memory.pages(np.array([2 * 59, 2 * 2_400_000, 7]))
    assert time.perf_counter() - began < 5
    assert mask.tolist() == [True, True, False]
    assert rows[0].tobytes() == DATA[59 * 4096 : 60 * 4096].tobytes()
    assert rows[1].tobytes() == DATA[:4096].tobytes()  # 2,400,000 mod 60 is 0
