"""A wrong number of processors never gives wrong figures: samples of four processors, bytes patched.

Offsets: KDBG+0x218 KiProcessorBlock (facts/kdbg.json); DUMP_HEADER64+0x34 NumberProcessors
(facts/dump-headers.json).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import cast

import pytest

import dumpscan
import samples
from dumpscan.case import Case
from dumpscan.kernel.machine import processor_count
from dumpscan.memory.virtual import VirtualMemory
from tests.pool.machine import HandMemory

KI_PROCESSOR_BLOCK = 0x218
NUMBER_PROCESSORS = 0x34


@pytest.fixture(scope="module")
def made() -> samples.Machine:
    return samples.build("vista-sp1-x64", "leak", seed=3, ram_mb=32, cycles=1500, processors=4)


def kdbg(data: bytearray) -> int:
    at = data.index(b"KDBG") - 0x10
    assert data.count(b"KDBG", at, at + 0x400) == 1
    return at


def patched(
    made: samples.Machine, folder: Path, container: str, field: int | None, header: int | None
) -> Case:
    path = samples.write(made, container, folder / "sample.img")
    data = bytearray(path.read_bytes())
    if field is not None:
        struct.pack_into("<Q", data, kdbg(data) + KI_PROCESSOR_BLOCK, field)
    if header is not None:
        struct.pack_into("<I", data, NUMBER_PROCESSORS, header)
    path.write_bytes(data)
    return dumpscan.open(path)


def bytes_by_tag(made: samples.Machine) -> dict[str, tuple[int, int]]:
    return {tag: (row["paged_bytes"], row["np_bytes"]) for tag, row in made.truth["tracker"].items()}


def counted(case: Case) -> dict[str, tuple[int, int]]:
    return {use.tag: (use.paged.bytes, use.nonpaged.bytes) for use in case.census("tables").tags}


@pytest.mark.parametrize(
    "field", [pytest.param(0, id="zero"), pytest.param(0xFFFFF800_7FFF0000, id="unmapped")]
)
def test_without_the_processors_the_tables_are_counted(
    made: samples.Machine, tmp_path: Path, field: int
) -> None:
    case = patched(made, tmp_path, "raw", field, None)
    assert case.kernel.processors is None
    assert counted(case) == bytes_by_tag(made)


@pytest.mark.parametrize("claim", [1, 2, 9])
def test_the_processor_block_is_trusted_more_than_the_header(
    made: samples.Machine, tmp_path: Path, claim: int
) -> None:
    case = patched(made, tmp_path, "crash64-kernel", None, claim)
    assert case.kernel.machine.processors == 4
    assert f"the header says {claim} processors, KiProcessorBlock 4" in " ".join(case.kernel.info.notes)
    assert counted(case) == bytes_by_tag(made)


def test_a_header_that_is_right_is_not_remarked_on(made: samples.Machine, tmp_path: Path) -> None:
    case = patched(made, tmp_path, "crash64-kernel", None, None)
    assert not any("processors" in note for note in case.kernel.info.notes)


def test_one_table_of_four_gives_no_figures(made: samples.Machine, tmp_path: Path) -> None:
    """KiProcessorBlock with one processor in it: sums below zero betray it, and the pages answer."""
    path = samples.write(made, "raw", tmp_path / "sample.img")
    data = bytearray(path.read_bytes())
    at = kdbg(data)
    block = struct.unpack_from("<Q", data, at + KI_PROCESSOR_BLOCK)[0]
    # Both lie in the kernel image, which is one piece of a raw image.
    second = at + block - made.header["KdDebuggerDataBlock"] + 8
    assert struct.unpack_from("<Q", data, second)[0] >> 48 == 0xFFFF
    struct.pack_into("<Q", data, second, 0)
    path.write_bytes(data)
    case = dumpscan.open(path)
    assert case.kernel.processors == 1
    tables = case.census("tables")
    assert tables.tags == ()
    assert tables.coverage.tracker is not None
    assert tables.coverage.tracker < 1
    assert "more was freed than allocated" in " ".join(tables.notes)
    auto = case.census("auto")
    assert {use.source for use in auto.tags} == {"pages"}
    assert all(use.paged.bytes < 1 << 32 and use.nonpaged.bytes < 1 << 32 for use in auto.tags)


@pytest.mark.parametrize(("build", "expected"), [(6001, 64), (7601, 80), (None, 64)])
def test_more_than_one_group(build: int | None, expected: int) -> None:
    """80 processors: from Windows 7 on the array goes on behind the first 64."""
    memory = HandMemory(8)
    memory.put(0xFFFFF800_01000000, bytes(2048 * 8))
    for number in range(80):
        memory.put_pointer(0xFFFFF800_01000000 + 8 * number, 0xFFFFF880_00000180 + number * 0x10000)
    assert processor_count(cast(VirtualMemory, memory), 0xFFFFF800_01000000, build) == expected
