"""The content id: which bytes it looks at, worked out by hand."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dumpscan.batch.identity import content_id
from dumpscan.image.source import map_file

KB = 1 << 10


def of(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return content_id(map_file(path))


def blake(*parts: bytes) -> str:
    return "s1:" + hashlib.blake2b(b"".join(parts), digest_size=16).hexdigest()


def test_a_small_file_is_hashed_whole(tmp_path: Path) -> None:
    size = b"\x05\0\0\0\0\0\0\0"
    assert of(tmp_path / "x", b"hello") == blake(size, b"hello")


def test_a_large_file_by_its_ends_and_thirty_blocks(tmp_path: Path) -> None:
    # 128 KB of ends and 30 steps of 100 KB: the blocks begin at 64 KB + n * 100 KB.
    data = bytearray(3128 * KB)
    blocks = []
    for number in range(30):
        block = bytes([number + 1]) * (4 * KB)
        start = 64 * KB + number * 100 * KB
        data[start : start + 4 * KB] = block
        blocks.append(block)
    data[0:1], data[-1:] = b"<", b">"
    head, tail = b"<" + bytes(64 * KB - 1), bytes(64 * KB - 1) + b">"
    size = (3128 * KB).to_bytes(8, "little")
    assert of(tmp_path / "x", bytes(data)) == blake(size, head, *blocks, tail)


def test_size_counts(tmp_path: Path) -> None:
    assert of(tmp_path / "x", bytes(10)) != of(tmp_path / "y", bytes(11))
