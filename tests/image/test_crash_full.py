"""Complete dumps (type 1): runs, claims of the header, filler, damage, truncation."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from dumpscan.errors import AbsentMemory, DamagedImage, UnsupportedImage
from dumpscan.image.recognise import open_image
from tests.image.writers import header32, header64, page

RUNS = [(1, 2), (5, 1), (0x100, 3)]


def dump32(tmp_path: Path, **kwargs: int | None) -> Path:
    """Runs of 2, 1 and 3 pages: page 1 lies at 0x1000, page 5 at 0x3000, page 0x100 at 0x4000."""
    path = tmp_path / "full.dmp"
    body = b"".join(page(pfn) for pfn in (1, 2, 5, 0x100, 0x101, 0x102))
    path.write_bytes(header32(runs=RUNS, **kwargs) + body)
    return path


def test_pages_of_a_32_bit_dump_follow_the_header_run_after_run(tmp_path: Path) -> None:
    opened = open_image(dump32(tmp_path))
    assert opened.memory is not None
    for pfn in (1, 2, 5, 0x100, 0x101, 0x102):
        assert opened.memory.read(pfn * 4096, 4096) == page(pfn)
    assert opened.info.format == "crash32-full"
    assert opened.info.description == "32-bit Windows complete dump, type 1"
    assert (opened.info.pages_present, opened.info.pages_expected) == (6, 6)
    assert (opened.info.bytes, opened.info.bytes_expected, opened.info.truncated) == (0x7000, 0x7000, False)
    assert opened.info.comment == "Hello from test"
    assert [run.tolist() for run in opened.memory.runs()] == [[1, 5, 0x100], [2, 1, 3]]


def test_pages_outside_the_runs_are_absent(tmp_path: Path) -> None:
    memory = open_image(dump32(tmp_path)).memory
    assert memory is not None
    with pytest.raises(AbsentMemory) as caught:
        memory.read(0x2FF0, 0x20)
    assert caught.value.address == 0x3000
    assert memory.present(np.array([0, 1, 3, 5, 6, 0x103])).tolist() == [
        False,
        True,
        False,
        True,
        False,
        False,
    ]


def test_claims_of_a_32_bit_header(tmp_path: Path) -> None:
    hints = open_image(dump32(tmp_path)).hints
    assert (hints.arch, hints.build, hints.checked, hints.processors) == ("x86", 2600, False, 2)
    assert hints.dtbs == (0x319020,)
    assert hints.pae is True
    assert hints.kdbg == 0x80545AE0
    assert hints.ps_loaded_module_list == 0x80553FC0
    assert hints.ps_active_process_head == 0x8055A158
    assert hints.pfn_database == 0x81000000
    assert hints.system_time == 128564496000000000
    assert hints.uptime == 310000000000
    assert hints.product_type == 1
    assert hints.bugcheck is not None
    assert (hints.bugcheck.code, hints.bugcheck.name) == (0xE2, "MANUALLY_INITIATED_CRASH")
    assert hints.bugcheck.parameters == ("0x1", "0x2", "0x3", "0xffffffff")


def test_claims_of_a_64_bit_header(tmp_path: Path) -> None:
    path = tmp_path / "full64.dmp"
    path.write_bytes(header64(runs=[(0x10, 1)]) + page(0x10))
    opened = open_image(path)
    hints = opened.hints
    assert opened.memory is not None
    assert opened.memory.read(0x10000, 4) == struct.pack("<I", 0x10)
    assert opened.info.format == "crash64-full"
    assert (hints.arch, hints.build, hints.checked, hints.processors) == ("x64", 6001, True, 4)
    assert hints.dtbs == (0x124000,)
    assert hints.pae is None
    assert hints.kdbg == 0xFFFFF80001939130
    assert hints.uptime == 245000000000
    assert hints.product_type == 3
    assert hints.bugcheck is not None
    assert hints.bugcheck.name == "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED_M"
    assert hints.bugcheck.parameters[0] == "0xffffffffc0000005"


def test_filler_is_absent_not_a_value(tmp_path: Path) -> None:
    head = bytearray(b"PAGE" * 1024)
    head[0:8] = b"PAGEDUMP"
    struct.pack_into("<IIII", head, 0x64, 1, 1, 0, 1)
    struct.pack_into("<I", head, 0xF88, 1)
    path = tmp_path / "filler.dmp"
    path.write_bytes(head + page(0))
    opened = open_image(path)
    hints = opened.hints
    claims = (hints.build, hints.checked, hints.pae, hints.kdbg, hints.processors, hints.bugcheck)
    assert claims == (None,) * 6
    assert (hints.system_time, hints.uptime, hints.product_type, hints.dtbs) == (None, None, None, ())
    assert opened.info.comment is None


def test_zero_time_and_uptime_are_absent(tmp_path: Path) -> None:
    head = bytearray(header32(runs=[(0, 1)]))
    head[0xFB8:0xFC8] = bytes(16)
    path = tmp_path / "zero.dmp"
    path.write_bytes(head + page(0))
    hints = open_image(path).hints
    assert (hints.system_time, hints.uptime) == (None, None)


def test_a_dump_that_was_cut_short_keeps_what_it_has(tmp_path: Path) -> None:
    path = dump32(tmp_path)
    path.write_bytes(path.read_bytes()[: 0x5000 + 100])  # ends 100 bytes into page 0x101
    opened = open_image(path)
    assert opened.memory is not None
    assert opened.info.truncated
    assert (opened.info.pages_present, opened.info.pages_expected) == (4, 6)
    assert (opened.info.bytes, opened.info.bytes_expected) == (0x5064, 0x7000)
    assert opened.memory.read(0x100000, 4096) == page(0x100)
    with pytest.raises(AbsentMemory):
        opened.memory.read(0x101000, 1)


def test_secondary_data_behind_the_pages_is_no_damage(tmp_path: Path) -> None:
    path = dump32(tmp_path)
    path.write_bytes(path.read_bytes() + b"secondary data")
    opened = open_image(path)
    assert not opened.info.truncated
    assert opened.info.notes == ()


def test_ia64_dumps_have_8_kb_pages(tmp_path: Path) -> None:
    path = tmp_path / "ia64.dmp"
    path.write_bytes(header64(runs=[(3, 1), (8, 1)], machine=0x200) + page(3, 8192) + page(8, 8192))
    opened = open_image(path)
    assert opened.memory is not None
    assert (opened.info.page_size, opened.memory.page_size, opened.hints.arch) == (8192, 8192, "ia64")
    # facts/ia64.md 1: file offset = 0x2000 + 8192 * index
    assert opened.memory.read(8 * 8192 + 8188, 4) == struct.pack("<I", 8)
    assert opened.memory.read(3 * 8192, 8192) == page(3, 8192)


@pytest.mark.parametrize(
    ("dump_type", "word"),
    [(3, "header-only"), (7, "automatic"), (8, "RDMP"), (9, "RDMP"), (10, "RDMP")],
)
def test_types_that_are_not_read_are_named(tmp_path: Path, dump_type: int, word: str) -> None:
    with pytest.raises(UnsupportedImage, match=word) as caught:
        open_image(dump32(tmp_path, dump_type=dump_type))
    assert caught.value.exit_code == 5


def test_arm64_dumps_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "arm.dmp"
    path.write_bytes(header64(runs=[(0, 1)], machine=0xAA64) + page(0))
    with pytest.raises(UnsupportedImage, match="ARM64"):
        open_image(path)


@pytest.mark.parametrize("dump_type", [None, 0, 0x11])
def test_an_unusable_dump_type_is_decided_by_structure(tmp_path: Path, dump_type: int | None) -> None:
    opened = open_image(dump32(tmp_path, dump_type=dump_type))
    assert opened.memory is not None
    assert opened.info.format == "crash32-full"
    assert opened.memory.read(0x100000, 4) == struct.pack("<I", 0x100)
    assert "structure shows type 1" in opened.info.notes[0]


@pytest.mark.parametrize("number", [0xFFFFFFFF, 87, 0, 0x45474150])
def test_an_absurd_run_count_is_damage_with_its_offset(tmp_path: Path, number: int) -> None:
    path = dump32(tmp_path)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, 0x64, number)
    path.write_bytes(data)
    with pytest.raises(DamagedImage, match="0x64") as caught:
        open_image(path)
    assert caught.value.exit_code == 6
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "runs",
    [[(1, 5), (3, 2)], [(9, 1), (1, 1)], [(4, 2), (4, 2)]],
    ids=["overlap", "unsorted", "twice"],
)
def test_overlapping_or_unsorted_runs_are_damage(tmp_path: Path, runs: list[tuple[int, int]]) -> None:
    path = tmp_path / "overlap.dmp"
    path.write_bytes(header32(runs=runs) + bytes(0x20000))
    with pytest.raises(DamagedImage, match="0x74"):  # the second run, at 0x6c + 8
        open_image(path)


def test_a_64_bit_run_beyond_any_machine_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "huge.dmp"
    path.write_bytes(header64(runs=[(0, 0xFFFFFFFFFFFFFFFF)], pages=1) + page(0))
    with pytest.raises(DamagedImage, match="0x98"):
        open_image(path)


def test_runs_that_contradict_the_page_count_and_the_file_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "sum.dmp"
    path.write_bytes(header32(runs=[(0, 0x10000)], pages=2) + page(0) + page(1))
    with pytest.raises(DamagedImage, match="NumberOfPages"):
        open_image(path)


def test_a_wrong_page_count_is_only_noted_when_the_runs_fit(tmp_path: Path) -> None:
    path = tmp_path / "sum.dmp"
    path.write_bytes(header32(runs=[(0, 2)], pages=7) + page(0) + page(1))
    opened = open_image(path)
    assert opened.info.pages_present == 2
    assert "0x7" in opened.info.notes[0]


@pytest.mark.parametrize("size", [8, 0x800, 0xFFF])
def test_a_file_that_ends_inside_the_header_is_damage(tmp_path: Path, size: int) -> None:
    path = tmp_path / "cut.dmp"
    path.write_bytes(header32(runs=[(0, 1)])[:size])
    with pytest.raises(DamagedImage, match="header"):
        open_image(path)


def test_a_broken_second_signature_is_damage(tmp_path: Path) -> None:
    path = dump32(tmp_path)
    path.write_bytes(b"PAGEXXXX" + path.read_bytes()[8:])
    with pytest.raises(DamagedImage, match="0x4"):
        open_image(path)
