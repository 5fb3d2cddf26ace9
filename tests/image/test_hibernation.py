"""Hibernation files: every version's layout, resumed ones, and headers that lie."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import dumpscan
import samples
from dumpscan.case import Options, open_case
from dumpscan.errors import AbsentMemory, DamagedImage, UnsupportedImage
from dumpscan.image import hibernation, hibernation_index, packed
from dumpscan.image.c_hibernation import Ranges
from dumpscan.image.hibernation_index import fit
from dumpscan.image.opened import OpenedImage
from dumpscan.image.recognise import open_image
from dumpscan.image.source import Source
from samples.containers.hibernation import SHAPES, write_hibernation
from samples.machine import Machine
from tests.image.writers import page

VERSIONS = {
    "xp": "Windows XP or Server 2003",
    "vista": "Windows Vista",
    "vista-sp1": "Windows Vista SP1 or Server 2008",
    "vista-sp2": "Windows Vista SP2 or Server 2008 SP2",
    "7": "Windows 7 or Server 2008 R2",
}
MARK = b"\x81\x81xpress"
RUNNING = struct.pack("<IIII", 0x80000011, 0, 0x39000, 0x6F9)


@pytest.fixture(scope="module")
def machines() -> dict[str, Machine]:
    profiles = {"x86": "vista-rtm-x86-pae", "x64": "vista-sp1-x64"}
    return {arch: samples.build(profile=name, ram_mb=24, cycles=100) for arch, name in profiles.items()}


def check_pages(opened: OpenedImage, machine: Machine) -> None:
    assert opened.memory is not None
    everything = np.arange(machine.ram.frames)
    rows, present = opened.memory.pages(everything)
    saved = machine.ram.present.copy()
    saved[machine.ram.untaken()] = False
    assert np.array_equal(present, saved)
    assert np.array_equal(opened.memory.present(everything), saved)
    assert np.array_equal(rows[saved], machine.ram.pages[saved])
    runs = opened.memory.runs()
    assert int(runs.page_count.sum()) == int(saved.sum()) == opened.info.pages_present


@pytest.mark.parametrize("shape", SHAPES)
def test_every_layout(shape: str, machines: dict[str, Machine], tmp_path: Path) -> None:
    version, _, arch = shape.rpartition("-")
    machine = machines[arch]
    path = tmp_path / "hiberfil.sys"
    write_hibernation(machine, path, shape=shape)
    opened = open_image(path)
    assert f"{VERSIONS[version]} {arch}" in opened.info.description
    assert (opened.info.format, opened.info.truncated, opened.info.notes) == ("hiberfil", False, ())
    assert opened.hints.dtbs == (machine.dtb,)
    assert (opened.hints.arch, opened.hints.pae) == (arch, True if arch == "x86" else None)
    assert opened.hints.system_time == machine.options.system_time
    assert opened.hints.uptime == machine.options.uptime_100ns
    check_pages(opened, machine)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_zeroed_header(shape: str, machines: dict[str, Machine], tmp_path: Path) -> None:
    """Tables, blocks and the processor state say what the header did; its times are lost."""
    arch = shape.rpartition("-")[2]
    path = tmp_path / "memory.bin"
    write_hibernation(machines[arch], path, shape=shape, signature=bytes(4))
    opened = open_image(path)
    assert any("the header is zeroed" in note for note in opened.info.notes)
    assert opened.hints.dtbs == (machines[arch].dtb,)
    assert opened.hints.system_time is None
    check_pages(opened, machines[arch])


@pytest.mark.parametrize("arch", ["x86", "x64"])
def test_a_resumed_file_gives_the_same_verdict(
    arch: str, machines: dict[str, Machine], tmp_path: Path
) -> None:
    path = tmp_path / "hiberfil.sys"
    write_hibernation(machines[arch], path, signature=bytes(4))
    kernel = dumpscan.open(path).kernel.info
    assert kernel.found_by == "saved processor state"
    assert kernel.version == machines[arch].truth["kernel"]["file_version"]
    assert kernel.dtb == machines[arch].truth["addresses"]["dtb"]


def test_without_a_processor_state_the_kernel_is_searched_for(
    machines: dict[str, Machine], tmp_path: Path
) -> None:
    path = tmp_path / "hiberfil.sys"
    write_hibernation(machines["x64"], path)
    data = bytearray(path.read_bytes())
    data[4096:8192] = bytes(4096)
    path.write_bytes(data)
    case = dumpscan.open(path)
    assert case.opened.hints.dtbs == ()
    assert case.kernel.info.found_by == "KDBG scan"
    assert case.kernel.info.version == machines["x64"].truth["kernel"]["file_version"]


@pytest.mark.parametrize("code", [0, 1 << 63, 0xFFFFFFFF_FFFFFFFF, 0xFFFFF880_00001234])
def test_an_instruction_pointer_that_leads_nowhere(
    code: int, machines: dict[str, Machine], tmp_path: Path
) -> None:
    """Neither in an image nor mapped, or in pool: the scan finds the kernel all the same."""
    path = tmp_path / "hiberfil.sys"
    write_hibernation(machines["x64"], path)
    data = bytearray(path.read_bytes())
    struct.pack_into("<Q", data, 4096 + 0x1D8, code)
    path.write_bytes(data)
    kernel = dumpscan.open(path).kernel.info
    assert kernel.found_by == "KDBG scan"
    assert kernel.base == machines["x64"].truth["kernel"]["base"]


def test_blocks_of_the_first_table_are_followed_once_for_all_forms_that_share_it(
    machines: dict[str, Machine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine in full use has all of its pages in one table: following it is what opening costs."""
    asked = []

    def counted(source: Source, page: int, ranges: Ranges) -> tuple[bool, int]:
        asked.append((page, ranges))
        return fit(source, page, ranges)

    monkeypatch.setattr(hibernation, "fit", counted)
    path = tmp_path / "hiberfil.sys"
    write_hibernation(machines["x86"], path)
    assert "Windows Vista x86" in open_image(path).info.description
    assert asked and len(asked) == len(set(asked))


def test_windows_7(tmp_path: Path) -> None:
    machine = samples.build(profile="win7-sp1-x64", ram_mb=32, cycles=200)
    path = samples.write(machine, "hiberfil", tmp_path / "hiberfil.sys")
    case = dumpscan.open(path)
    assert "Windows 7" in case.info.description
    assert case.kernel.info.version == machine.truth["kernel"]["file_version"]
    assert case.kernel.info.found_by == "saved processor state"


def test_with_its_page_file_it_says_what_a_complete_dump_says(tmp_path: Path) -> None:
    machine = samples.build(profile="xpsp3-x86-pae", ram_mb=32, cycles=500, page_files=1, paged_out=0.2)
    found = []
    for container in ("hiberfil", "full"):
        path = samples.write(machine, container, tmp_path / container)
        beside = Path(f"{path}.pagefile0.sys")
        found.append(open_case(path, Options(page_files=(beside,))).pools("pages"))
    assert found[0].tags == found[1].tags
    assert found[0].coverage == found[1].coverage
    assert found[0].coverage.paged_pages == 1.0


def test_the_shape_of_newer_windows_is_not_written() -> None:
    machine = samples.build(profile="win10-19041-x64", ram_mb=32, cycles=10)
    assert not samples.fits(machine, "hiberfil")


# -- small files by hand: XP x86, one processor state, tables on pages that the test chooses ------------


def stored(pages: list[int]) -> bytes:
    """A block of these pages without compression."""
    data = b"".join(page(number) for number in pages)
    return MARK + struct.pack("<I", len(data) - 1 << 10 | len(pages) - 1) + bytes(20) + data


def table(ranges: list[tuple[int, int]], following: int = 0, count: int | None = None) -> bytes:
    link = struct.pack("<IIII", 0, following, 0, len(ranges) if count is None else count)
    return (link + b"".join(struct.pack("<IIII", 0, *one, 0) for one in ranges)).ljust(4096, b"\0")


def small(*parts: bytes, signature: bytes = b"hibr", length: int = 0xA8, first_table: int = 3) -> bytes:
    """Header page (zeros with a signature of zeros), free map, processor state, then the parts."""
    head = bytearray(4096)
    if any(signature):
        head[:4] = signature
        struct.pack_into("<I", head, 0xC, length)
        struct.pack_into("<I", head, 0x58, first_table)
    state = bytearray(4096)
    state[0x2CC:0x2DC] = RUNNING
    return bytes(head) + bytes(4096) + bytes(state) + b"".join(parts)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4096)


Opener = Callable[[bytes], OpenedImage]


@pytest.fixture
def opened(tmp_path: Path) -> Opener:
    def write(data: bytes) -> OpenedImage:
        path = tmp_path / "hiberfil.sys"
        path.write_bytes(data)
        return open_image(path)

    return write


def held(image: OpenedImage, pfns: list[int]) -> list[int | None]:
    """The number that each page is filled with; None where absent."""
    assert image.memory is not None
    rows, present = image.memory.pages(np.array(pfns))
    return [int(row.view("<u4")[5]) if here else None for row, here in zip(rows, present, strict=True)]


FIRST = list(range(100, 116))


def test_pages_fill_the_blocks_in_the_order_of_the_ranges(opened: Opener) -> None:
    ranges = [(200, 204), (100, 116)]
    data = small(table(ranges), stored([200, 201, 202, 203, *FIRST[:12]]), stored(FIRST[12:]))
    image = opened(data)
    assert held(image, [200, 203, 100, 111, 112, 115, 99, 116, 204]) == [
        200, 203, 100, 111, 112, 115, None, None, None,
    ]  # fmt: skip
    assert image.memory is not None
    assert image.memory.read(100 * 4096 + 4092, 8) == struct.pack("<II", 100, 101)
    with pytest.raises(AbsentMemory):
        image.memory.read(115 * 4096 + 4092, 8)
    with pytest.raises(AbsentMemory):
        image.memory.read(-4096, 8)
    image.close()
    assert held(image, [100]) == [None]


def test_a_gap_before_a_block_is_searched_up_to_10_kb(opened: Opener) -> None:
    def gap(size: int) -> bytes:
        return small(table([(100, 120)]), stored(FIRST), bytes(size), stored([116, 117, 118, 119]))

    assert held(opened(gap(9 * 1024)), [115, 116, 119]) == [115, 116, 119]
    image = opened(gap(12 * 1024))
    assert held(image, [115, 116, 119]) == [115, None, None]
    assert (image.info.pages_present, image.info.pages_expected) == (16, 20)
    assert any("no Xpress block at file offset" in note for note in image.info.notes)


def test_the_second_table(opened: Opener) -> None:
    first = padded(table([(100, 116)], following=21) + stored(FIRST))
    assert len(first) == 18 * 4096
    image = opened(small(first, table([(7, 9)]), stored([7, 8])))
    assert held(image, [100, 7, 8]) == [100, 7, 8]
    assert (image.info.notes, image.info.truncated) == ((), False)


def test_a_link_of_a_table_that_is_not_full_is_followed_only_to_the_next_pages(opened: Opener) -> None:
    first = padded(table([(100, 116)], following=31) + stored(FIRST))
    stale = bytes(10 * 4096) + table([(7, 9)]) + stored([7, 8])
    image = opened(small(first, stale))
    assert held(image, [100, 7, 8]) == [100, None, None]
    assert image.info.notes == ()


def test_what_an_earlier_hibernation_left_behind_the_last_table_is_not_read(opened: Opener) -> None:
    image = opened(small(table([(100, 116)]), stored(FIRST), stored([1] * 16)))
    assert held(image, [100, 115, 1]) == [100, 115, None]
    assert image.info.notes == ()


@pytest.mark.parametrize(
    ("signature", "word"),
    [(b"wake", "resumed"), (b"WAKE", "resumed"), (b"RSTR", "restored"), (bytes(4), "zeroed")],
)
def test_a_header_that_is_marked(opened: Opener, signature: bytes, word: str) -> None:
    image = opened(small(table([(100, 116)]), stored(FIRST), signature=signature))
    assert held(image, [100, 115]) == [100, 115]
    assert any(word in note for note in image.info.notes)


def test_a_header_that_names_a_wrong_table_or_length(opened: Opener) -> None:
    body = (table([(100, 116)]), stored(FIRST))
    for wrong in (0, 2, 1 << 31):
        assert held(opened(small(*body, first_table=wrong)), [100, 115]) == [100, 115]
    for wrong in (0, 0xE0, 0x1000):
        assert held(opened(small(*body, length=wrong)), [100, 115]) == [100, 115]


# -- lies ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        table([(100, 116)], count=0),
        table([(100, 116)], count=256),
        table([(116, 100)]),
        table([(100, 100)]),
        bytes(4096),
    ],
    ids=["no entries", "too many entries", "backwards", "empty range", "zeros"],
)
def test_no_first_table_is_one_line(opened: Opener, body: bytes) -> None:
    with pytest.raises(DamagedImage, match="range table") as caught:
        opened(small(body, stored(FIRST)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("signature", [b"hibr", b"HIBR", b"wake", b"WAKE", b"RSTR", b"brkp"])
def test_a_signature_alone(opened: Opener, signature: bytes) -> None:
    with pytest.raises(DamagedImage, match="without a readable range table"):
        opened(signature + bytes(2 << 20))


def test_no_blocks_at_all(opened: Opener) -> None:
    with pytest.raises(DamagedImage, match="range table"):
        opened(small(table([(100, 116)])))


def test_ranges_without_end_are_cut_and_those_without_blocks_cost_nothing(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables of 255 ranges of one page: the first has blocks for 32 pages, the second and third for 16."""
    monkeypatch.setattr(hibernation_index, "_MAX_RANGES", 40)
    parts, at = [], 3
    for number, blocks in enumerate((2, 1, 1)):
        first = 1000 * number
        pages = [first + 2 * n for n in range(16 * blocks)]
        body = padded(b"".join(stored(pages[n : n + 16]) for n in range(0, len(pages), 16)))
        following = at + 1 + len(body) // 4096
        parts.append(table([(first + 2 * n, first + 2 * n + 1) for n in range(255)], following) + body)
        at = following
    image = opened(small(*parts))
    assert any("more than 40 page ranges" in note for note in image.info.notes)
    assert held(image, [0, 62, 64, 1000, 1030, 1032, 2000]) == [0, 62, None, 1000, 1030, None, None]


def test_a_chain_of_tables_that_loops(opened: Opener) -> None:
    first = padded(table([(100, 116)], following=21) + stored(FIRST))
    image = opened(small(first, table([(7, 9)], following=3), stored([7, 8])))
    assert held(image, [100, 7]) == [100, 7]
    assert any("leads back" in note for note in image.info.notes)


@pytest.mark.parametrize(
    ("following", "word"),
    [(999, "beyond the end"), (5, "no range table"), (99, "no range table"), (0, "names no next one")],
)
def test_a_full_table_that_leads_nowhere(opened: Opener, following: int, word: str) -> None:
    ranges = [(2 * number, 2 * number + 1) for number in range(1, 256)]
    pages = [start for start, _ in ranges]
    blocks = [stored(pages[at : at + 16]) for at in range(0, 255, 16)]
    image = opened(small(table(ranges, following), *blocks))
    assert held(image, [2, 510]) == [2, 510]
    assert any(word in note for note in image.info.notes)
    assert image.info.truncated == (word == "beyond the end")


def test_pages_listed_twice_are_unknown(opened: Opener) -> None:
    image = opened(small(table([(100, 110), (106, 112)]), stored([*FIRST[:10], *range(106, 112)])))
    assert held(image, [100, 105, 106, 109, 110, 111]) == [100, 105, None, None, 110, 111]
    assert any("4 pages are listed more than once" in note for note in image.info.notes)


def test_a_table_that_lists_fewer_pages_than_its_blocks_hold(opened: Opener) -> None:
    first = padded(table([(100, 108)], following=21) + stored(FIRST))
    notes = opened(small(first, table([(7, 9)]), stored([7, 8]))).info.notes
    assert any("more pages than it lists" in note for note in notes)
    whole = padded(table([(100, 116)], following=21) + stored(FIRST))
    notes = opened(small(whole, table([(7, 8)]), stored([7, 8]))).info.notes
    assert any("more pages than it lists" in note for note in notes)


def test_a_range_of_a_trillion_pages_costs_nothing(opened: Opener) -> None:
    image = opened(small(table([(100, 0xFFFFFFFF)]), stored(FIRST)))
    assert image.info.pages_present == 16
    assert held(image, [100, 115, 116]) == [100, 115, None]


@pytest.mark.parametrize(
    "word",
    [0xFFFFFFFF, 0x10000 << 10 | 15, (0x10000 - 1) << 10 | 16, (0x10000 - 1) << 10 | 7],
    ids=["both", "size", "17 pages", "8 pages in the middle"],
)
def test_a_block_header_that_lies_ends_its_table(opened: Opener, word: int) -> None:
    broken = bytearray(stored(list(range(116, 132))))
    struct.pack_into("<I", broken, 8, word)
    image = opened(small(table([(100, 148)]), stored(FIRST), bytes(broken), stored(list(range(132, 148)))))
    assert held(image, [100, 115, 116, 132]) == [100, 115, None, None]
    assert any("claims" in note for note in image.info.notes)


def test_a_block_that_does_not_decompress_leaves_its_pages_unknown(opened: Opener) -> None:
    garbage = MARK + struct.pack("<I", 63 << 10 | 15) + bytes(20) + b"\xff" * 64
    tail = stored([132])
    image = opened(small(table([(100, 133)]), stored(FIRST), garbage, tail))
    assert held(image, [100, 116, 131, 132]) == [100, None, None, 132]
    assert image.memory is not None
    assert image.memory.present(np.array([115, 116])).tolist() == [True, False]
    with pytest.raises(AbsentMemory):
        image.memory.read(116 * 4096, 4)


@pytest.mark.parametrize("cut", [4096 * 4, 4096 * 4 + 40, 4096 * 30, 4096 * 30 + 100])
def test_a_file_that_is_cut_off(opened: Opener, cut: int) -> None:
    second = list(range(116, 132))
    data = small(table([(100, 132)]), stored(FIRST), stored(second))[:cut]
    if cut < 4096 * 20:
        with pytest.raises(DamagedImage):
            opened(data)
        return
    image = opened(data)
    assert (image.info.truncated, image.info.pages_present, image.info.pages_expected) == (True, 16, 32)
    assert held(image, [100, 116]) == [100, None]
    assert image.info.bytes_expected is None
    assert not any("guess" in note for note in image.info.notes)


@pytest.mark.parametrize("shape", ["vista-sp1-x86", "vista-sp2-x86", "7-x64"])
def test_a_file_cut_in_its_first_table_is_told_by_what_fits_better(
    shape: str, machines: dict[str, Machine], tmp_path: Path
) -> None:
    """SP1 and SP2 share the header's size; their tables differ."""
    path = tmp_path / "hiberfil.sys"
    write_hibernation(machines[shape[-3:]], path, shape=shape)
    path.write_bytes(path.read_bytes()[: 1 << 20])
    opened = open_image(path)
    assert VERSIONS[shape[:-4]] in opened.info.description
    assert opened.info.truncated
    memory, ram = opened.memory, machines[shape[-3:]].ram
    assert memory is not None
    rows, present = memory.pages(np.arange(ram.frames))
    assert 0 < int(present.sum()) == opened.info.pages_present
    assert np.array_equal(rows[present], ram.pages[present])


def test_the_cache_is_bounded(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "CACHED_BLOCKS", 2)
    numbers = list(range(100, 180))
    image = opened(small(table([(100, 180)]), *(stored(numbers[at : at + 16]) for at in range(0, 80, 16))))
    assert isinstance(image.memory, packed.PackedMemory)
    for _ in range(2):
        assert held(image, numbers[::-3]) == numbers[::-3]
        assert image.memory.cached_blocks == 2


# -- refused ------------------------------------------------------------------------------------------


def test_a_link_names_the_real_file(opened: Opener) -> None:
    name = "\\??\\D:\\hiberfil.sys\0rubbish".encode("utf-16-le")
    with pytest.raises(UnsupportedImage, match=r"the hibernation file is \\\?\?\\D:\\hiberfil\.sys; give"):
        opened((b"link" + name).ljust(8192, b"\0"))
    with pytest.raises(UnsupportedImage, match="not named in it"):
        opened(b"link".ljust(8192, b"\0"))


def test_windows_8_is_refused_by_name(opened: Opener) -> None:
    with pytest.raises(UnsupportedImage, match="Windows 8 or later"):
        opened(small(bytes(4096), signature=b"HIBR", length=0x360))
