"""Pool pages of Itanium: 8 KB, blocks in units of 16 bytes, both splits of the header.

Header bits restated from facts/ia64.md 4 and facts/pool-structures.md: PreviousSize, PoolIndex, BlockSize
and PoolType from bit 0 up, 9/7/9/7 or 8/8/8/8 wide; the tag is the next u32.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dumpscan
import samples
from dumpscan.errors import KernelNotFound
from dumpscan.kernel.itanium import EXPERIMENTAL
from dumpscan.kernel.layouts import VISTA_IA64, W2003_IA64, Layout
from dumpscan.pool.chains import Chains, ChainWalker, KeyFormat
from dumpscan.records import replace

WIDTHS = {"9/7/9/7": (9, 7, 9, 7), "8/8/8/8": (8, 8, 8, 8)}
USED_PAGED = 3  # 6.0: paged (1) and in use (2)


def page(sizes: list[int], split: str, kind: int = USED_PAGED, index: int = 3) -> bytes:
    """A page of blocks of these sizes (in units of 16 bytes), all in use."""
    out, previous = b"", 0
    for size in sizes:
        word, shift = 0, 0
        for value, width in zip((previous, index, size, kind), WIDTHS[split], strict=True):
            assert value < 1 << width
            word, shift = word | value << shift, shift + width
        out += struct.pack("<II", word, int.from_bytes(b"IoSe", "little")) + bytes(size * 16 - 8)
        previous = size
    return out.ljust(8192, b"\0")


def walk(layout: Layout, *pages: bytes) -> Chains:
    rows = np.frombuffer(b"".join(pages), np.uint8).reshape(-1, 8192)
    return ChainWalker(layout).walk(rows, locate=True)


def test_a_page_has_512_units() -> None:
    """The largest small block, 8,160 bytes asked for, takes 511 units; the rest of a page is one."""
    found = walk(VISTA_IA64, page([511, 1], "9/7/9/7"), page([511], "9/7/9/7"), page([8] * 64, "9/7/9/7"))
    assert found.accepted.tolist() == [True, False, True]
    assert found.reach.tolist() == [8192, 8176, 8192]
    form = KeyFormat(VISTA_IA64)
    assert sorted(form.size(found.keys).tolist()) == [16, *[128] * 64, 8176]
    assert form.pool_type(found.keys).tolist() == [USED_PAGED] * 66
    assert found.paged[found.accepted].tolist() == [1, 1]


def test_a_page_of_4_kb_is_no_page() -> None:
    assert not walk(VISTA_IA64, page([128, 128], "9/7/9/7")).accepted.any()


def test_each_split_reads_its_own_pages() -> None:
    sizes = [200, 100, 12, 200]
    wide = replace(VISTA_IA64, header_split="8/8/8/8")
    for layout, split in ((VISTA_IA64, "9/7/9/7"), (wide, "8/8/8/8")):
        found = walk(layout, *(page(sizes, each) for each in WIDTHS))
        assert found.accepted.tolist() == [split == each for each in WIDTHS]
        assert sorted(KeyFormat(layout).size(found.keys).tolist()) == [192, 1600, 3200, 3200]


def test_5_2_marks_blocks_in_use_with_bit_4() -> None:
    """Paged is 1, stored plus one and with bit 4: 6 (facts/pool-structures.md, PoolType)."""
    found = walk(W2003_IA64, page([256, 256], "9/7/9/7", kind=6), page([256, 256], "9/7/9/7", kind=2))
    assert found.accepted.tolist() == [True, True]
    assert found.paged.tolist() == [1, -1]


@pytest.fixture(scope="module")
def machine() -> samples.Machine:
    return samples.build("2008-ia64", "leak", ram_mb=24, cycles=1500, seed=5)


def rewritten(machine: samples.Machine, split: str) -> np.ndarray[Any, Any]:
    """Pages of the machine's memory with the header of each block in another split; too large blocks
    keep theirs, which damages their pages."""
    pages: np.ndarray[Any, Any] = machine.ram.pages.copy()
    for frame in np.flatnonzero(machine.ram.touched):
        blocks = chain(pages[frame].tobytes())
        for at, previous, index, size, kind in blocks:
            if max(previous, index, size, kind) < 256:
                word = previous | index << 8 | size << 16 | kind << 24
                pages[frame, at : at + 4] = np.frombuffer(struct.pack("<I", word), np.uint8)
    return pages


def chain(data: bytes) -> list[tuple[int, int, int, int, int]]:
    found, at, before = [], 0, 0
    while at < 8192:
        word = struct.unpack_from("<I", data, at)[0]
        previous, index, size, kind = word & 0x1FF, word >> 9 & 0x7F, word >> 16 & 0x1FF, word >> 25
        if previous != before or not size or at + size * 16 > 8192:
            return []
        found.append((at, previous, index, size, kind))
        at, before = at + size * 16, size
    return found


def test_the_split_is_found_by_the_chain_rule(machine: samples.Machine, tmp_path: Path) -> None:
    """The same memory with headers of 8/8/8/8 bits: the figures of all pages without large blocks."""
    kernel = dumpscan.open(samples.write(machine, "full", tmp_path / "a.dmp")).kernel
    assert kernel.layout is not None and kernel.layout.header_split == "9/7/9/7"
    path = tmp_path / "b.dmp"
    kept = machine.ram.pages.copy()
    try:
        machine.ram.pages[:] = rewritten(machine, "8/8/8/8")
        samples.write(machine, "full", path)
    finally:
        machine.ram.pages[:] = kept
    case = dumpscan.open(path)
    assert case.kernel.layout is not None and case.kernel.layout.header_split == "8/8/8/8"
    assert any("8/8/8/8 bits are sound" in note for note in case.kernel.info.notes)
    iose = next(use for use in case.census("pages").tags if use.tag == "IoSe")
    books = machine.truth["small_blocks"]["paged"]["IoSe"]
    resident = books["valid"]["allocs"] + books["transition"]["allocs"]
    # Few pages have a block that is too large for eight bits.
    assert 0.9 * resident <= iose.paged.outstanding <= resident


@pytest.mark.parametrize("container", ["kernel", "bitmap"])
def test_the_output_says_that_it_is_experimental(
    machine: samples.Machine, container: str, tmp_path: Path
) -> None:
    from dumpscan.report import json, table, text
    from dumpscan.report.html import verdict as html

    case = dumpscan.open(samples.write(machine, container, tmp_path / "a.dmp"))
    result = case.report()
    assert "IA64, experimental" in " ".join(text.render(result).split())
    assert "IA64, experimental" in json.render(result)
    assert "IA64, experimental" in table.render_pools(case.pools())
    # In the document within the page, and where it is read.
    assert html.render(result).count("IA64, experimental") == 2


def test_outputs_without_notes_of_the_kernel_say_so_too(machine: samples.Machine, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from dumpscan.cli import allocations
    from dumpscan.compare.build import compare
    from dumpscan.report import compare as shown
    from dumpscan.report import text

    path = samples.write(machine, "kernel", tmp_path / "a.dmp")
    verdict = dumpscan.open(path).verdict()
    compared = compare([verdict, verdict])
    assert [note for note in compared.notes if "IA64, experimental" in note] == [EXPERIMENTAL]
    assert "IA64, experimental" in " ".join(shown.render(compared).split())
    listed = CliRunner().invoke(allocations.command, [str(path), "--big"])
    assert listed.exit_code == 0 and "note: IA64, experimental" in listed.stderr
    small = dumpscan.open(samples.write(machine, "triage", tmp_path / "b.dmp"))
    assert "IA64, experimental" in " ".join(text.render(small.verdict()).split())


@pytest.mark.parametrize("container", ["raw", "full"])
def test_other_images_than_its_crash_dumps_are_refused_by_name(
    machine: samples.Machine, container: str, tmp_path: Path
) -> None:
    """A raw image, and a crash dump whose MachineImageType (0x30) says x64."""
    path = samples.write(machine, container, tmp_path / "a.img")
    if container == "full":
        data = bytearray(path.read_bytes())
        data[0x30:0x34] = (0x8664).to_bytes(4, "little")
        path.write_bytes(data)
    with pytest.raises(KernelNotFound, match="a kernel for Itanium: of this processor only crash dumps"):
        dumpscan.open(path).kernel  # noqa: B018
