"""Sparse files of a terabyte: holes are zeros that nobody reads, memory and time stay small."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dumpscan
import samples
from dumpscan.errors import KernelNotFound, NotAnImage
from dumpscan.image import holes
from dumpscan.image.holes import Data, data_of, filled
from dumpscan.image.physical import filled_runs
from dumpscan.image.recognise import open_image
from dumpscan.memory.dtb import chunks

ROOT = Path(__file__).parents[2]
TB = 1 << 40
PEAK = 150 << 20
"""Bytes resident at most. A verdict on a small image takes some 80 MB."""


def spread(path: Path, size: int, pieces: dict[int, bytes]) -> Path:
    """A file of ``size`` bytes that holds these pieces and nothing else."""
    with path.open("r+b" if path.exists() else "wb") as file:
        for at, data in pieces.items():
            file.seek(at)
            file.write(data)
        file.truncate(size)
    if data_of(path, size) is None:
        pytest.skip("the file system of the temporary folder has no holes, or does not tell of them")
    return path


def of(*pairs: tuple[int, int]) -> Data:
    return Data(*np.array(pairs, np.int64).reshape(-1, 2).T)


def runs_of(runs: list[tuple[int, int, int]], data: Data) -> list[tuple[int, int]]:
    pfn, count, offset = np.array(runs, np.int64).T
    found = filled(pfn, count, offset, 4096, data)
    return list(zip(found.base_page.tolist(), found.page_count.tolist(), strict=True))


def test_pages_that_are_partly_data_are_kept() -> None:
    # Bytes 4096..45056 are pages 0..10, 45056..86016 pages 100..110.
    runs = [(0, 10, 4096), (100, 10, 45056)]
    assert runs_of(runs, of((0, 5000), (20000, 50000))) == [(0, 1), (3, 7), (100, 2)]
    assert runs_of(runs, of((0, 1 << 20))) == [(0, 10), (100, 10)]
    assert runs_of(runs, of((0, 4096), (86016, 90000))) == []
    assert runs_of(runs, of()) == []


def test_two_pieces_of_one_page_are_one_page() -> None:
    assert runs_of([(7, 3, 0)], of((0, 100), (200, 300), (4000, 5000))) == [(7, 2)]


def test_runs_need_not_lie_in_the_files_order() -> None:
    assert runs_of([(0, 2, 8192), (50, 2, 0)], of((4096, 12288))) == [(0, 1), (51, 1)]


def test_the_data_of_a_sparse_file(tmp_path: Path) -> None:
    path = spread(tmp_path / "a", TB, {1 << 20: b"x" * 65536, TB // 2: b"y" * 65536})
    data = data_of(path, TB)
    assert data is not None
    assert data.start.tolist() == [1 << 20, TB // 2]
    assert (data.end - data.start).tolist() == [65536, 65536]
    assert data_of(path, TB - 1) is None, "not the file that was mapped"
    assert data_of(tmp_path / "missing", TB) is None


def test_a_file_of_very_many_pieces_is_looked_at_no_longer_than_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = {at << 30: b"x" * 65536 for at in (1, 2, 3, 4)}
    path = spread(tmp_path / "a", 8 << 30, pieces)
    monkeypatch.setattr(holes, "_MOST_EXTENTS", 3)
    data = data_of(path, 8 << 30)
    assert data is not None
    assert data.start.tolist() == [1 << 30, 2 << 30, 3 << 30]
    assert data.end.tolist()[-1] == 8 << 30, "what lies behind counts as data"


def test_a_whole_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(os.urandom(2 << 20))
    assert data_of(path, 2 << 20) is None
    memory = open_image(samples.write(samples.build(ram_mb=16), "lime", tmp_path / "b")).memory
    assert memory is not None


def test_a_terabyte_of_nothing_is_refused_at_once(tmp_path: Path) -> None:
    path = spread(tmp_path / "empty.raw", TB, {})
    with pytest.raises(NotAnImage, match="nothing but zeros"):
        open_image(path)


def test_a_terabyte_without_a_kernel_is_searched_where_there_is_data(tmp_path: Path) -> None:
    path = spread(tmp_path / "junk.raw", TB, {5 << 30: b"\1" * (1 << 20), 900 << 30: b"\2" * (1 << 20)})
    opened = open_image(path)
    assert opened.memory is not None and opened.info.pages_present == TB // 4096
    assert sum(len(pfns) for pfns in chunks(opened.memory)) == 512
    assert filled_runs(opened.memory).base_page.tolist() == [5 << 18, 900 << 18]
    assert opened.memory.read(700 << 30, 8) == bytes(8), "a hole is zeros, not absent"
    with pytest.raises(KernelNotFound):
        _ = dumpscan.open(path).kernel


@pytest.fixture(scope="module", params=["xpsp3-x86-pae", "vista-sp1-x64"])
def machine(request: pytest.FixtureRequest) -> samples.Machine:
    return samples.build(profile=request.param, ram_mb=24, seed=5, cycles=1500)


# Its own peak, not ru_maxrss: that begins with what the process that started it had.
_PEAK = """
import sys
from dumpscan.cli.main import main
try:
    main()
finally:
    with open("/proc/self/status") as status:
        print(next(line.split()[1] for line in status if line.startswith("VmHWM")), file=sys.stderr)
"""


def judged(path: Path, machine: samples.Machine, *options: str) -> None:
    """The verdict's command on ``path`` in a process of its own, by its peak memory; then its answer."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the system does not tell the peak memory of a process")
    command = [sys.executable, "-c", _PEAK, "verdict", str(path), *options]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert int(result.stderr.split()[-1]) * 1024 < PEAK
    assert dumpscan.open(path).verdict().verdict.code == machine.truth["expected"]["verdict"]


HIGH = {5 << 30: b"\3" * (1 << 20), 900 << 30: b"KDBG" * (1 << 18)}


def test_a_terabyte_raw_image(machine: samples.Machine, tmp_path: Path) -> None:
    path = spread(samples.write(machine, "raw", tmp_path / "a.raw"), TB, HIGH)
    judged(path, machine, "--census", "pages")


def test_a_terabyte_elf_core(machine: samples.Machine, tmp_path: Path) -> None:
    """A segment for the machine, and one of a terabyte less a gigabyte above it, nearly all hole."""
    raw = samples.write(machine, "raw", tmp_path / "low.raw").read_bytes()
    size, high = len(raw), TB - (1 << 30)
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head += struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    head += struct.pack("<IIQQQQQQ", 1, 0, 0x1000, 0, 0, size, size, 0)
    head += struct.pack("<IIQQQQQQ", 1, 0, 0x1000 + size, 0, 1 << 30, high, high, 0)
    pieces = {0: head, 0x1000: raw, **HIGH}
    path = spread(tmp_path / "a.elf", 0x1000 + size + high, pieces)
    opened = open_image(path)
    assert opened.info.pages_present == (size + high) // 4096
    judged(path, machine)


@pytest.mark.parametrize("sparse", [True, False], ids=["whole", "cut off"])
def test_a_complete_dump_with_runs_of_a_terabyte(
    machine: samples.Machine, sparse: bool, tmp_path: Path
) -> None:
    """The header's last run grows to a terabyte; the file follows, or ends where it did."""
    path = samples.write(machine, "full", tmp_path / "a.dmp")
    wide = machine.pointer == 8
    at, form, head = (0x98, "<QQ", 0x2000) if wide else (0x6C, "<II", 0x1000)
    content = bytearray(path.read_bytes())
    last = at + (len(machine.ram.runs) - 1) * struct.calcsize(form)
    base, count = struct.unpack_from(form, content, last)
    more = TB // 4096 - base
    struct.pack_into(form, content, last, base, more)
    total = sum(pages for _, pages in machine.ram.runs) - count + more
    struct.pack_into("<Q" if wide else "<I", content, 0x90 if wide else 0x68, total)
    path.write_bytes(content)
    if sparse:
        spread(path, head + total * 4096, {})
    opened = open_image(path)
    assert opened.info.pages_expected == total
    assert opened.info.truncated is not sparse
    if sparse:
        judged(path, machine)
    else:
        assert opened.info.pages_present == (len(content) - head) // 4096
