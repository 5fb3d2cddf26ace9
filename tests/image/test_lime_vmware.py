"""LiME chunks, and VMware memory with, without and inside a state file."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from dumpscan.errors import AbsentMemory, DamagedImage, NotAnImage, UnreadableFile, UnsupportedImage
from dumpscan.image.recognise import open_image
from tests.image.writers import lime_chunk, page, regions, vmware_state, vmware_tag


def test_lime_chunks_follow_each_other(tmp_path: Path) -> None:
    path = tmp_path / "a.lime"
    path.write_bytes(lime_chunk(0x1000, page(1) + page(2)) + lime_chunk(0x100000, page(0x100)))
    opened = open_image(path)
    assert opened.memory is not None
    for pfn in (1, 2, 0x100):
        assert opened.memory.read(pfn * 4096, 4096) == page(pfn)
    assert opened.memory.present(np.array([0, 3, 0x101])).tolist() == [False] * 3
    assert (opened.info.format, opened.info.pages_present, opened.info.truncated) == ("lime", 3, False)
    assert opened.info.bytes_expected == opened.info.bytes == 2 * 32 + 3 * 4096


def test_lime_chunks_at_odd_alignments_are_gathered_rightly(tmp_path: Path) -> None:
    low = b"".join(page(n) for n in range(4))[:0x3C00]
    path = tmp_path / "a.lime"
    path.write_bytes(lime_chunk(0, low) + lime_chunk(0x8000, b"".join(page(n) for n in range(8, 12))))
    memory = open_image(path).memory
    assert memory is not None
    rows, mask = memory.pages(np.array([11, 0, 3, 8, 2, 10]))
    assert mask.tolist() == [True, True, False, True, True, True]
    assert [rows[i].tobytes() for i in (0, 1, 3, 4, 5)] == [page(n) for n in (11, 0, 8, 2, 10)]


def test_padding_behind_the_last_lime_chunk_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "a.lime"
    path.write_bytes(lime_chunk(0, page(0)) + bytes(512))
    opened = open_image(path)
    assert opened.info.pages_present == 1
    assert "512 bytes" in opened.info.notes[0]


def test_a_lime_image_cut_short_keeps_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "a.lime"
    path.write_bytes(lime_chunk(0, page(0) + page(1) + page(2))[:-100])
    opened = open_image(path)
    assert opened.info.truncated
    assert (opened.info.pages_present, opened.info.pages_expected) == (2, 3)


@pytest.mark.parametrize(
    ("chunk", "word"),
    [
        (struct.pack("<4sIQQQ", b"EMiL", 1, 0x2000, 0x1000, 0), "before it starts"),
        (struct.pack("<4sIQQQ", b"XXXX", 1, 0x2000, 0x3FFF, 0), "instead of the mark"),
        (struct.pack("<4sIQQQ", b"EMiL", 1, 0x1000, 0x1FFF, 0) + page(1), "both claim"),
        (struct.pack("<4sIQQQ", b"EMiL", 1, 0x2000, (1 << 64) - 1, 0), "beyond any"),
        (struct.pack("<4sIQQQ", b"EMiL", 1, 0, (1 << 64) - 1, 0), "beyond any"),
    ],
)
def test_damaged_lime_chunks_name_their_offset(tmp_path: Path, chunk: bytes, word: str) -> None:
    path = tmp_path / "a.lime"
    path.write_bytes(lime_chunk(0x1000, page(1)) + chunk + bytes(64))
    with pytest.raises(DamagedImage, match=word) as caught:
        open_image(path)
    assert "0x10" in str(caught.value)  # the second chunk's header lies at 0x1020, its data at 0x1040


def test_endless_tiny_lime_chunks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.lime"
    path.write_bytes(b"".join(lime_chunk(n * 2, b"x") for n in range(0x10001)))
    with pytest.raises(DamagedImage, match="65537"):
        open_image(path)


def test_another_lime_version_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.lime"
    path.write_bytes(struct.pack("<4sIQQQ", b"EMiL", 7, 0, 4095, 0) + page(0))
    with pytest.raises(UnsupportedImage, match="version 7"):
        open_image(path)


def vmem(path: Path, pages: int = 256) -> Path:
    path.write_bytes(b"".join(page(n) for n in range(pages)))
    return path


def test_a_vmem_alone_is_one_to_one(tmp_path: Path) -> None:
    opened = open_image(vmem(tmp_path / "xp.vmem"))
    assert opened.memory is not None
    assert opened.memory.read(200 * 4096, 4096) == page(200)
    assert (opened.info.format, opened.info.pages_present, opened.info.notes) == ("vmware", 256, ())


def test_a_big_vmem_alone_says_that_its_layout_is_assumed(tmp_path: Path) -> None:
    path = vmem(tmp_path / "vista.vmem")
    with path.open("r+b") as file:
        file.truncate(0xC0000000 + 0x2000)  # 3 GB and two pages; a sparse file
        file.seek(0xC0001000)
        file.write(page(0xBEEF))
    opened = open_image(path)
    assert opened.memory is not None
    assert "assumed" in opened.info.notes[0]
    assert opened.memory.read(0x1_0000_1000, 4096) == page(0xBEEF)
    with pytest.raises(AbsentMemory):
        opened.memory.read(0xC0001000, 4)


def test_a_state_file_without_regions_means_one_to_one(tmp_path: Path) -> None:
    """facts/dump-formats.md 6: regionsCount 0 or absent."""
    path = vmem(tmp_path / "vista.vmem")
    (tmp_path / "vista.vmss").write_bytes(vmware_state(vmware_tag(b"regionsCount", bytes(4))))
    with path.open("r+b") as file:
        file.truncate(0xC0000000 + 0x2000)
        file.seek(0xC0001000)
        file.write(page(0xBEEF))
    opened = open_image(path)
    assert opened.memory is not None
    assert "vista.vmss lists no memory regions" in opened.info.notes[0]
    assert opened.memory.read(0xC0001000, 4096) == page(0xBEEF)
    with pytest.raises(AbsentMemory):
        opened.memory.read(0x1_0000_1000, 4)


@pytest.mark.parametrize("suffix", [".vmss", ".vmsn"])
@pytest.mark.parametrize("ask_for", ["memory", "state"])
def test_a_state_file_maps_the_vmem(tmp_path: Path, suffix: str, ask_for: str) -> None:
    memory_file = vmem(tmp_path / "xp.vmem")
    state = tmp_path / f"xp{suffix}"
    cpu = vmware_tag(b"CR64", struct.pack("<Q", 0x319020), 0, 3) + vmware_tag(
        b"CR64", struct.pack("<Q", 0x20), 0, 4
    )
    state.write_bytes(vmware_state(regions((0, 0, 0x80), (0x100000, 0x80, 0x80)), cpu))
    opened = open_image(memory_file if ask_for == "memory" else state)
    assert opened.memory is not None
    assert opened.memory.read(0x7F000, 4096) == page(0x7F)
    assert opened.memory.read(0x1_0000_0000, 4096) == page(0x80)
    assert opened.memory.present(np.array([0x80, 0x100080])).tolist() == [False, False]
    assert opened.info.bytes == 256 * 4096
    assert f"xp{suffix}" in opened.info.description
    assert opened.hints.dtbs == (0x319020,)
    assert opened.hints.pae is True


def test_memory_inside_a_state_file(tmp_path: Path) -> None:
    body = b"".join(page(n) for n in range(4))
    state = tmp_path / "old.vmsn"
    state.write_bytes(
        vmware_state(regions((0, 0, 2), (16, 2, 2)) + vmware_tag(b"Memory", body, 0, 0, long=True))
    )
    opened = open_image(state)
    assert opened.memory is not None
    assert opened.memory.read(0x1000, 4096) == page(1)
    assert opened.memory.read(0x11000, 4096) == page(3)
    assert opened.info.pages_present == 4


@pytest.mark.parametrize("magic", [0xBED2BED0, 0xBAD1BAD1, 0xBED2BED2, 0xBED3BED3])
def test_every_magic_and_its_sizes(tmp_path: Path, magic: int) -> None:
    """Sizes of a long value are u32 where the magic's low four bits are 0, else u64; then u16 padding."""
    body = b"".join(page(n) for n in range(4))
    form = "<II" if magic & 0xF == 0 else "<QQ"
    long = bytes([62 | 2 << 6, 6]) + b"Memory" + struct.pack("<II", 0, 0)
    long += struct.pack(form, len(body), len(body)) + struct.pack("<H", 11) + b"\xcc" * 11 + body
    content = bytearray(vmware_state(regions((0, 0, 2), (16, 2, 2)) + long))
    struct.pack_into("<I", content, 0, magic)
    state = tmp_path / "old.vmss"
    state.write_bytes(content)
    opened = open_image(state)
    assert opened.memory is not None
    assert opened.info.format == "vmware"
    assert "inside a state file" in opened.info.description
    for address, number in ((0, 0), (0x1000, 1), (0x10000, 2), (0x11000, 3)):
        assert opened.memory.read(address, 4096) == page(number)


def test_regions_do_not_reach_beyond_the_memory_in_a_state_file(tmp_path: Path) -> None:
    body = b"".join(page(n) for n in range(2))
    tags = regions((0, 0, 4)) + vmware_tag(b"Memory", body, 0, 0, long=True)
    state = tmp_path / "old.vmss"
    state.write_bytes(vmware_state(tags + vmware_tag(b"more", page(7) * 3, long=True)))
    opened = open_image(state)
    assert opened.memory is not None
    assert opened.memory.present(np.arange(4)).tolist() == [True, True, False, False]
    assert opened.info.truncated
    assert opened.info.bytes == state.stat().st_size


def packed_state() -> bytes:
    long = bytes([62 | 2 << 6, 6]) + b"Memory" + struct.pack("<II", 0, 0)
    return vmware_state(regions((0, 0, 256)) + long + struct.pack("<QQH", 100, 1 << 20, 0) + bytes(100))


def test_compressed_memory_in_a_state_file(tmp_path: Path) -> None:
    state = tmp_path / "xp.vmss"
    state.write_bytes(packed_state())
    with pytest.raises(UnsupportedImage, match="compressed"):
        open_image(state)
    memory_file = vmem(tmp_path / "xp.vmem")
    for path in (state, memory_file):
        assert open_image(path).info.pages_present == 256


def test_a_state_file_without_its_vmem_says_what_is_missing(tmp_path: Path) -> None:
    state = tmp_path / "xp.vmss"
    state.write_bytes(vmware_state(regions((0, 0, 2))))
    with pytest.raises(UnreadableFile, match=r"xp\.vmem") as caught:
        open_image(state)
    assert caught.value.exit_code == 3


def test_a_vmem_shorter_than_its_regions_is_truncated(tmp_path: Path) -> None:
    path = vmem(tmp_path / "xp.vmem")
    (tmp_path / "xp.vmss").write_bytes(vmware_state(regions((0, 0, 300))))
    opened = open_image(path)
    assert opened.info.truncated
    assert (opened.info.pages_present, opened.info.pages_expected) == (256, 300)
    assert opened.info.bytes_expected == 300 * 4096


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (struct.pack("<III", 0xBED2BED2, 8, 0xFFFFFFFF), "groups"),
        (struct.pack("<III", 0xBED2BED2, 8, 40), "group table"),
        (vmware_state(vmware_tag(b"regionsCount", b"\xff\xff\xff\xff")), "memory regions"),
        (vmware_state(vmware_tag(b"regionsCount", b"\x02")), "region 0 is missing"),
        (vmware_state(b"")[:-4], "beyond the end"),
        (vmware_state(vmware_tag(b"x", b"y" * 9, long=True)[:-9] + b"\0"), "beyond the end"),
        (vmware_state(regions((0, 0, 4), (2, 4, 4))), "both claim"),
        (vmware_state(regions((0xFFFFFFFF, 0, 4))[:-4] + b"\xff" * 4), ""),
    ],
)
def test_damaged_state_files_never_crash(tmp_path: Path, state: bytes, word: str) -> None:
    path = vmem(tmp_path / "xp.vmem")
    (tmp_path / "xp.vmss").write_bytes(state)
    if not word:  # absurd but consistent: a region beyond the file is simply not there
        assert open_image(path).info.truncated
        return
    with pytest.raises(DamagedImage, match=word):
        open_image(path)


def test_a_text_named_vmem_is_not_an_image(tmp_path: Path) -> None:
    path = tmp_path / "xp.vmem"
    path.write_bytes(b"just some notes\n" * 100_000)
    with pytest.raises(NotAnImage, match="text"):
        open_image(path)
