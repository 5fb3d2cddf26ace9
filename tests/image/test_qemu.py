"""QEMU savevm streams and libvirt save files, written by hand: records, RAM split, damage."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dumpscan.errors import AbsentMemory, DamagedImage, UnsupportedImage
from dumpscan.image.opened import OpenedImage
from dumpscan.image.physical import PhysicalMemory, filled_runs
from dumpscan.image.recognise import open_image
from tests.image.writers import page

GB = 1 << 30
RAM = [(b"pc.ram", 0x800000)]
END = struct.pack(">Q", 0x10)


def configuration(machine: bytes) -> bytes:
    return b"\x07" + struct.pack(">I", len(machine)) + machine


def start(blocks: list[tuple[bytes, int]]) -> bytes:
    """The section that lists the blocks: number 2, 'ram', instance 0, version 4."""
    out = b"\x01" + struct.pack(">IB3sII", 2, 3, b"ram", 0, 4)
    out += struct.pack(">Q", sum(size for _, size in blocks) | 0x04)
    for name, size in blocks:
        out += bytes([len(name)]) + name + struct.pack(">Q", size)
    return out + END + footer(2)


def footer(number: int) -> bytes:
    return b"\x7e" + struct.pack(">I", number)


def part(*records: bytes) -> bytes:
    return b"\x02" + struct.pack(">I", 2) + b"".join(records) + END + footer(2)


LAST = b"\x03" + struct.pack(">I", 2) + END + footer(2)
DEVICES = b"\x04" + struct.pack(">IB5sII", 3, 5, b"timer", 0, 2) + bytes(24) + footer(3) + b"\0"


def stored(pfn: int, content: int, block: bytes = b"pc.ram") -> bytes:
    return struct.pack(">QB", pfn << 12 | 0x08, len(block)) + block + page(content)


def filled(pfn: int, byte: int, block: bytes = b"pc.ram") -> bytes:
    return struct.pack(">QB", pfn << 12 | 0x02, len(block)) + block + bytes([byte])


def more(pfn: int, content: int) -> bytes:
    """A stored page of the same block as the record before."""
    return struct.pack(">Q", pfn << 12 | 0x28) + page(content)


def more_filled(pfn: int, byte: int) -> bytes:
    return struct.pack(">QB", pfn << 12 | 0x22, byte)


def stream(
    *sections: bytes, blocks: list[tuple[bytes, int]] = RAM, machine: bytes | None = b"pc-i440fx-2.4"
) -> bytes:
    head = b"QEVM" + struct.pack(">I", 3) + (configuration(machine) if machine else b"")
    return head + start(blocks) + b"".join(sections) + LAST + DEVICES


def opened(tmp_path: Path, content: bytes) -> OpenedImage:
    path = tmp_path / "vm.save"
    path.write_bytes(content)
    return open_image(path)


def memory(tmp_path: Path, content: bytes) -> PhysicalMemory:
    found = opened(tmp_path, content).memory
    assert found is not None
    return found


def test_stored_and_filled_pages(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image = opened(
        tmp_path, stream(part(stored(0, 9), more_filled(1, 0), more_filled(2, 0xAA)), part(stored(7, 7)))
    )
    found = image.memory
    assert found is not None
    assert (image.info.format, image.info.pages_present, image.info.pages_expected) == ("qemu", 4, 0x800)
    assert not image.info.truncated
    assert found.read(7 * 4096, 4096) == page(7)
    assert found.read(4096, 2 * 4096) == bytes(4096) + b"\xaa" * 4096
    assert found.read(4094, 4) == page(9)[4094:] + bytes(2)
    assert [run.tolist() for run in found.runs()] == [[0, 7], [3, 1]]
    for address in (3 * 4096, 8 * 4096 - 1, 1 << 70, -1):
        with pytest.raises(AbsentMemory):
            found.read(address, 2)
    image.close()
    assert not found.present(np.array([0]))[0]
    assert capfd.readouterr() == ("", "")


def test_long_runs_of_every_kind(tmp_path: Path) -> None:
    """Runs far longer than those that are followed singly, ended by each other, and one of one block."""
    records = [stored(0, 0), *(more(n, n) for n in range(1, 300))]
    records += [more_filled(n, 0) for n in range(300, 700)]
    records += [more_filled(n, n & 0xFF) for n in range(700, 760)]
    records += [more(n, n) for n in range(1200, 1280)]
    records += [stored(0, 99, b"vga.vram"), *(more(n, 99) for n in range(1, 64)), filled(64, 1, b"vga.vram")]
    blocks = [*RAM, (b"vga.vram", 0x100000)]
    found = memory(tmp_path, stream(part(*records), blocks=blocks))
    assert [run.tolist() for run in found.runs()] == [[0, 1200], [760, 80]]
    rows, mask = found.pages(np.arange(1400))
    assert mask.tolist() == [n < 760 or 1200 <= n < 1280 for n in range(1400)]
    for n in np.flatnonzero(mask).tolist():
        expected = bytes([0 if n < 700 else n & 0xFF]) * 4096 if 300 <= n < 760 else page(n)
        assert rows[n].tobytes() == expected, n
    assert found.read(299 * 4096, 3 * 4096) == page(299) + bytes(8192)


def test_a_page_that_is_sent_again_has_its_last_content(tmp_path: Path) -> None:
    first = part(stored(0, 1), *(more(n, n) for n in range(1, 20)), more_filled(20, 0xAA), more_filled(21, 0))
    again = part(stored(0, 2), more(5, 55), more(6, 66), more_filled(7, 0x77), more(20, 2020))
    found = memory(tmp_path, stream(first, again, part(stored(5, 555))))
    rows, mask = found.pages(np.arange(22))
    assert mask.all()
    expected = {0: page(2), 5: page(555), 6: page(66), 7: b"\x77" * 4096, 20: page(2020), 21: bytes(4096)}
    for n in range(22):
        assert rows[n].tobytes() == expected.get(n, page(n)), n
    assert [run.tolist() for run in found.runs()] == [[0], [22]]


def test_a_search_passes_over_pages_of_one_byte(tmp_path: Path) -> None:
    """They are memory, but neither page tables nor a kernel can be in them."""
    records = part(stored(0, 9), more_filled(1, 0), more_filled(2, 0xAA), more(3, 3), more(4, 4))
    found = memory(tmp_path, stream(records, part(filled(5, 0), more(6, 6))))
    assert [run.tolist() for run in found.runs()] == [[0], [7]]
    assert [run.tolist() for run in filled_runs(found)] == [[0, 3, 6], [1, 2, 1]]


def test_memory_in_endless_pieces_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs cost memory and those sent again cost time, so both are bounded (here by small numbers)."""
    shreds = stream(part(filled(0, 0), *(more_filled(n, n & 1) for n in range(1, 100))))
    again = part(*(stored(n, 9) for n in range(0, 100, 2)))
    whole = stream(part(stored(0, 0), *(more(n, n) for n in range(1, 100))), again)
    assert opened(tmp_path, shreds).info.pages_present == opened(tmp_path, whole).info.pages_present == 100
    monkeypatch.setattr("dumpscan.image.qemu_records._MAX_RUNS", 60)
    with pytest.raises(DamagedImage, match="more than 60 pieces"):
        opened(tmp_path, shreds)
    monkeypatch.setattr("dumpscan.image.strided._MAX_SHARED", 40)
    with pytest.raises(DamagedImage, match="more than 40 pieces"):
        opened(tmp_path, whole)


@pytest.mark.parametrize(
    ("machine", "size", "low"),
    [
        (b"pc-i440fx-2.4", 0xDFF00000, None),
        (b"pc-i440fx-2.4", 0xE0000000, 3 * GB),
        (b"pc-i440fx-9.0", 8 * GB, 3 * GB),
        (b"pc-i440fx-rhel7.6.0", 8 * GB, 3 * GB),
        (b"pc-i440fx-1.7", 8 * GB, 0xE0000000),
        (b"pc-1.2", 8 * GB, 0xE0000000),
        (b"rhel6.6.0", 8 * GB, 0xE0000000),
        (b"pc-q35-2.12", 0xAFF00000, None),
        (b"pc-q35-2.12", 0xB0000000, 2 * GB),
        (b"pc-q35-rhel8.2.0", 8 * GB, 2 * GB),
        (b"pc-q35-1.7", 8 * GB, 0xB0000000),
    ],
)
def test_ram_beyond_the_hole_is_at_4_gb(tmp_path: Path, machine: bytes, size: int, low: int | None) -> None:
    """Expected addresses: facts/dump-formats.md 8 (least size M, hole H per machine type)."""
    low_page, top = (low or size) >> 12, (size >> 12) - 1
    records = [stored(low_page - 2, 1), more(low_page - 1, 2)]
    if low:
        records += [more(low_page, 3), more(low_page + 1, 4)]
    records.append(stored(top, 5))
    image = opened(tmp_path, stream(part(*records), blocks=[(b"pc.ram", size)], machine=machine))
    found = image.memory
    assert found is not None
    assert image.info.notes == ()
    expected = {low_page - 2: 1, low_page - 1: 2, top: 5}
    if low:
        expected = {
            low_page - 2: 1,
            low_page - 1: 2,
            1 << 20: 3,
            (1 << 20) + 1: 4,
            (1 << 20) + top - low_page: 5,
        }
    rows, mask = found.pages(np.array(list(expected)))
    assert mask.all()
    assert [row.tobytes() for row in rows] == [page(content) for content in expected.values()]
    assert image.info.pages_present == len(expected)


@pytest.mark.parametrize("machine", [None, b"microvm"])
def test_an_unknown_machine_type_is_said_where_it_matters(tmp_path: Path, machine: bytes | None) -> None:
    big = opened(tmp_path, stream(part(stored(0, 1)), blocks=[(b"pc.ram", 4 * GB)], machine=machine))
    assert "assumed" in big.info.notes[0]
    assert opened(tmp_path, stream(part(stored(0, 1)), machine=machine)).info.notes == ()


def test_ram_of_several_nodes_is_one_after_the_other(tmp_path: Path) -> None:
    blocks = [(b"ram-node10", 0x3000), (b"pc.bios", 0x1000), (b"ram-node2", 0x2000)]
    records = part(stored(0, 10, b"ram-node10"), stored(0, 2, b"ram-node2"), stored(0, 99, b"pc.bios"))
    found = memory(tmp_path, stream(records, blocks=blocks))
    assert [run.tolist() for run in found.runs()] == [[0, 2], [1, 1]]
    assert (found.read(0, 4), found.read(0x2000, 4)) == (page(2)[:4], page(10)[:4])


def test_sections_of_other_kinds_are_stepped_over(tmp_path: Path) -> None:
    foreign = b"\x01" + struct.pack(">IB9sII", 7, 9, b"pbs-state", 0, 1) + b"\x7e" * 5000 + footer(7)
    capability = b"\x05\x1aconfiguration/capabilities" + struct.pack(">II", 1, 1) + b"\x06events"
    content = b"QEVM" + struct.pack(">I", 3) + configuration(b"pc-q35-6.0") + capability + foreign
    content += start(RAM) + part(stored(3, 3)) + b"\x02" + struct.pack(">I", 7) + footer(7) + LAST + DEVICES
    assert memory(tmp_path, content).read(3 * 4096, 4) == page(3)[:4]


def test_a_stream_that_was_cut_off_keeps_what_it_has(tmp_path: Path) -> None:
    whole = stream(part(stored(0, 0), *(more(n, n) for n in range(1, 40))))
    for size in (len(whole) - len(DEVICES) - 14, len(whole) - len(DEVICES) - 3000, 60_000):
        image = opened(tmp_path, whole[:size])
        assert image.info.truncated
        assert "before the end" in image.info.notes[0]
        assert image.memory is not None
        assert image.memory.read(5 * 4096, 8) == page(5)[:8]


def test_a_stream_with_every_page_is_whole_without_an_end_mark(tmp_path: Path) -> None:
    records = [stored(0, 0), *(more_filled(n, 0) for n in range(1, 0x800))]
    whole = b"QEVM" + struct.pack(">I", 3) + start(RAM) + part(*records) + b"\0"
    assert not opened(tmp_path, whole).info.truncated
    assert not opened(tmp_path, whole[:-8]).info.truncated
    assert opened(tmp_path, whole[:-20]).info.truncated


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (stream(), "without memory"),
        (stream(part(stored(0, 0)))[:2000], "without memory"),
        (b"QEVM" + struct.pack(">I", 3), "without memory"),
        (stream(part(stored(0x800, 0))), "outside its RAM block"),
        (stream(part(stored(0, 0), *(more(n, n) for n in range(0x7F0, 0x810)))), "outside its RAM block"),
        (stream(part(stored(0, 0) + struct.pack(">Q", 0x1400))), "unknown flags 0x400"),
        (stream(blocks=[(b"pc.ram", 1 << 60)]), "no machine has"),
        (stream(blocks=[(b"pc.ram", 0x1800), (b"pc.bios", 0x800)]), "no machine has"),
        (stream(blocks=[(b"pc.ram", 0x1000), (b"pc.ram", 0x1000)]), "list of RAM blocks"),
        (stream(blocks=[(b"pc.ram", 0x1000), (b"", 0x1000)]), "list of RAM blocks"),
        (stream(b"\x55"), "unknown section 0x55"),
        (stream(b"\x02" + struct.pack(">I", 9) + bytes(5000)), "has no end"),
        (b"QEVM" + struct.pack(">I", 3) + b"\x05\x03abc" + bytes(64), "unknown subsection"),
        (b"QEVM" + struct.pack(">I", 3) + b"\x07\xff\xff\xff\xff" + bytes(64), "without memory"),
    ],
)
def test_what_contradicts_itself_is_damage(tmp_path: Path, content: bytes, word: str) -> None:
    with pytest.raises(DamagedImage, match=word) as caught:
        opened(tmp_path, content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"QEVM" + struct.pack(">I", 2) + bytes(64), "version 00000002"),
        (stream().replace(b"ram\0\0\0\0\0\0\0\4", b"ram\0\0\0\0\0\0\0\3"), "RAM of version 3"),
        (stream(part(stored(0, 0) + struct.pack(">Q", 0x1060))), "XBZRLE"),
        (stream(part(stored(0, 0) + struct.pack(">Q", 0x1120))), "compressed pages"),
        (stream(part(stored(0, 0) + struct.pack(">Q", 0x200))), "multifd"),
        (stream(part(struct.pack(">Q", 0x80))), "RDMA"),
        (
            b"QEVM\0\0\0\3\x05\x1aconfiguration/capabilities" + struct.pack(">II", 1, 1) + b"\x0amapped-ram",
            "mapped-ram",
        ),
    ],
)
def test_what_is_not_in_the_stream_is_refused_by_name(tmp_path: Path, content: bytes, word: str) -> None:
    with pytest.raises(UnsupportedImage, match=word):
        opened(tmp_path, content)


XML = b"<domain type='kvm'><os><type arch='x86_64' machine='pc-q35-2.4'>hvm</type></os></domain>\0"


def libvirt(content: bytes, form: int = 0, order: str = "<", magic: bytes = b"LibvirtQemudSave") -> bytes:
    """Magic, version 2, length of the XML, running, format, cookie offset, 14 unused words."""
    return magic + struct.pack(order + "5I56x", 2, len(XML), 1, form, 0) + XML + content


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("form", "pack"),
    [(0, bytes), (1, gzip.compress), (2, bz2.compress), (3, lzma.compress)],
    ids=["raw", "gzip", "bzip2", "xz"],
)
def test_libvirt_save_files(tmp_path: Path, form: int, pack: Callable[[bytes], bytes], order: str) -> None:
    """The machine type comes from the XML where the stream has none: RAM from 2 GB on is at 4 GB."""
    content = stream(part(stored(2 * GB >> 12, 7)), blocks=[(b"pc.ram", 4 * GB)], machine=None)
    data = libvirt(pack(content), form, order)
    image = opened(tmp_path, data)
    assert image.memory is not None
    assert (image.info.format, image.info.bytes, image.info.notes) == ("libvirt", len(data), ())
    assert "pc-q35-2.4" in image.info.description
    assert image.memory.read(4 * GB, 4096) == page(7)
    assert not image.memory.present(np.array([2 * GB >> 12]))[0]


def test_a_libvirt_save_that_did_not_end(tmp_path: Path) -> None:
    image = opened(tmp_path, libvirt(stream(part(stored(0, 7))), magic=b"LibvirtQemudPart"))
    assert "did not end" in image.info.notes[-1]


@pytest.mark.parametrize(
    ("content", "error", "word"),
    [
        (libvirt(stream(part(stored(0, 7))), 4), UnsupportedImage, "lzop"),
        (libvirt(stream(part(stored(0, 7))), 6), UnsupportedImage, "mapped-ram"),
        (libvirt(b"", 9), DamagedImage, "format 9"),
        (libvirt(b"\0" * 64), DamagedImage, "no QEMU stream"),
        (libvirt(gzip.compress(stream(part(stored(0, 7))))[:-30], 1), DamagedImage, "cut off or damaged"),
        (libvirt(b"\x1f\x8b" + bytes(99), 1), DamagedImage, "cut off or damaged"),
        (b"LibvirtQemudSave" + struct.pack("<5I", 2, 1 << 31, 1, 0, 0) + bytes(99), DamagedImage, "claims"),
        (
            b"LibvirtQemudSave" + struct.pack("<5I", 7, 0, 1, 0, 0) + bytes(99),
            UnsupportedImage,
            "version 0x7",
        ),
        (b"LibvirtQemudSave", DamagedImage, "cut off"),
    ],
)
def test_libvirt_headers_that_cannot_be_followed(
    tmp_path: Path, content: bytes, error: type[Exception], word: str
) -> None:
    with pytest.raises(error, match=word):
        opened(tmp_path, content)
