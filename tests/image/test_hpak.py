"""HPAK containers written by hand, after volatility 2's field offsets."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import pytest

from dumpscan.errors import DamagedImage
from dumpscan.image.recognise import open_image
from dumpscan.image.unpack import Limits
from tests.image.writers import page

MEMORY = b"".join(page(n) for n in range(8))


def section(
    name: bytes, offset: int = 0, size: int = 0, packed: bool = False, following: int = 0
) -> bytearray:
    head = bytearray(0xE0)
    head[0:32] = (b"HPAKSECTHPAK_SECTION_" + name).ljust(32, b"\0")
    struct.pack_into("<I", head, 0x8C, packed)
    struct.pack_into("<Q", head, 0x98, size)
    struct.pack_into("<QQ", head, 0xA8, offset, following)
    return head


def container(
    data: bytes = MEMORY, packed: bool = False, behind: bytes = b"", size: int | None = None
) -> bytes:
    length = len(data) if size is None else size
    head = section(b"PHYSDUMP", 0x4F8, length, packed, 0x4F8 + len(data))
    return (b"HPAK".ljust(32, b"\0") + head).ljust(0x4F8, b"\0") + data + behind


def test_memory_behind_a_header(tmp_path: Path) -> None:
    path = tmp_path / "m.hpak"
    path.write_bytes(container(behind=bytes(section(b"PAGEDUMP"))))
    opened = open_image(path)
    assert opened.memory is not None
    assert (opened.info.format, opened.info.pages_present, opened.info.truncated) == ("hpak", 8, False)
    assert "page file" in opened.info.notes[0]
    assert opened.memory.read(0, len(MEMORY)) == MEMORY


def test_memory_behind_a_page_file(tmp_path: Path) -> None:
    first = section(b"PAGEDUMP", 0x100, 0, following=0x300)
    second = section(b"PHYSDUMP", 0x400, len(MEMORY))
    path = tmp_path / "m.hpak"
    path.write_bytes(
        (b"HPAK".ljust(32, b"\0") + first).ljust(0x300, b"\0") + second.ljust(0x100, b"\0") + MEMORY
    )
    memory = open_image(path).memory
    assert memory is not None
    assert memory.read(7 * 4096, 4096) == page(7)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress], ids=["gzip", "zlib"])
def test_compressed_memory(tmp_path: Path, pack: type[bytes]) -> None:
    path = tmp_path / "m.hpak"
    path.write_bytes(container(pack(MEMORY), True, b"\x99" * 5000))
    opened = open_image(path)
    assert opened.memory is not None
    assert (opened.info.format, opened.info.pages_present) == ("hpak", 8)
    assert opened.memory.read(0, len(MEMORY)) == MEMORY


def test_a_container_cut_short_keeps_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "m.hpak"
    path.write_bytes(container()[:-5000])
    opened = open_image(path)
    assert opened.info.truncated
    assert (opened.info.pages_present, opened.info.pages_expected) == (6, 8)


def lying(packed: bool = False, **fields: int) -> bytes:
    data = bytearray(container(packed=packed))
    for name, value in fields.items():
        at = {"size": 0x98, "offset": 0xA8, "following": 0xB0}[name]
        struct.pack_into("<Q", data, 0x20 + at, value)
    return bytes(data)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"HPAK" + bytes(0x1000), "without a memory section"),
        (container()[:0x80], "without a memory section"),
        (lying(size=1 << 63), "beyond any machine"),
        (lying(offset=1 << 63), "beyond any machine"),
        (lying(offset=1 << 40), "claims"),
        (lying(size=0), "claims"),
        (lying(offset=1 << 63, packed=True), "the file ends at"),
        (container(gzip.compress(MEMORY)[:-9], True), "cut off or damaged"),
        (container(b"no deflate at all", True), "cut off or damaged"),
        # A chain of sections that leads back to its start.
        ((b"HPAK".ljust(32, b"\0") + section(b"PAGEDUMP", following=0x20)).ljust(9000, b"\0"), "without a"),
    ],
)
def test_lying_containers_are_damage(tmp_path: Path, content: bytes, word: str) -> None:
    path = tmp_path / "m.hpak"
    path.write_bytes(content)
    with pytest.raises(DamagedImage, match=word) as caught:
        open_image(path)
    assert "\n" not in str(caught.value)


def test_a_compressed_bomb_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(free_bytes=1 << 20, max_ratio=10.0)
    monkeypatch.setattr("dumpscan.image.unpack.Limits", lambda: limits)
    path = tmp_path / "m.hpak"
    path.write_bytes(container(gzip.compress(bytes(4 << 20)), True))
    with pytest.raises(DamagedImage, match="bomb"):
        open_image(path)
